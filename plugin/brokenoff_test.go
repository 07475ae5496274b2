package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// keepThree has three images of 1 MiB kept in the file cache, whose bounds are given, and returns the names of those kept.
func keepThree(t *testing.T, r *rig, put func(id string, content []byte)) {
	t.Helper()
	for n := range 3 {
		id := fmt.Sprintf("small-%d", n)
		put(id, random(mib))
		k, err := plugin.BytesOf(r.Plugin).Open(t.Context(), plugin.BytesRequest{Image: "gated:" + id, Cache: "files"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Copy(t.Context(), io.Discard, 0, mib); err != nil {
			t.Fatal(err)
		}
		k.Close()
		waitFor(t, func() bool { return len(r.keptImages(t)) == n+1 })
	}
}

// keptImages are those that are kept as they are, or are being fetched.
func (r *rig) keptImages(t *testing.T) []string {
	t.Helper()
	all, err := r.Entries(t.Context(), plugin.EntryFilter{Backend: "files", State: "ready"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.ImageIDs[0])
	}
	return names
}

func boundFiles(b lru.Bounds) option {
	return func(c *plugin.Config) { c.FileCaches[0].Bounds = b }
}

// Who begins to download an image that would fill the whole file cache, and breaks off, has nobody evicted for more than what
// was read; again and again.
func TestADownloadThatIsBrokenOffEvictsForWhatItRead(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), boundFiles(lru.Bounds{MaxBytes: 4*mib + 512<<10}))
	put := func(id string, content []byte) {
		source.put(id, "1", content)
		source.promise(id, digestOf(content))
	}
	close(source.gate)
	keepThree(t, r, put)
	source.gate = make(chan struct{}) // nobody reads
	put("large", random(4*mib+256<<10))
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		k, err := plugin.BytesOf(r.Plugin).Open(ctx, plugin.BytesRequest{Image: "gated:large", Cache: "files"})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := k.Copy(ctx, io.Discard, 0, 2*mib); err != nil {
			t.Fatalf("read %d bytes: %v", n, err)
		}
		cancel()
		k.Close()
		waitFor(t, func() bool { return len(r.Fills()) == 0 })
		if kept := r.keptImages(t); len(kept) != 2 {
			t.Fatalf("kept: %v; want the two for which there was room beside half of the large one", kept)
		}
	}
}

func drain(c <-chan struct{}) {
	for len(c) > 0 {
		<-c
	}
}

// A source that does not give an image has nobody evicted for it, neither by size nor by count.
func TestASourceThatRefusesEvictsNothing(t *testing.T) {
	for name, bounds := range map[string]lru.Bounds{"size": {MaxBytes: 4 * mib}, "count": {MaxCount: 3}} {
		source := newSlowOpen("")
		r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), boundFiles(bounds))
		put := func(id string, content []byte) {
			source.put(id, "1", content)
			source.promise(id, digestOf(content))
		}
		keepThree(t, r, put)
		put("large", random(3*mib))
		source.slowDown("large", imagesource.ErrForbidden)
		close(source.goOn)
		_, err := plugin.BytesOf(r.Plugin).Open(t.Context(), plugin.BytesRequest{Image: "gated:large", Cache: "files"})
		if !errors.Is(err, plugin.ErrNotKept) {
			t.Errorf("%s: got %v", name, err)
		}
		if kept := r.keptImages(t); len(kept) != 3 {
			t.Errorf("%s: kept: %v; want all three", name, kept)
		}
	}
}

// Downloads take not all of the places among the fills, nor among those of their source: a volume gets one at once.
func TestDownloadsLeavePlacesForVolumes(t *testing.T) {
	for what, bound := range map[string]func(*plugin.Config){
		"all": func(c *plugin.Config) { c.FillLimit = 4 },
		"its source": func(c *plugin.Config) {
			c.FillLimit, c.SourceLimits = 8, map[string]plugin.SourceLimit{"gated": {Fills: 4}}
		},
	} {
		t.Run(what, func(t *testing.T) { downloadsLeavePlaces(t, bound) })
	}
}

func downloadsLeavePlaces(t *testing.T, bound option) {
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), bound)
	for n := range 4 {
		content := random(mib + n)
		id := fmt.Sprint(n)
		source.put(id, "1", content)
		source.promise(id, digestOf(content))
	}
	for n := range 4 {
		k, err := plugin.BytesOf(r.Plugin).Open(t.Context(), plugin.BytesRequest{Image: fmt.Sprint("gated:", n), Cache: "files"})
		if fits := n < 2; fits != (err == nil) || !fits && !errors.Is(err, plugin.ErrNotKept) {
			t.Fatalf("download %d: %v", n, err)
		}
		if err == nil {
			defer k.Close()
		}
	}
	drain(source.half)
	source.put("disk", "1", random(mib))
	volume := r.start(plugin.Request{Image: "gated:disk", Volume: backends.VolumeName("v")})
	<-source.half // it is read while both downloads stand
	close(source.gate)
	if a := <-volume; a.err != nil || a.a.Outcome != plugin.Filled {
		t.Errorf("volume: %+v", a)
	}
}

// Images that are to be kept, and wait for their turn, have no place of their source meanwhile that a volume needs.
func TestWaitingDownloadsLeaveASourcesPlaces(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) {
		c.FillLimit, c.SourceLimits = 2, map[string]plugin.SourceLimit{"gated": {Fills: 4}}
	})
	for n := range 8 {
		content := random(mib + n)
		id := fmt.Sprint(n)
		source.put(id, "1", content)
		source.promise(id, digestOf(content))
		if err := plugin.BytesOf(r.Plugin).Fetch(t.Context(), plugin.BytesRequest{Image: "gated:" + id, Cache: "files"}); err != nil {
			t.Fatal(err)
		}
	}
	<-source.half
	waitFor(t, func() bool {
		begun, err := r.Entries(t.Context(), plugin.EntryFilter{Backend: "files", State: "filling"})
		return err == nil && len(begun) == 2 // as many as may be filled: one in its place, one before it
	})
	source.put("disk", "1", random(mib))
	volume := r.start(plugin.Request{Image: "gated:disk", Volume: backends.VolumeName("v")})
	select {
	case <-source.half:
	case <-time.After(2 * time.Minute):
		t.Error("the volume waits for images that are to be kept")
	}
	close(source.gate)
	if a := <-volume; a.err != nil || a.a.Outcome != plugin.Filled {
		t.Errorf("volume: %+v", a)
	}
	waitFor(t, func() bool { return len(r.keptImages(t)) == 8 })
}
