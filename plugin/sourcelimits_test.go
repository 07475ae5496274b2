package plugin_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Fills of a source that has few places keep none from another one's.
func TestASourcesPlacesAreItsOwn(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(source), func(c *plugin.Config) {
		c.FillLimit = 2
		c.SourceLimits = map[string]plugin.SourceLimit{"gated": {Fills: 1}}
	})
	var answers []<-chan plugin.Answer
	for i := range 3 {
		source.put(fmt.Sprint("disk-", i), "1", random(mib))
		answers = append(answers, r.startCreate(t, fmt.Sprint("gated:disk-", i), fmt.Sprint("v", i)))
	}
	<-source.half
	waitFor(t, func() bool { return len(r.Fills()) == 3 })
	r.image(t, "disk.raw", mib)
	if a := r.create(t, "library:disk.raw", "other", 0); a.Outcome != plugin.Filled {
		t.Errorf("another source's: %+v, want it filled", a)
	}
	if n := source.opened.Load(); n != 1 {
		t.Errorf("%d downloads at once, want one", n)
	}
	close(source.gate)
	for _, answered := range answers {
		if a := <-answered; a.Outcome != plugin.Filled {
			t.Errorf("%+v, want it filled", a)
		}
	}
	checkClean(t, r)
}

// In the queue either: what waits for a place of its source keeps no worker from another source's image.
func TestTheQueueGoesOnWhereASourceHasNoPlace(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source), func(c *plugin.Config) {
		c.FillLimit = 2
		c.SourceLimits = map[string]plugin.SourceLimit{"gated": {Fills: 1}}
	})
	var images []string
	for i := range 3 {
		source.put(fmt.Sprint("disk-", i), "1", random(mib))
		images = append(images, fmt.Sprint("gated:disk-", i))
	}
	r.image(t, "disk.raw", mib)
	r.prefetch(t, plugin.Prefetch{Images: append(images, "library:disk.raw")})
	<-source.half
	waitFor(t, func() bool {
		for _, v := range r.queued(t) {
			if v.ImageID == "library:disk.raw" {
				return v.State == "done"
			}
		}
		return false
	})
	close(source.gate)
	r.waitForState(t, "done", 4)
	checkClean(t, r)
}

// A reload may lift a source's bound, or set one, while images of it are in the queue: these go on either way.
func TestTheQueueGoesOnWhereASourcesBoundComesAndGoes(t *testing.T) {
	source := newGatedSource()
	var sources []imagesource.Source
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source), func(c *plugin.Config) {
		sources = c.Sources
		c.SourceLimits = map[string]plugin.SourceLimit{"gated": {Fills: 1}}
	})
	bound := func(limits map[string]plugin.SourceLimit) {
		t.Helper()
		if err := r.Controls().SetLimits(plugin.Limits{Sources: sources, SourceLimits: limits}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		source.put(fmt.Sprint("disk-", i), "1", random(mib))
	}
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk-0"}})
	<-source.half
	bound(nil) // under a worker
	close(source.gate)
	r.waitForState(t, "done", 1)
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk-1"}})
	r.waitForState(t, "done", 2)
	bound(map[string]plugin.SourceLimit{"gated": {Fills: 1}})
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk-2"}})
	r.waitForState(t, "done", 3)
	checkClean(t, r)
}

func TestFillsKeepToASourcesBandwidth(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(source), func(c *plugin.Config) {
		c.SourceLimits = map[string]plugin.SourceLimit{"gated": {BytesPerSecond: 4 * mib}}
	})
	content := random(2 * mib)
	source.put("disk", "1", content)
	begun := time.Now()
	a := r.create(t, "gated:disk", "v1", 0)
	if took := time.Since(begun); a.Outcome != plugin.Filled || took < 450*time.Millisecond {
		t.Errorf("%+v after %s, want it filled in half a second or more", a, took)
	}
	r.holds(t, a, content)
	r.config.SourceLimits["gated"] = plugin.SourceLimit{BytesPerSecond: -1}
	r.config.StateDir = t.TempDir()
	if _, err := plugin.Open(t.Context(), r.config); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("a negative rate: %v, want ErrBadRequest", err)
	}
}
