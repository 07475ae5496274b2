package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{plugin.ErrBadRequest, exitUsage},
		{plugin.ErrUnknownBackend, exitNotFound},
		{plugin.ErrConflict, exitConflict},
		{plugin.ErrTooSmall, exitUsage},
		{plugin.ErrHasClones, exitConflict},
		{plugin.ErrBusy, exitConflict},
		{plugin.ErrStopping, exitLater},
		{&diskimage.Refusal{Rule: "backing-file"}, exitRefused},
		{imagesource.ErrDigestMismatch, exitRefused},
		{imagesource.ErrTruncated, exitRefused},
		{imagesource.ErrRefused, exitRefused},
		{imagesource.ErrForbidden, exitRefused},
		{imagesource.ErrNotActive, exitRefused},
		{imagesource.ErrPage, exitRefused},
		{imagesource.ErrRedirect, exitRefused},
		{imagesource.ErrAddress, exitRefused},
		{imagesource.ErrCertificate, exitError},
		{imagesource.ErrLogin, exitError},
		{imagesource.ErrNotFound, exitNotFound},
		{imagesource.ErrChanged, exitLater},
		{imagesource.ErrUnavailable, exitLater},
		{catalog.ErrNotFound, exitNotFound},
		{catalog.ErrPinned, exitConflict},
		{catalog.ErrNoHost, exitNotFound},
		{catalog.ErrHostUp, exitConflict},
		{plugin.ErrElsewhere, exitConflict},
		{backends.ErrNotOurs, exitConflict},
		{backends.ErrNotExist, exitNotFound},
		{backends.ErrNoSpace, exitLater},
		{backends.ErrUnavailable, exitLater},
		{errors.New("anything else"), exitError},
	} {
		if _, got := explain(t.Context(), api.Explain(c.err)); got != c.want {
			t.Errorf("%v: got exit code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestExitCodesOfWhatHappensHere(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		exit int
		code string
	}{
		{"usage", t.Context(), &usageError{errors.New("IMAGE is missing")}, exitUsage, "usage"},
		{"configuration", t.Context(), fmt.Errorf("serve: %w", config.Problems{{What: "x"}}), exitUsage, "bad_configuration"},
		{"refusal", t.Context(), &diskimage.Refusal{Rule: "data-file", Field: "incompatible_features", Value: "0x4"}, exitRefused, "image_refused"},
		{"no daemon", t.Context(), &api.Error{Code: api.CodeDaemonUnreachable, Retryable: true}, exitUnreachable, api.CodeDaemonUnreachable},
		{"server's URL", t.Context(), &api.Error{Code: api.CodeBadServerURL}, exitUsage, api.CodeBadServerURL},
		{"interrupted", interrupted, context.Canceled, exitInterrupted, "interrupted"},
		{"else", t.Context(), os.ErrPermission, exitError, "error"},
	} {
		got, exit := explain(c.ctx, c.err)
		if exit != c.exit || got.Code != c.code {
			t.Errorf("%s: got %d %q, want %d %q", c.name, exit, got.Code, c.exit, c.code)
		}
	}
}

// local runs a command that needs no daemon.
func local(t *testing.T, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	exit = Run(t.Context(), testEnv(&out, &errs), args)
	return exit, out.String(), errs.String()
}

func TestErrorsGoWhereProgramsAndPeopleLook(t *testing.T) {
	for _, args := range [][]string{
		{"volume", "create", "-o", "json"},
		{"nonsense", "--output=json"},
		{"--nonsense", "-ojson"},
		{"status", "--server", "ftp://x", "-o", "json"},
	} {
		exit, stdout, stderr := local(t, args...)
		if exit != exitUsage || !strings.Contains(stdout, `"error": {`) || stderr != "" {
			t.Errorf("%q: got %d, standard output %q, standard error %q; want %d and JSON", args, exit, stdout, stderr, exitUsage)
		}
	}
	exit, stdout, stderr := local(t, "volume", "create")
	if exit != exitUsage || stdout != "" || stderr != "clonecache: IMAGE is missing\n" {
		t.Errorf("got %d, standard output %q, standard error %q; want a sentence on the latter", exit, stdout, stderr)
	}
}

func TestImageInspect(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "disk.img"), bytes.Repeat([]byte{7}, 1<<20))
	write(t, filepath.Join(dir, "evil.qcow2"), append([]byte("QFI\xfb\x00\x00\x00\x09"), make([]byte, 4096)...))
	exit, stdout, _ := local(t, "image", "inspect", filepath.Join(dir, "disk.img"), "-o", "json")
	if exit != exitOK || !strings.Contains(stdout, `"format": "raw"`) || !strings.Contains(stdout, `"virtual_size": 1048576`) {
		t.Errorf("raw: got %d %s", exit, stdout)
	}
	exit, stdout, _ = local(t, "image", "inspect", filepath.Join(dir, "evil.qcow2"), "-o", "json")
	if exit != exitRefused || !strings.Contains(stdout, `"code": "image_refused"`) || !strings.Contains(stdout, `"rule": "`) {
		t.Errorf("hostile: got %d %s", exit, stdout)
	}
	if exit, _, stderr := local(t, "image", "inspect", dir); exit != exitUsage {
		t.Errorf("a directory: got %d %s, want %d", exit, stderr, exitUsage)
	}
	if exit, _, stderr := local(t, "image", "inspect", filepath.Join(dir, "none")); exit != exitNotFound {
		t.Errorf("no file: got %d %s, want %d", exit, stderr, exitNotFound)
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.toml")
	write(t, file, []byte(serveConfig))
	if exit, stdout, _ := local(t, "config", "check", file); exit != exitProblems || !strings.Contains(stdout, "image_source[0].path") {
		t.Errorf("without the images' directory: got %d\n%s", exit, stdout)
	}
	write(t, filepath.Join(dir, "images/a.raw"), nil)
	if exit, stdout, _ := local(t, "config", "check", file); exit != exitOK || !strings.Contains(stdout, "is good") {
		t.Errorf("good: got %d\n%s", exit, stdout)
	}
	if _, err := os.Stat(filepath.Join(dir, "volumes")); !os.IsNotExist(err) {
		t.Errorf("config check made the volumes' directory: %v", err)
	}
	write(t, file, []byte("fill_limit = 0\n"))
	exit, stdout, _ := local(t, "config", "check", file, "-o", "json")
	if exit != exitProblems || !strings.Contains(stdout, `"ok": false`) || !strings.Contains(stdout, `"key": "fill_limit"`) {
		t.Errorf("bad: got %d\n%s", exit, stdout)
	}
	if exit, _, stderr := local(t, "config", "check", filepath.Join(dir, "none")); exit != exitNotFound {
		t.Errorf("no file: got %d %s, want %d", exit, stderr, exitNotFound)
	}
}

func TestVersionSaysWhatTheLinkerSaid(t *testing.T) {
	if exit, stdout, _ := local(t, "version", "-o", "json"); exit != exitOK || !strings.Contains(stdout, `"version": "v1.2.3"`) {
		t.Errorf("got %d %s", exit, stdout)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if exit, stdout, _ := local(t, "completion", shell); exit != exitOK || len(stdout) < 1000 {
			t.Errorf("%s: got %d and %d bytes", shell, exit, len(stdout))
		}
	}
	d := startDaemon(t)
	exit, stdout, _ := local(t, "__complete", "volume", "create", "x", "--server", d.server, "--backend", "")
	if exit != exitOK || !strings.Contains(stdout, "local\t") {
		t.Errorf("backends: got %d %s", exit, stdout)
	}
}
