//go:build ceph

package cephproof

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// A byte that is another one in an object below an image-volume is found by the daemon's scrub: what was made from it is
// named, nothing is made from it afterwards, not after a kill either, and what is filled anew is right.
func TestAFlippedByteOfAnObjectIsFound(t *testing.T) {
	t.Parallel()
	library := shelf.Make(t)
	s := newSite(t, cluster, harness.Config{Images: library, Fallback: harness.NoFallback})
	d := harness.Start(t, s.Config)
	want := harness.Volume{Image: "library:one.raw", Name: "first", Size: volumeSize}
	first := d.Create(t, want)
	want.Name = "second"
	if hit := d.Create(t, want); hit.Outcome != plugin.Hit || hit.EntryID != first.EntryID {
		t.Fatalf("second volume: %+v, want a hit", hit)
	}
	other := d.Create(t, harness.Volume{Image: "library:two.qcow2", Name: "other", Size: volumeSize})
	if r := d.CLI(t, "scrub", "--share", "100"); r.Exit != 0 || !strings.Contains(r.Stdout, "2 image-volumes were read") {
		t.Fatalf("scrub of what is right: %+v", r)
	}
	s.flipByte(t, "library:one.raw")
	if r := d.CLI(t, "scrub", "--share", "100"); r.Exit != 8 || !strings.Contains(r.Stdout, first.EntryID) || strings.Contains(r.Stdout, other.EntryID) {
		t.Errorf("scrub: %+v, want exit code 8 and %s alone", r, first.EntryID)
	}
	d.Kill()
	d.Start(t)
	wantQuarantined(t, d, first.EntryID, "first", "second")
	wantQuarantined(t, d, other.EntryID)
	if r := d.CLI(t, "check"); r.Exit != 8 || !strings.Contains(r.Stdout, "quarantined") || !strings.Contains(r.Stdout, "first") || !strings.Contains(r.Stdout, "second") {
		t.Errorf("check: %+v, want what is in quarantine, and what was made from it", r)
	}
	s.nothingMadeFrom(t, d, first)
	if hit := d.Create(t, harness.Volume{Image: "library:two.qcow2", Name: "other-2", Size: volumeSize}); hit.Outcome != plugin.Hit {
		t.Errorf("of what is right: %+v, want a hit", hit)
	}
}

// wantQuarantined wants an entry to be in quarantine, with what was made from it, or not to be if nothing was.
func wantQuarantined(t *testing.T, d *harness.Daemon, id string, madeFrom ...string) {
	t.Helper()
	e, err := d.Client(t).Entry(t.Context(), id)
	var made []string
	for _, v := range e.MadeFrom {
		made = append(made, string(v))
	}
	slices.Sort(made)
	damaged := len(madeFrom) > 0
	if err != nil || (e.QuarantinedAt != nil) != damaged || damaged && !slices.Equal(made, madeFrom) {
		t.Errorf("entry %s: %+v, %v, want it in quarantine: %t, and made from it %q", id, e, err, damaged, madeFrom)
	}
}

// nothingMadeFrom wants the next volumes of the image of a damaged image-volume to be filled anew, once, and to be right.
func (s *site) nothingMadeFrom(t *testing.T, d *harness.Daemon, damaged plugin.Answer) {
	t.Helper()
	for n, outcome := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		want := harness.Volume{Image: "library:one.raw", Name: fmt.Sprintf("afterwards-%d", n), Size: volumeSize}
		if a := d.Create(t, want); a.Outcome != outcome || a.EntryID == damaged.EntryID {
			t.Errorf("%s: %+v, want it %s, and not of %s", want.Name, a, outcome, damaged.EntryID)
		}
		s.wholeVolume(t, want, filepath.Join(s.Images, "one.raw.disk"))
	}
	clones := 0
	for _, v := range look(t, s.volumes) {
		if v.parent != "" && v.parent == s.imageVolumeOf(t, "library:one.raw", damaged.EntryID).id {
			clones++
		}
	}
	if clones != 2 {
		t.Errorf("%d volumes are clones of what is damaged, want the 2 of before", clones)
	}
}

// imageVolumeOf is the image below an image's image-volume; entry "": there is one.
func (s *site) imageVolumeOf(t *testing.T, label, entry string) image {
	t.Helper()
	for _, i := range look(t, s.images) {
		if i.label() == label && strings.Contains(i.imageVolume.ID, entry) {
			return i
		}
	}
	t.Fatalf("there is no image-volume of %s, entry %q", label, entry)
	return image{}
}

// flipByte changes one byte in the midst of an object of an image's image-volume, as no client of RBD does: below its
// snapshot.
func (s *site) flipByte(t *testing.T, label string) {
	t.Helper()
	prefix := "rbd_data." + s.imageVolumeOf(t, label, "").id + "."
	iter, err := s.images.Iter()
	if err != nil {
		t.Fatal(err)
	}
	defer iter.Close()
	for iter.Next() {
		object := iter.Value()
		if !strings.HasPrefix(object, prefix) {
			continue
		}
		stat, err := s.images.Stat(object)
		if err != nil {
			t.Fatal(err)
		}
		b, at := make([]byte, 1), stat.Size/2
		if n, err := s.images.Read(object, b, at); err != nil || n != 1 {
			t.Fatalf("read %s: %d bytes, %v", object, n, err)
		}
		b[0] ^= 0x10
		if err := s.images.Write(object, b, at); err != nil {
			t.Fatalf("write %s: %v", object, err)
		}
		return
	}
	t.Fatalf("%s has no objects (%v)", prefix, iter.Err())
}
