# clonecache: everything that is built, run or proved goes by one of these targets.
# `make help` lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
PREFIX  ?= /usr/local
DESTDIR ?=

PKG      ?= ./...
TIMEOUT  ?= 30m
FUZZTIME ?= 30s
BENCH    ?= .

LINT_VERSION := v2.8.0
LINT         := .tools/bin/golangci-lint-$(LINT_VERSION)

# The race detector needs a C compiler; where there is none, tests run without it and e2e/install.sh says so.
RACE := $(shell command -v gcc >/dev/null 2>&1 && echo -race)

# Where the headers of libdeflate and libzstd are present, compressed images are decoded by these C
# libraries, several times as fast as in Go; anywhere else the same code builds without C.
# (Looked at when a recipe runs, so that what `tools` has just installed counts.)
CDECODE = $(shell command -v gcc >/dev/null 2>&1 && [ -e /usr/include/libdeflate.h ] && [ -e /usr/include/zstd.h ] && echo cdecode)
# RBD needs the headers of librbd and librados. go-ceph calls what the newest release has, unless a second
# tag names an older one, by the number that librbd.h has for it.
LIBRBD = $(shell command -v gcc >/dev/null 2>&1 && [ -e /usr/include/rados/librados.h ] && awk '/define LIBRBD_VER_MINOR/ { print $$3 }' /usr/include/rbd/librbd.h 2>/dev/null)
CEPH   = $(if $(LIBRBD),ceph $(if $(filter 16,$(LIBRBD)),pacific) $(if $(filter 17,$(LIBRBD)),quincy) $(if $(filter 18,$(LIBRBD)),reef))
TAGS   = $(CDECODE) $(CEPH)
comma := ,
none  :=
space := $(none) $(none)
BASE_GOFLAGS := $(shell go env GOFLAGS)
export GOFLAGS = $(strip $(BASE_GOFLAGS) $(addprefix -tags=,$(subst $(space),$(comma),$(strip $(TAGS)))))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: IMAGE=FILE|URL RUN_ONCE=1 (run) · PKG=./lru/... TIMEOUT=30m (test, race) ·"
	@echo "             FUZZTIME=30s (fuzz) · SOAK=2h (soak) · BENCH=regexp (bench) · PREFIX=/usr/local DESTDIR= (install)"

.PHONY: build
build: ## build bin/clonecache
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/clonecache ./cmd/clonecache

.PHONY: run
run: $(if $(filter rbd,$(BACKEND)),ceph-packages) build ## start the daemon on a demo in ./run and do the main job before your eyes (IMAGE=, RUN_ONCE=1, BACKEND=rbd)
	@./e2e/run.sh

# Tests take the same tags on every machine: those of Ceph have a target of their own.
test short race vet lint fuzz soak bench: TAGS = $(CDECODE)

.PHONY: test
test: tools vet ## run all tests with the race detector, the end-to-end ones too
ifeq ($(CI),true)
	@# The race detector affords few random operations; 10,000 are tried without it.
	{ go test -json $(RACE) -shuffle=on -timeout $(TIMEOUT) $(PKG); go test -json -count=1 -timeout $(TIMEOUT) -run Random ./e2e/randomops; } | go run ./e2e/testreport
else
	go test $(RACE) -shuffle=on -timeout $(TIMEOUT) $(PKG)
endif

.PHONY: short
short: ## run the quick tests only: no daemon, no mounts, no race detector
	go test -short $(PKG)

.PHONY: race
race: ## run the tests of PKG ten times with the race detector, to find rare interleavings
	go test -race -shuffle=on -count=10 -timeout $(TIMEOUT) $(PKG)

.PHONY: vet
vet: ## run go vet, with the C libraries and without
	go vet ./...
	GOFLAGS='$(BASE_GOFLAGS)' go vet ./plugin/diskimage

.PHONY: lint
lint: $(LINT) ## check the formatting and run golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	 [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(LINT) run ./...

# Built from its source at one exact version, below the checkout; about two minutes, once.
$(LINT):
	@mkdir -p .tools/bin .tools/tmp
	GOBIN=$(CURDIR)/.tools/tmp GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv .tools/tmp/golangci-lint $@

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u | while read -r dir; do \
	  grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$dir/*_test.go | awk '{print $$2}' | while read -r target; do \
	    echo "== $$dir $$target"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$dir; \
	  done; \
	done

.PHONY: soak
soak: tools ## try 10,000 random operations against the model, without the race detector, or as many as SOAK=2h allows
	go test -count=1 -v -timeout 0 -run 'Random|Linearizable' ./e2e/randomops | grep -vE '(RUN|PASS).*seed=|rapid. OK|=== NAME'

.PHONY: bench
bench: tools build ## measure hits and fills against the bare floor on the same filesystem, as ratios
	go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 60m ./e2e/bench

.PHONY: test-ceph
test-ceph: ceph-packages ## run the RBD backend's tests on a real Ceph cluster of one node, which they start and stop
	go test -count=1 -timeout $(TIMEOUT) ./backends/rbd/...

.PHONY: ceph-packages
ceph-packages: ## install what building and testing with RBD needs (as root, Debian)
	@./e2e/install.sh ceph

.PHONY: tools
tools:
	@./e2e/install.sh

.PHONY: install
install: build ## install program and systemd unit below PREFIX (DESTDIR is honoured)
	install -D -m 0755 bin/clonecache $(DESTDIR)$(PREFIX)/bin/clonecache
	install -D -m 0644 docs/systemd/clonecache.service $(DESTDIR)$(PREFIX)/lib/systemd/system/clonecache.service

.PHONY: clean
clean: ## remove what was built and the demo (run/), unmounting it
	@if mountpoint -q run/volumes 2>/dev/null; then umount run/volumes; fi
	rm -rf bin run .tools .cache
