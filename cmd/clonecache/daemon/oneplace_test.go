package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// Two backends on one place are found without starting anything, as a start refuses them: a directory that is mounted
// at two paths, new or used, and the copy of a store.
func TestCheckFindsTwoBackendsOnOnePlace(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, one, other string)
		used bool // the store was used before
		want string
	}{
		{"mounted twice, new", bindMount, false, "lie on one place"},
		{"mounted twice, used", bindMount, true, "are one store"},
		{"copied", func(t *testing.T, one, other string) {
			if err := os.CopyFS(other, os.DirFS(one)); err != nil {
				t.Fatal(err)
			}
		}, true, "are one store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, dir := parse(t, one+"[[backend]]\nname = \"other\"\nkind = \"file\"\npath = \"other\"\n")
			writeImage(t, dir)
			if c.used {
				alone := cfg
				alone.Backends = cfg.Backends[:1]
				runOnce(t, alone)
			}
			c.make(t, filepath.Join(dir, "volumes"), filepath.Join(dir, "other"))
			problems := Try(t.Context(), cfg).Problems
			if len(problems) != 1 || problems[0].Key != "backend[1].path" || !strings.Contains(problems[0].What, c.want) || !strings.Contains(problems[0].What, "of its own") {
				t.Errorf("got problems %v, want that they %s", problems, c.want)
			}
			log, _ := test.NewNullLogger()
			if err := Run(t.Context(), cfg, Options{Log: log}); err == nil {
				t.Error("it started")
			}
		})
	}
}

// runOnce lets a daemon open its stores, and ends it.
func runOnce(t *testing.T, cfg config.Config) {
	t.Helper()
	d := run(t, cfg)
	d.stop()
	err := <-d.ended
	d.ended <- nil
	if err != nil {
		t.Fatal(err)
	}
}

// bindMount makes one directory appear at two paths.
func bindMount(t *testing.T, one, other string) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	for _, dir := range []string{one, other} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(one, other, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(other, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
