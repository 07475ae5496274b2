package plugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// otherHost is another process on a rig's catalog and its backend.
type otherHost struct {
	*catalog.Catalog
	r      *rig
	holder catalog.Holder
}

func newOtherHost(t *testing.T, r *rig) *otherHost {
	t.Helper()
	return newOtherHostOn(t, r, catalog.Access{URL: catalog.InDir(filepath.Join(r.dir, "state"))})
}

// newOtherHostOn is newOtherHost where the catalog is elsewhere.
func newOtherHostOn(t *testing.T, r *rig, access catalog.Access) *otherHost {
	t.Helper()
	c, err := catalog.Open(t.Context(), catalog.Config{Access: access})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &otherHost{Catalog: c, r: r, holder: catalog.Holder{Instance: "another-host", Incarnation: "1"}}
}

// begin begins a fill of an image.
func (o *otherHost) begin(t *testing.T, image string, leaseFor time.Duration) catalog.Entry {
	t.Helper()
	spec, err := plugin.FillSpecOf(t.Context(), o.r.Plugin, plugin.Request{Image: image, Volume: "any"})
	if err != nil {
		t.Fatal(err)
	}
	spec.Holder, spec.LeaseFor = o.holder, leaseFor
	e, _, start, err := o.BeginFill(t.Context(), spec)
	if err != nil || start != catalog.Started {
		t.Fatalf("begin: %v, %v", start, err)
	}
	return e
}

func (o *otherHost) renew(t *testing.T, e catalog.Entry, so catalog.FillProgress) {
	t.Helper()
	if err := o.Renew(t.Context(), e.ID, e.Attempt, o.holder, time.Hour, so); err != nil {
		t.Fatal(err)
	}
}

// end makes the image-volume and names it.
func (o *otherHost) end(t *testing.T, e catalog.Entry, content []byte) {
	t.Helper()
	ctx, size := t.Context(), int64(len(content))
	id := backends.ImageVolumeID("cc-" + string(e.ID) + "-1")
	if err := o.RecordStage(ctx, e.ID, e.Attempt, id, backends.Decoded, size); err != nil {
		t.Fatal(err)
	}
	d := backends.Description{EntryID: e.ID, Attempt: e.Attempt, ImageIDs: e.ImageIDs, Content: backends.Content{VirtualBytes: size, SourceBytes: size, InspectorVersion: diskimage.InspectorVersion}, Form: backends.Decoded}
	stage, err := o.r.config.Backends[0].Backend.Stage(ctx, backends.StageSpec{ID: id, VirtualBytes: size, Description: d})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stage.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	iv, err := stage.Commit(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	_, duplicate, err := o.Publish(ctx, e.ID, e.Attempt, catalog.Published{
		Key: "sha256:of-another-host/raw", RevisionKey: e.Key, Content: backends.Content{DiskFormat: "raw", SourceBytes: size, VirtualBytes: size, InspectorVersion: diskimage.InspectorVersion}, HeldBytes: iv.HeldBytes,
	})
	if err != nil || duplicate != nil {
		t.Fatalf("publish: %v, %v", duplicate, err)
	}
}

// A fill of another process is seen by all, waited for without a place among the fills, and joined.
func TestAFillElsewhereIsFollowedAndJoined(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 10}, func(c *plugin.Config) { c.FillLimit = 1 })
	content := r.image(t, "disk.raw", 8*mib)
	r.image(t, "other.raw", mib)
	other := newOtherHost(t, r)
	e := other.begin(t, "library:disk.raw", time.Hour)
	so := catalog.FillProgress{Read: 3 * mib, Written: 2 * mib, Total: 8 * mib}
	other.renew(t, e, so)

	var mu sync.Mutex
	var seen plugin.Progress
	answers, failed := make(chan plugin.Answer, 1), make(chan error, 1)
	go func() {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:disk.raw", Volume: "v1", Progress: func(p plugin.Progress) {
			mu.Lock()
			defer mu.Unlock()
			if p.Phase == "joined" {
				seen = p
			}
		}})
		answers <- a
		failed <- err
	}()
	waitFor(t, func() bool { // its progress is this host's waiters' progress
		mu.Lock()
		defer mu.Unlock()
		return seen.ReadBytes == so.Read && seen.Written == so.Written && seen.TotalBytes == so.Total
	})

	fills, err := r.AllFills(t.Context())
	if err != nil || len(fills) != 1 {
		t.Fatalf("fills: %+v, %v, want the other host's", fills, err)
	}
	want := plugin.FillView{
		EntryID: string(e.ID), InstanceID: "another-host", Backend: "local", ImageID: "library:disk.raw", Waiters: 1,
		ReadBytes: so.Read, TotalBytes: so.Total, WrittenBytes: so.Written, StartedAt: fills[0].StartedAt,
	}
	if fills[0] != want || want.StartedAt.IsZero() {
		t.Errorf("fill: got %+v, want %+v", fills[0], want)
	}
	status, err := r.Status(t.Context())
	if err != nil || len(status.Fills) != 1 || status.Fills[0] != want {
		t.Errorf("status: %+v, %v", status.Fills, err)
	}
	if entries := r.wantEntries(t, 1); entries[0].ReadBytes != so.Read {
		t.Errorf("entry: %+v", entries[0])
	}
	if a := r.create(t, "library:other.raw", "v2", 0); a.Outcome != plugin.Filled { // the only place is free
		t.Errorf("another image meanwhile: %+v", a)
	}

	other.end(t, e, content)
	a := <-answers
	if err := <-failed; err != nil || a.Outcome != plugin.Joined || a.Reason != plugin.ReasonInFlight || a.DownloadedBytes != 0 || a.EntryID != string(e.ID) {
		t.Fatalf("got %+v, %v, want joined", a, err)
	}
	r.holds(t, a, content)
	if a := r.create(t, "library:disk.raw", "v3", 0); a.Outcome != plugin.Hit {
		t.Errorf("afterwards: %+v, want hit", a)
	}
}

// A fill whose holder renews no more is taken over by who waits, and counts from nothing.
func TestAFillElsewhereThatDiesIsTakenOver(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 10})
	content := r.image(t, "disk.raw", 8*mib)
	e := newOtherHost(t, r).begin(t, "library:disk.raw", time.Second)
	a := r.create(t, "library:disk.raw", "v1", 0)
	if a.Outcome != plugin.Filled || a.DownloadedBytes != 8*mib || a.EntryID != string(e.ID) {
		t.Fatalf("got %+v, want filled", a)
	}
	r.holds(t, a, content)
	checkClean(t, r)
}

// Fills that wait for their turn neither count as entries nor keep the first one from its room.
func TestFillsThatWaitForTheirTurnTakeNoRoom(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 2}, withSource(source), func(c *plugin.Config) { c.FillLimit = 1 })
	const images = 6
	done := make(chan plugin.Answer, images)
	for i := range images {
		id := fmt.Sprintf("disk%d", i)
		source.put(id, "1", random(mib))
		go func() { done <- r.create(t, "gated:"+id, id, 0) }()
	}
	waitFor(t, func() bool {
		entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: "filling"})
		return err == nil && len(entries) == images // the rows of all are there: other hosts leave them alone
	})
	close(source.gate)
	for range images {
		if a := <-done; a.Outcome != plugin.Filled {
			t.Errorf("got %+v, want filled", a)
		}
	}
	checkClean(t, r)
}

// An image was uploaded anew with the same bytes, and only another host has read that. A repeated request for a volume of the
// earlier upload is one still.
func TestARepeatedRequestKnowsWhatAnotherHostHasRead(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	content := c.hosts[0].image(t, "disk.raw", mib)
	first := c.hosts[1].create(t, "library:disk.raw", "v0", 0)
	path := filepath.Join(c.dir, "images", "disk.raw")
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.hosts[0].create(t, "library:disk.raw", "v1", 0)
	again := c.hosts[1].create(t, "library:disk.raw", "v0", 0)
	if again.Reason != plugin.ReasonRepeated || again.VolumeID != first.VolumeID {
		t.Errorf("repeated: %+v, want volume %s", again, first.VolumeID)
	}
	c.hosts[1].holds(t, again, content)
	checkClean(t, c.hosts[1])
}

// A host still knows an entry that another one has evicted, and the entry that came after it has lost its image-volume: both
// are met by one request, which fills.
func TestAnEvictedEntryAndALostOneAreMetByOneRequest(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	content := c.hosts[0].image(t, "disk.raw", mib)
	for i, r := range c.hosts {
		r.create(t, "library:disk.raw", fmt.Sprintf("v%d", i), 0)
	}
	evicted := c.hosts[0].wantEntries(t, 1)[0]
	if _, err := c.hosts[0].DeleteEntry(t.Context(), evicted.ID, true); err != nil {
		t.Fatal(err)
	}
	c.hosts[0].create(t, "library:disk.raw", "later", 0)
	lost := c.hosts[0].wantEntries(t, 1)[0]
	if _, err := c.hosts[0].config.Backends[0].Backend.Retire(t.Context(), backends.ImageVolumeID(lost.ImageVolume)); err != nil {
		t.Fatal(err)
	}
	a := c.hosts[1].create(t, "library:disk.raw", "v2", 0)
	if a.Outcome != plugin.Filled {
		t.Fatalf("got %+v, want filled", a)
	}
	c.hosts[1].holds(t, a, content)
	checkClean(t, c.hosts[1])
}
