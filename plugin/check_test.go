package plugin_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// wantProblem checks, and wants one problem.
func (r *rig) wantProblem(t *testing.T, o plugin.CheckOptions, kind, says string) {
	t.Helper()
	got, err := r.Check(t.Context(), o)
	got.Problems = slices.DeleteFunc(got.Problems, func(p plugin.Problem) bool { return p.Kind == "held-bytes" }) // harm has that effect too
	if err != nil || len(got.Problems) != 1 || got.Problems[0].Kind != kind || !strings.Contains(got.Problems[0].Detail, says) {
		t.Fatalf("check: got %+v, %v, want %s with %q", got, err, kind, says)
	}
	if got.OK != bool(o.Repair) || got.Problems[0].Repaired != bool(o.Repair) {
		t.Errorf("check: got %+v, want it repaired: %v", got, o.Repair)
	}
}

// inCatalog does something to the catalog behind everybody's back.
func (r *rig) inCatalog(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.dir, "state", "catalog.db")+"?_busy_timeout=20000") // the plugin writes too
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestADeepCheckFindsWhatAnImageVolumeDoesNotHoldAnyMore(t *testing.T) {
	for _, format := range []string{"raw", "qcow2"} {
		for _, harm := range []struct {
			name string
			at   int64
		}{{"content", mib + 5}, {"what was zero", 6*mib + 5}} {
			t.Run(format+" "+harm.name, func(t *testing.T) {
				r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
				content := append(compressible(4*mib), make([]byte, 4*mib)...)
				image := "disk." + format
				if format == "raw" {
					if err := os.WriteFile(filepath.Join(r.dir, "images", image), content, 0o600); err != nil {
						t.Fatal(err)
					}
				} else {
					writeQCOW2(t, filepath.Join(r.dir, "images", image), content)
				}
				r.create(t, "library:"+image, "v", 0)
				checkClean(t, r)
				e := r.wantEntries(t, 1)[0]
				r.damage(t, e.ImageVolume, harm.at)
				deep := plugin.CheckOptions{Deep: true}
				r.wantProblem(t, deep, "content", e.ImageVolume)
				deep.Repair = true
				r.wantProblem(t, deep, "content", e.ImageVolume)
				if a := r.create(t, "library:"+image, "w", 0); a.Outcome != plugin.Filled {
					t.Fatalf("got %+v, want filled", a)
				}
				checkClean(t, r)
			})
		}
	}
}

// damage changes one byte of an image-volume, whose file keeps its size and times.
func (r *rig) damage(t *testing.T, imageVolume string, at int64) {
	t.Helper()
	path := filepath.Join(r.dir, "volumes", ".clonecache", "image-volumes", imageVolume)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestADeepCheckComparesWithTheCatalogToo(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	fillSeveral(t, r, 1)
	r.inCatalog(t, `UPDATE entries SET content_sum = 'xxh3-4096:0'`)
	r.wantProblem(t, plugin.CheckOptions{Deep: true}, "content", "the catalog says xxh3-4096:0")
	r.inCatalog(t, `UPDATE entries SET content_sum = ''`) // of an entry that was made before there were sums
	checkClean(t, r)
}

func TestACheckFindsTotalsThatDisagree(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	fillSeveral(t, r, 2)
	r.inCatalog(t, `UPDATE entry_totals SET entries = entries + 1 WHERE state = 'ready'`)
	r.wantProblem(t, plugin.CheckOptions{}, "catalog-totals", "3 entries")
	r.wantProblem(t, plugin.CheckOptions{Repair: true}, "catalog-totals", "3 entries")
	checkClean(t, r)
}
