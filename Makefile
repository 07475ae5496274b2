# clonecache: everything that is built, run or proved goes by one of these targets.
# `make help` lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
PREFIX  ?= /usr/local
INSTALL ?= ./e2e/install.sh
DESTDIR ?=

PKG      ?= ./...
TIMEOUT  ?= 30m
FUZZTIME ?= 30s
BENCH    ?= .

LINT_VERSION := v2.8.0
LINT         := .tools/bin/golangci-lint-$(LINT_VERSION)

# The race detector needs a C compiler; where there is none, tests run without it and e2e/install.sh says so.
# What of SQLite is translated from C is left out: its memory lies where the detector does not look, and its statements take seven
# times as long with it. SQLite's driver, which is written in Go, is looked at.
RACE_SPARES := $(foreach package,sqlite/lib libc/... memory,-gcflags=modernc.org/$(package)=-race=false)
RACE := $(shell command -v gcc >/dev/null 2>&1 && echo -race $(RACE_SPARES))

# Where the headers of libdeflate and libzstd are present, compressed images are decoded by these C
# libraries, several times as fast as in Go; anywhere else the same code builds without C.
# (Looked at when a recipe runs, so that what `tools` has just installed counts.)
# The same goes for liblzma and libbz2, and images that are compressed as a whole.
CUNPACK = $(shell command -v gcc >/dev/null 2>&1 && [ -e /usr/include/lzma.h ] && [ -e /usr/include/bzlib.h ] && echo cunpack)
CDECODE = $(shell command -v gcc >/dev/null 2>&1 && [ -e /usr/include/libdeflate.h ] && [ -e /usr/include/zstd.h ] && echo cdecode) $(CUNPACK)
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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: IMAGE=FILE|URL RUN_ONCE=1 (run) · PKG=./lru/... TIMEOUT=30m (test, race) ·"
	@echo "             FUZZTIME=30s (fuzz) · SOAK=2h (soak) · BENCH=regexp (bench) · PREFIX=/usr/local DESTDIR= (install)"

.PHONY: build
build: ## build bin/clonecache
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/clonecache ./cmd/clonecache

.PHONY: run
run: $(if $(filter rbd,$(BACKEND)),ceph-packages) $(if $(filter openstack,$(BACKEND)),openstack-packages) build ## start the daemon on a demo in ./run and do the main job before your eyes (IMAGE=, RUN_ONCE=1, BACKEND=rbd|openstack)
	@./e2e/$(if $(filter openstack,$(BACKEND)),openstack/)run.sh

# The tests, benchmarks and lint of everything but RBD and OpenStack take the same tags on every machine.
test test-local short race vet lint fuzz soak $(if $(filter rbd openstack,$(BACKEND)),,bench): TAGS = $(CDECODE)

# Sets of tests: what one machine does by itself, what needs a Ceph cluster, and what needs Keystone,
# Glance and Cinder. The latter two start what they need on loopback, and stop it again.
TEST            = go test -json -shuffle=on -timeout $(TIMEOUT)
CEPH_TAGS       = $(subst $(space),$(comma),$(strip $(CDECODE) $(CEPH) failpoints))
TEST_LOCAL      = $(TEST) $(RACE) $(PKG)
TEST_CEPH       = $(TEST) -count=1 -p 1 -tags $(CEPH_TAGS) ./backends/rbd/... ./e2e/cephproof/... ./e2e/guest/...
TEST_OPENSTACK  = ./e2e/openstack/with-lab.sh $(TEST) -count=1 -p 1 -tags $(CEPH_TAGS),openstack -skip OfOneCluster ./internaltenant/... ./plugin/imagesource/glance/... ./plugin/cinder/... ./e2e/openstack/...
# Debian packages are built, and installed in a root of their own.
TEST_PACKAGES   = $(TEST) -count=1 -tags packages ./e2e/packages/...
# The catalog's tests, and those of several hosts, on MariaDB, a Galera cluster and PostgreSQL, each started on loopback and
# wiped.
TEST_DATABASES  = ./e2e/databases/with-servers.sh $(TEST) -count=1 -tags databases -skip SQLite ./plugin/catalog \
                  and $(TEST) -count=1 -tags databases$(addprefix $(comma),$(subst $(space),$(comma),$(strip $(CDECODE)))) -run Host ./plugin \
                  and $(TEST) -count=1 -tags databases -run SeveralHosts ./e2e/randomops
# Each alert fires by what it is about, on three daemons that share a catalog on MariaDB; what happens to them happens at once.
TEST_ALERTS     = $(TEST) -count=1 -parallel 32 -tags databases$(addprefix $(comma),$(subst $(space),$(comma),$(strip $(CDECODE)))) -run EachAlertIs ./e2e/monitoring
# Cinder's own unit tests need its packages, and no service; those of tempest start a lab, and bin/clonecache.
TEST_PEERS      = $(TEST) -count=1 -tags openstack ./e2e/peers/...
# The race detector affords few random operations; 10,000 are tried without it.
TEST_RANDOM     = $(TEST) -count=1 -run Random ./e2e/randomops

# Every set runs, whatever became of the others; testreport ends with one summary of what failed.
REPORT    = go run ./e2e/testreport $(if $(filter true,$(CI)),-strict)
SUBMAKE   = $(MAKE) --no-print-directory GOFLAGS="$(BASE_GOFLAGS)"
LINT_SET  = $(SUBMAKE) lint
VET_SET   = $(SUBMAKE) vet
BUILD_SET = $(SUBMAKE) build
SETS      = vet='$(VET_SET)' build='$(BUILD_SET)' local='$(TEST_LOCAL)' \
            $(if $(filter true,$(CI)),random='$(TEST_RANDOM)') databases='$(TEST_DATABASES)' alerts='$(TEST_ALERTS)' \
            $(if $(CEPH),ceph='$(TEST_CEPH)' openstack='$(TEST_OPENSTACK)' peers='$(TEST_PEERS)' packages='$(TEST_PACKAGES)')
NO_CEPH   = $(if $(CEPH),,-skip ceph='librbd has no headers here' -skip openstack='what it needs is not installed' -skip peers='what it needs is not installed' -skip packages='librbd has no headers here')

.PHONY: test
ifneq ($(PKG),./...)
test: tools ## run all tests, the end-to-end ones on Ceph and OpenStack too (PKG=./lru/...: only those)
	@$(REPORT) vet='$(VET_SET)' local='$(TEST_LOCAL)'
else
test: openstack-packages databases-packages
	@$(REPORT) $(NO_CEPH) $(if $(filter true,$(CI)),lint='$(LINT_SET)') $(SETS)
endif

.PHONY: test-local
test-local: tools ## run the tests that need neither Ceph nor OpenStack
	@$(REPORT) vet='$(VET_SET)' local='$(TEST_LOCAL)'

.PHONY: short
short: ## run the quick tests only: no daemon, no mounts, no race detector
	go test -short $(PKG)

.PHONY: race
race: ## run the tests of PKG ten times with the race detector, to find rare interleavings
	go test -race $(RACE_SPARES) -shuffle=on -count=10 -timeout $(TIMEOUT) $(PKG)

.PHONY: vet
vet: ## run go vet, with the C libraries and without, and with RBD
	go vet ./...
	$(if $(CEPH),go vet -tags $(CEPH_TAGS)$(comma)openstack$(comma)packages$(comma)storm ./...)
	go vet -tags databases ./plugin ./plugin/catalog ./e2e/randomops ./e2e/monitoring
	GOFLAGS='$(BASE_GOFLAGS)' go vet ./plugin/diskimage

.PHONY: lint
lint: $(LINT) ## check the formatting and run golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	 [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(LINT) run ./...
	$(if $(CEPH),$(LINT) run --build-tags $(CEPH_TAGS)$(comma)openstack$(comma)packages$(comma)storm ./...)
	$(LINT) run --build-tags databases ./plugin ./plugin/catalog ./e2e/monitoring

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
soak: tools ## try 10,000 random operations against the model, on one host and on three, without the race detector, or as many as SOAK=2h allows
	HOST_OPS=10000 HOST_HISTORIES=100 go test -count=1 -v -timeout 0 -run 'Random|Linearizable' ./e2e/randomops | grep -vE '(RUN|PASS).*seed=|rapid. OK|=== NAME'

# A catalog of 100,000 entries: each number is one operation's time.
BENCH_CATALOG = go test -run '^$$' -bench 'Entries/$(if $(filter .,$(BENCH)),.*,$(BENCH))/100000' -benchtime 20x -timeout 60m

.PHONY: bench
bench: tools $(if $(filter databases rbd,$(BACKEND)),databases-packages) $(if $(filter rbd,$(BACKEND)),ceph-packages) $(if $(filter openstack,$(BACKEND)),openstack-packages) build ## measure hits and fills against the bare floor on the same filesystem, as ratios (BACKEND=rbd: on a Ceph cluster; openstack: beside Cinder's own cache; databases: the catalog on SQLite and MariaDB)
ifeq ($(BACKEND),openstack)
	go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 60m -tags $(CEPH_TAGS)$(comma)openstack ./e2e/openstack
else ifeq ($(BACKEND),databases)
	$(BENCH_CATALOG) ./plugin/catalog
	DATABASES=mariadb ./e2e/databases/with-servers.sh $(BENCH_CATALOG) -tags databases ./plugin/catalog
else
	$(if $(filter rbd,$(BACKEND)),BENCH='$(BENCH)' ./e2e/ceph/bench.sh,go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 60m ./e2e/bench)
	$(if $(filter rbd,$(BACKEND)),,$(if $(filter . Page,$(BENCH)),go test -run '^$$' -bench Page -benchtime 5x -timeout 60m ./e2e/scale))
endif

.PHONY: test-ceph
test-ceph: ceph-packages databases-packages ## run the tests on a real Ceph cluster of one node
	@$(REPORT) ceph='$(TEST_CEPH)'

# A storm holds both cores for minutes. STORM=Galera: only that one.
.PHONY: test-hosts
test-hosts: ceph-packages databases-packages ## ask three daemons on one Ceph pool for a thousand volumes of twenty new images at once, while hosts and databases fail
	go test -v -count=1 -timeout 40m -tags $(CEPH_TAGS)$(comma)storm -run 'Storm.*$(STORM)' ./e2e/cephproof

.PHONY: ceph-packages
ceph-packages: ## install what building and testing with RBD needs (as root, Debian)
	-@$(INSTALL) ceph

.PHONY: test-openstack
test-openstack: openstack-packages build ## run the tests behind a real Keystone, Glance and Cinder (as root)
	@$(REPORT) openstack='$(TEST_OPENSTACK)'

.PHONY: test-controllers
test-controllers: openstack-packages databases-packages build ## kill one of two controllers in fifty creates: two cinder-volumes of one cluster, a daemon each, a catalog on MariaDB (as root)
	./e2e/openstack/with-lab.sh go test -v -count=1 -timeout 30m -tags $(CEPH_TAGS),openstack -run OfOneCluster ./e2e/openstack

.PHONY: test-packages
test-packages: tools ## build the Debian packages; install, upgrade, downgrade and remove them in a root of their own (as root)
	@./e2e/install.sh packages
	@$(REPORT) packages='$(TEST_PACKAGES)'

.PHONY: test-databases
test-databases: tools databases-packages ## run the tests of the catalog, and of several hosts on one, on MariaDB, a Galera cluster and PostgreSQL, and let each alert fire
	@$(REPORT) databases='$(TEST_DATABASES)' alerts='$(TEST_ALERTS)'

.PHONY: screenshots
screenshots: tools ## make the pictures of the admin page in docs/pictures anew, by its test in Chromium (as root)
	CLONECACHE_PICTURES=$(CURDIR)/docs/pictures go test -count=1 -run TestThePictures ./e2e/page

.PHONY: databases-packages
databases-packages:
	-@$(INSTALL) databases

.PHONY: test-peers
test-peers: openstack-packages build ## run Cinder's own unit tests of drivers and volume manager on our drivers, and tempest's tests of images (as root)
	@$(REPORT) peers='$(TEST_PEERS)'

.PHONY: tempest
tempest: openstack-packages build ## run OpenStack's own API tests of volumes on Cinder's driver and on ours, and compare (as root; TESTS=images: those of images; TEMPEST_TYPE=nfs1: on NFS)
	@$(INSTALL) tempest
	@./e2e/peers/tempest/tempest.sh $(TESTS)

.PHONY: rally
rally: openstack-packages build ## compare clonecache with Cinder's own image-volume cache under OpenStack's load test (as root)
	@$(INSTALL) rally
	@./e2e/peers/rally/rally.sh

.PHONY: nova
nova: openstack-packages build ## boot servers of a real Nova from volumes that are made through clonecache, and from an image that Nova downloads through it (as root)
	@$(INSTALL) nova
	@./e2e/peers/nova/nova.sh

.PHONY: openstack-packages
openstack-packages: ## install what the lab of OpenStack needs (as root, Debian; about 900 MB)
	-@$(INSTALL) openstack

.PHONY: tools
tools:
	-@$(INSTALL)

.PHONY: install
install: build ## install program, unit, user, directories and man pages below PREFIX (DESTDIR is honoured; without it the user and directories are made)
	install -D -m 0755 bin/clonecache $(DESTDIR)$(PREFIX)/bin/clonecache
	@mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,/usr/local/bin/,$(PREFIX)/bin/,' docs/systemd/clonecache.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/clonecache.service
	install -D -m 0644 docs/systemd/clonecache.sysusers $(DESTDIR)/usr/lib/sysusers.d/clonecache.conf
	install -D -m 0644 docs/systemd/clonecache.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/clonecache.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/clonecache/monitoring docs/monitoring/clonecache.rules.yml docs/monitoring/clonecache.dashboard.json
	go run ./cmd/manpages $(DESTDIR)$(PREFIX)/share/man/man1 $(VERSION)
	@if [ -z "$(DESTDIR)" ]; then systemd-sysusers clonecache.conf && systemd-tmpfiles --create clonecache.conf; fi

# The version of packages: as released, or one that sorts before the next release.
RELEASE ?= $(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null | sed 's/^v//' | grep . || echo "0.0~git$$(git log -1 --format=%cd --date=format:%Y%m%d).$$(git rev-parse --short=8 HEAD)")

.PHONY: print-tags
print-tags:
	@echo $(subst $(space),$(comma),$(strip $(CDECODE) $(CEPH)))

.PHONY: packages
packages: ## build Debian packages and a container image below dist/ (RELEASE=1.2.3: their version)
	@./cmd/packages/packages.sh $(RELEASE)
	@./cmd/packages/image.sh $(RELEASE)

.PHONY: release
release: ## check, tag and package a version (VERSION=1.2.3)
	@./cmd/packages/release.sh $(VERSION)

.PHONY: clean
clean: ## remove what was built and the demo (run/), unmounting it
	@if mountpoint -q run/volumes 2>/dev/null; then umount run/volumes; fi
	rm -rf bin run dist .tools .cache
