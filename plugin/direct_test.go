package plugin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

const onCeph = "rbd://fsid/images/disk/snap"

// directRig has an image that its backend holds itself.
func directRig(t *testing.T) (*rig, *gatedSource, *capable, []byte) {
	t.Helper()
	source, backend := newGatedSource(), newCapable()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
	content := random(mib)
	source.put("disk", "1", content)
	source.locate("disk", onCeph)
	backend.images[onCeph] = content
	return r, source, backend, content
}

func TestAnImageOnTheBackendIsClonedWithoutTheCache(t *testing.T) {
	r, source, backend, content := directRig(t)
	for _, want := range []plugin.Reason{plugin.ReasonOnBackend, plugin.ReasonRepeated} {
		a := r.create(t, "gated:disk", "v1", 2*mib)
		if a.Reason != want || a.DownloadedBytes != 0 || a.SizeBytes != 2*mib {
			t.Errorf("got %+v, want it because of %s", a, want)
		}
	}
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Direct || a.SizeBytes != mib {
		t.Errorf("got %+v, want a direct clone of the image's size", a)
	}
	backend.wantContent(t, "v1", content)
	if got := source.opened.Load(); got != 0 {
		t.Errorf("the image was downloaded %d times", got)
	}
	r.wantEntries(t, 0)
	report, err := r.Report(t.Context(), "", time.Time{})
	if err != nil || report.Total.Outcomes["direct"] != 2 || report.Total.Misses != 0 {
		t.Errorf("report: got %+v, %v, want two direct clones and no miss", report.Total, err)
	}
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v3", SizeBytes: mib / 2}); !errors.Is(err, plugin.ErrTooSmall) {
		t.Errorf("a volume that is too small: got %v, want ErrTooSmall", err)
	}
	checkClean(t, r)
}

// The image service may hide where images lie from all but the control plane.
func TestALocationThatTheRequesterKnows(t *testing.T) {
	for _, c := range []struct {
		name, location string
		want           plugin.Outcome
	}{
		{"the image's own", onCeph, plugin.Direct},
		{"another image's", "rbd://fsid/images/secret/snap", plugin.Filled},
		{"another snapshot of it", "rbd://fsid/images/disk/old", plugin.Filled},
		{"no whole location", "rbd://fsid/images/disk", plugin.Filled},
		{"another store's", "file:///images/disk/snap", plugin.Filled},
		{"a cluster that is not the backend's", "rbd://other/images/disk/snap", plugin.Filled},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, source, backend, content := directRig(t)
			source.locate("disk", "")
			backend.images["rbd://fsid/images/secret/snap"] = random(mib)
			backend.images["rbd://fsid/images/disk/old"] = random(mib)
			q := plugin.Request{Image: "gated:disk", Volume: "v1", ImageLocations: []string{"", c.location}}
			a, err := r.CreateVolume(t.Context(), q)
			if err != nil || a.Outcome != c.want {
				t.Fatalf("got %+v, %v, want %s", a, err, c.want)
			}
			backend.wantContent(t, "v1", content)
			checkClean(t, r)
		})
	}
}

func TestWhatCannotBeClonedDirectlyIsCached(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*gatedSource, *capable, *plugin.Request)
	}{
		{"it is gone from the backend", func(_ *gatedSource, b *capable, _ *plugin.Request) { delete(b.images, onCeph) }},
		{"it has no location", func(s *gatedSource, _ *capable, _ *plugin.Request) { s.locate("disk", "") }},
		{"its format is not told", func(s *gatedSource, _ *capable, _ *plugin.Request) { s.declare("disk", "") }},
		{"raw is the caller's word", func(s *gatedSource, _ *capable, r *plugin.Request) {
			s.declare("disk", "")
			r.DiskFormat = "raw"
		}},
		{"the digest is the caller's", func(_ *gatedSource, b *capable, r *plugin.Request) { r.Digest = digestOf(b.images[onCeph]) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, source, backend, content := directRig(t)
			q := plugin.Request{Image: "gated:disk", Volume: "v1"}
			c.change(source, backend, &q)
			a, err := r.CreateVolume(t.Context(), q)
			if err != nil || a.Outcome != plugin.Filled {
				t.Fatalf("got %+v, %v, want filled", a, err)
			}
			backend.wantContent(t, "v1", content)
			checkClean(t, r)
		})
	}
}

func TestADirectCloneThatDiesIsSettled(t *testing.T) {
	r, _, backend, content := directRig(t)
	stop := newHalt()
	backend.after = func(string) { stop.here() }
	ctx, die := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.CreateVolume(ctx, plugin.Request{Image: "gated:disk", Volume: "v1"})
		ended <- err
	}()
	<-stop.reached
	again := restartFrom(t, r)
	if a := again.create(t, "gated:disk", "v1", 0); a.Reason != plugin.ReasonRepeated {
		t.Errorf("the repeated request: got %+v, want the volume that was made", a)
	}
	backend.wantContent(t, "v1", content)
	checkClean(t, again)
	die()
	close(stop.goOn)
	<-ended
}
