package plugin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// The host's name changes between two starts, as a container's does with each of them.
func TestAChangedHostNameChangesNothing(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	r.image(t, "disk.raw", mib)
	for _, v := range []string{"v1", "v2", "v3"} {
		r.create(t, "library:disk.raw", v, 0)
	}
	type counts struct{ hits, misses, ofEntry, clones int64 }
	totals := func() counts {
		report, err := r.Report(t.Context(), "", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		e := r.wantEntries(t, 1)[0]
		return counts{report.Total.Hits, report.Total.Misses, e.Hits, int64(e.Clones)}
	}
	before := totals()
	for _, host := range []string{"0123456789ab", "another"} {
		r.reopen(t, func() { r.config.Host = host })
		if after := totals(); after != before {
			t.Errorf("as %s: %+v, before %+v", host, after, before)
		}
	}
}

// Who a daemon and a catalog are is kept beside the catalog.
func TestIdentitiesOutliveTheCatalog(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{})
	identity := func() [2]string {
		s, err := r.Status(t.Context())
		if err != nil || s.InstanceID == "" || s.CatalogID == "" {
			t.Fatalf("status %+v, %v", s, err)
		}
		return [2]string{string(s.InstanceID), string(s.CatalogID)}
	}
	want := identity()
	state := filepath.Join(r.dir, "state")
	for _, c := range []struct{ name, gone string }{
		{"restarted", ""}, {"its catalog lost", "catalog.db*"}, {"its file of the catalog's ID lost", "catalog-id"},
	} {
		r.reopen(t, func() {
			files, err := filepath.Glob(filepath.Join(state, c.gone))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if c.gone == "" {
					break
				}
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		})
		if got := identity(); got != want {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
}

// A file that was damaged makes nobody somebody else.
func TestADamagedIdentityIsNotReplaced(t *testing.T) {
	for _, file := range []string{"instance-id", "catalog-id"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), []byte("half a u"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := plugin.Open(t.Context(), plugin.Config{StateDir: dir})
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, file)) {
			t.Errorf("%s: got %v, want an error that names the file", file, err)
		}
	}
}
