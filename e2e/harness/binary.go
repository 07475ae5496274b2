// Package harness runs the real clonecache program for end-to-end tests and benchmarks: it builds it
// once, starts, stops and kills daemons, calls the command line, serves images over a throttled HTTP
// server, makes disk images from real files, and looks at what lies on disk.
//
// Everything is below temporary directories of the test, and daemons die with the test process.
package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
)

// Binary is the path of the program, built once per test process, with the tests' own build tags, its
// failpoints, and the race detector where the tests have it.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := SharedDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "clonecache")
	args := []string{"build", "-o", out, "-tags", strings.Join(append(ownTags(), "failpoints"), ",")}
	if raceEnabled {
		args = append(args, "-race")
		for _, spared := range raceSpares {
			args = append(args, "-gcflags="+spared+"=-race=false")
		}
	}
	args = append(args, "github.com/clonecache/clonecache/cmd/clonecache")
	if text, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build clonecache: %w\n%s", err, text)
	}
	return out, nil
})

// raceSpares are the packages of SQLite that are translated from C, and that the race detector leaves out, as the Makefile does.
var raceSpares = []string{"modernc.org/sqlite/lib", "modernc.org/libc/...", "modernc.org/memory"}

// ownTags are the build tags of this test process.
func ownTags() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			return strings.Split(s.Value, ",")
		}
	}
	return nil
}

// SharedDir is a directory for what all tests of the process share. RemoveShared removes it.
var SharedDir = sync.OnceValues(func() (string, error) {
	return os.MkdirTemp("", "clonecache-e2e-")
})

// RemoveShared removes the shared directory; TestMain calls it last.
func RemoveShared() {
	if dir, err := SharedDir(); err == nil {
		os.RemoveAll(dir)
	}
}

// environment is the program's. The race detector would keep each process for a second at its end.
func environment() []string { return append(os.Environ(), "GORACE=atexit_sleep_ms=0") }

// Race tells whether the tests, and the daemons that they start, run under the race detector.
func Race() bool { return raceEnabled }
