package plugin_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// What a fill that died had made, and what a client that its cluster has not missed yet keeps from being freed, is charged and counted
// until it is freed, and no longer; the image is cached beside it at once.
func TestWhatCannotBeFreedYetIsCountedUntilItIs(t *testing.T) {
	c, memory := newRemains(t, 1)
	r := c.hosts[0]
	content := r.image(t, "disk.raw", 4*mib)
	id, end := diesInAFill(t, c, memory, "library:disk.raw", true)
	c.expire(t)
	a := r.create(t, "library:disk.raw", "v1", 0)
	if a.Outcome != plugin.Filled {
		t.Errorf("got %+v, want filled", a)
	}
	(&capable{Memory: memory}).wantContent(t, "v1", content)
	wantCounted(t, r, id, 2)
	checkClean(t, r)
	freed(t, r, end, 1)
}

// So is what nobody asks for again, which the next reconcile finds, and what no row names at all.
func TestWhatAReconcileCannotFreeYetIsCountedUntilItIs(t *testing.T) {
	for _, claimed := range []bool{true, false} {
		c, memory := newRemains(t, 1)
		r := c.hosts[0]
		r.image(t, "disk.raw", 4*mib)
		id, end := diesInAFill(t, c, memory, "library:disk.raw", claimed)
		if !claimed {
			c.sql(t, `DELETE FROM entries`)
			if _, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true}); err != nil {
				t.Fatal(err)
			}
			r.Tidy(t.Context()) // what serves is charged first
		} else {
			c.expire(t)
			r.Tidy(t.Context())
		}
		wantCounted(t, r, id, 1)
		checkClean(t, r)
		freed(t, r, end, 0)
	}
}

// Who deletes what somebody has open is told so, and not of clones that there are none of.
func TestWhatIsDetachedSaysWhy(t *testing.T) {
	c, memory := newRemains(t, 1)
	r := c.hosts[0]
	r.image(t, "disk.raw", 4*mib)
	for _, open := range []bool{false, true} {
		name := map[bool]string{false: "cloned", true: "open"}[open]
		r.create(t, "library:disk.raw", name, 0)
		ready, err := r.Entries(t.Context(), plugin.EntryFilter{State: string(catalog.Ready)})
		if err != nil || len(ready) != 1 {
			t.Fatalf("%s: got %+v, %v, want one ready", name, ready, err)
		}
		e := ready[0]
		if open {
			if err := r.DeleteVolume(t.Context(), "local", backends.VolumeName(name)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(memory.Watch(backends.ImageVolumeID(e.ImageVolume)))
		}
		got, err := r.DeleteEntry(t.Context(), e.ID, true)
		if err != nil || got.Detached != 1 || open != (got.DetachedOpen == 1) {
			t.Errorf("%s: got %+v, %v, want it detached, open %v", name, got, err, open)
		}
		_, err = r.DeleteEntry(t.Context(), e.ID, true)
		if says := map[bool]string{false: "clones depend on it", true: "a client has it open"}[open]; !errors.Is(err, plugin.ErrBusy) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: again: %v, want busy, as %s", name, err, says)
		}
	}
}

// newRemains are hosts on one memory.
func newRemains(t *testing.T, hosts int) (*cluster, *backendtest.Memory) {
	t.Helper()
	memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
	return newCluster(t, hosts, lru.Bounds{}, withBackend(memory), withQuota(10, 100)), memory
}

// freed ends what kept an image-volume from being freed: it goes, and the quota is charged for so many others. Nothing was evicted.
func freed(t *testing.T, r *rig, end func(), charged int64) {
	t.Helper()
	end()
	if _, err := r.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounted(t, r, "", charged)
	checkClean(t, r)
	if rep, err := r.Report(t.Context(), "", time.Time{}); err != nil || rep.Total.Evictions != 0 {
		t.Errorf("report: %v evictions, %v, want none: what goes never served", rep.Total.EvictionsBy, err)
	}
}

// diesInAFill is another host that dies while it fills: its row is there, its image-volume and, if it is claimed, its claim, and its
// cluster has its client for one that lives until end.
func diesInAFill(t *testing.T, c *cluster, memory *backendtest.Memory, image string, claimed bool) (id backends.ImageVolumeID, end func()) {
	t.Helper()
	ctx := t.Context()
	other := newOtherHostOn(t, c.hosts[0], c.Access)
	e := other.begin(t, image, time.Hour)
	id = backends.ImageVolumeID("cc-" + string(e.ID) + "-1")
	if claimed {
		owner, err := internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "p", UserID: "u"}, other.Ledger())
		if err != nil {
			t.Fatal(err)
		}
		claim, err := owner.Claim(ctx, internaltenant.ClaimSpec{EntryID: e.ID, Attempt: e.Attempt, VirtualBytes: 4 * mib})
		if err == nil {
			err = other.RecordClaim(ctx, e.ID, e.Attempt, claim.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := other.RecordStage(ctx, e.ID, e.Attempt, id, backends.Decoded, 4*mib); err != nil {
		t.Fatal(err)
	}
	d := backends.Description{EntryID: e.ID, Attempt: e.Attempt}
	if _, err := memory.Stage(ctx, backends.StageSpec{ID: id, VirtualBytes: 4 * mib, Description: d}); err != nil {
		t.Fatal(err)
	}
	return id, memory.Watch(id)
}

// wantCounted checks that the quota is charged for so many image-volumes, and which of them is detached; "" is none.
func wantCounted(t *testing.T, r *rig, detached backends.ImageVolumeID, charged int64) {
	t.Helper()
	if q, err := r.Quota(t.Context()); err != nil || q.Volumes.InUse+q.Volumes.Reserved != charged || q.Volumes.Actual != charged {
		t.Errorf("quota: got %+v, %v, want %d volumes charged and there", q.Volumes, err, charged)
	}
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: string(catalog.Detached)})
	if err != nil {
		t.Fatal(err)
	}
	if detached == "" && len(entries) > 0 || detached != "" && (len(entries) != 1 || entries[0].ImageVolume != string(detached)) {
		t.Errorf("detached: got %+v, want %q", entries, detached)
	}
}

// A process that dies when the detached entry is made, and its fill's row is not ended yet, leaves two rows with one claim. It stays
// charged, once, whatever is compared meanwhile.
func TestAClaimThatAFillAndItsRemainsNameIsChargedOnce(t *testing.T) {
	c, memory := newRemains(t, 1)
	r := c.hosts[0]
	r.image(t, "disk.raw", 4*mib)
	id, end := diesInAFill(t, c, memory, "library:disk.raw", true)
	if err := plugin.DetachOnly(t.Context(), r.Plugin, "local", id); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true}); err != nil {
			t.Fatal(err)
		}
		wantCounted(t, r, id, 1)
		checkClean(t, r)
	}
	c.expire(t)
	r.Tidy(t.Context())
	wantCounted(t, r, id, 1)
	checkClean(t, r)
	freed(t, r, end, 0)
}

// Whoever undoes a later attempt of the same row leaves the claim to what cannot be freed of an earlier one.
func TestALaterAttemptLeavesTheClaimOfWhatIsLeftOfAnEarlierOne(t *testing.T) {
	for _, asked := range []bool{true, false} {
		c, memory := newRemains(t, 1)
		r := c.hosts[0]
		r.image(t, "disk.raw", 4*mib)
		id, end := diesInAFill(t, c, memory, "library:disk.raw", true)
		if err := plugin.DetachOnly(t.Context(), r.Plugin, "local", id); err != nil {
			t.Fatal(err)
		}
		c.expire(t)
		if e := newOtherHostOn(t, r, c.Access).begin(t, "library:disk.raw", time.Hour); e.Attempt != 2 {
			t.Fatalf("attempt %d, want the second of that row", e.Attempt)
		}
		c.expire(t)
		charged := int64(1)
		if asked {
			r.create(t, "library:disk.raw", "v1", 0)
			charged++
		} else {
			r.Tidy(t.Context())
		}
		wantCounted(t, r, id, charged)
		checkClean(t, r)
		freed(t, r, end, charged-1)
	}
}

// Whoever takes what cannot be freed into the catalog at the same time, it is one entry.
func TestSeveralThatFindWhatCannotBeFreedMakeOneEntry(t *testing.T) {
	c, memory := newRemains(t, 2)
	r := c.hosts[0]
	r.image(t, "disk.raw", 4*mib)
	for range 2 {
		id, end := diesInAFill(t, c, memory, "library:disk.raw", true)
		failed := make(chan error)
		for n := range 6 {
			go func() { failed <- plugin.DetachOnly(t.Context(), c.hosts[n%2].Plugin, "local", id) }()
		}
		for range 6 {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		c.expire(t)
		r.Tidy(t.Context())
		wantCounted(t, r, id, 1)
		checkClean(t, r)
		freed(t, r, end, 0)
	}
}
