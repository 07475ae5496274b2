//go:build ceph

package rbd

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// directConfig is of a user that may only read Glance's pool.
func directConfig(t testing.TB) Config {
	t.Helper()
	c := config(t)
	pool(t, "glance")
	return as(t, c, "profile rbd", "profile rbd pool=volumes", "profile rbd pool=images", "profile rbd-read-only pool=glance")
}

func TestDirectClones(t *testing.T) {
	b := openBackend(t, directConfig(t))
	g := newGlance(t, b.cluster(), fmt.Sprintf("image of %s", b.config.Namespace))
	if !b.CanCloneDirect(g.location) {
		t.Fatalf("%s cannot be cloned", g.location)
	}
	spec := directSpec("v", "t", g.location)
	spec.SizeBytes = 12 << 20
	v, err := b.CloneDirect(t.Context(), g.location, spec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.StatVolume(t.Context(), "v")
	if err != nil || got != v || !got.Complete {
		t.Errorf("got %+v, %v, want %+v, complete", got, err, v)
	}
	if settled, err := b.Settle(t.Context(), spec); err != nil || settled != backends.Whole {
		t.Errorf("settle: got %v, %v", settled, err)
	}
	r, err := b.OpenVolume(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data := make([]byte, 8)
	if _, err := r.ReadAt(data, 4<<20); err != nil || !bytes.Equal(data, []byte("data\x00\x00\x00\x00")) {
		t.Errorf("read %q, %v", data, err)
	}
	if r, err := b.Reap(t.Context()); err != nil || len(r.ImageVolumes) > 0 {
		t.Errorf("reap: %+v, %v", r, err)
	}
	if _, err := b.CloneDirect(t.Context(), g.location, spec); !errors.Is(err, backends.ErrExist) {
		t.Errorf("the name is taken: got error %v, want %v", err, backends.ErrExist)
	}
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v", ID: v.ID}); err != nil {
		t.Error(err)
	}
	image, err := rbd.OpenImageReadOnly(g.io, g.image, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if children, err := image.ListChildrenAttributes(); err != nil || len(children) > 0 {
		t.Errorf("the image has children %v, %v", children, err)
	}
}

func TestDirectClonesThatCannotBe(t *testing.T) {
	b := openBackend(t, directConfig(t))
	g := newGlance(t, b.cluster(), "image-"+b.config.Namespace)
	small := directSpec("v", "t", g.location)
	small.SizeBytes = 4 << 20
	for _, r := range []struct {
		name, location string
		spec           backends.VolumeSpec
		want           error
	}{
		{"no such pool", strings.Replace(g.location, "/glance/", "/nowhere/", 1), directSpec("v", "t", g.location), backends.ErrNotExist},
		{"no such image", strings.Replace(g.location, g.image, "another", 1), directSpec("v", "t", g.location), backends.ErrNotExist},
		{"no such snapshot", g.location + "s", directSpec("v", "t", g.location), backends.ErrNotExist},
		{"another cluster", "rbd://x/glance/" + g.image + "/snap", directSpec("v", "t", g.location), backends.ErrNotExist},
		{"too small", g.location, small, backends.ErrTooSmall},
		{"a bad name", g.location, directSpec("a/b", "t", g.location), backends.ErrBadName},
	} {
		t.Run(r.name, func(t *testing.T) {
			if _, err := b.CloneDirect(t.Context(), r.location, r.spec); !errors.Is(err, r.want) {
				t.Errorf("got error %v, want %v", err, r.want)
			}
			wantNothing(t, b, "v")
		})
	}
	t.Run("no capability", func(t *testing.T) {
		c := b.config
		blind := openBackend(t, as(t, c, "profile rbd", "profile rbd pool=volumes", "profile rbd pool=images"))
		_, err := blind.CloneDirect(t.Context(), g.location, directSpec("v", "t", g.location))
		remedy := "`ceph auth caps client." + blind.config.User + " mon 'profile rbd' osd '"
		if !errors.Is(err, backends.ErrNotExist) || !strings.Contains(err.Error(), remedy) ||
			!strings.Contains(err.Error(), "profile rbd-read-only pool=glance") {
			t.Errorf("got error %v, want %v with %s", err, backends.ErrNotExist, remedy)
		}
		wantNothing(t, b, "v")
	})
}

func TestLocations(t *testing.T) {
	b := &Backend{fsid: "f"}
	for text, want := range map[string]bool{
		"rbd://f/pool/image/snap": true, "rbd://f/a%2Fb/image%20of/snap": true,
		"rbd://g/pool/image/snap": false, "rbd://f/pool/image": false, "rbd://f/pool/image/snap/x": false,
		"rbd://f/pool//snap": false, "rbd://f/pool/%zz/snap": false, "file:///image": false, "": false, "rbd://image": false,
	} {
		if got := b.CanCloneDirect(text); got != want {
			t.Errorf("%q: got %t, want %t", text, got, want)
		}
	}
}

// What a process left of a direct clone is removed; a clone that it never made is not.
func TestSettleOfDirectClones(t *testing.T) {
	c := directConfig(t)
	died, b := openBackend(t, c), openBackend(t, c)
	g := newGlance(t, b.cluster(), "image-"+c.Namespace)
	snapshot(t, g.io, g.image, "another")
	for _, r := range []struct {
		name string
		make func(name string)
		want backends.Settled
	}{
		{"unstamped", func(name string) { cloneOf(t, g.io, g.image, "snap", died.own(), name) }, backends.Removed},
		{"of another snapshot", func(name string) { cloneOf(t, g.io, g.image, "another", died.own(), name) }, backends.Absent},
		{"a stranger's", func(name string) { cloneOf(t, g.io, g.image, "snap", b.strangers(), name) }, backends.Absent},
		{"without parent", func(name string) { createImage(t, died.own(), name) }, backends.Removed},
	} {
		t.Run(r.name, func(t *testing.T) {
			r.make(r.name)
			if got, err := b.Settle(t.Context(), directSpec(r.name, "t", g.location)); err != nil || got != r.want {
				t.Errorf("got %v, %v, want %v", got, err, r.want)
			}
			if _, err := anyID(b.strangers(), r.name); (err == nil) != (r.want == backends.Absent) {
				t.Errorf("it is there: %v", err == nil)
			}
		})
	}
}
