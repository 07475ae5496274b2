package plugin_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

func TestImageVolumesAreMadeInTheTenantsVolumes(t *testing.T) {
	r, source, backend, owner := adoptingRig(t)
	content := random(2 * mib)
	source.put("disk", "1", content)
	for i, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		name := fmt.Sprintf("v%d", i)
		if a := r.create(t, "gated:disk", name, 4*mib); a.Outcome != want {
			t.Fatalf("volume %d: got %+v, want %s", i, a, want)
		}
		backend.wantContent(t, name, content)
	}
	e, claim := r.wantEntries(t, 1)[0], owner.wantClaims(t, 1)
	if got := backend.adoptedBy(e.ImageVolume); string(got) != claim.Volume || !claim.InUse {
		t.Errorf("image-volume is in %q, the claim is %+v, want it in the claim's volume and in use", got, claim)
	}
	checkClean(t, r)
	if _, err := r.DeleteEntry(t.Context(), e.ID, true); err != nil {
		t.Fatal(err)
	}
	owner.wantClaims(t, 1) // its clones live, so that it is held, and charged
	for i := range 2 {
		if err := r.DeleteVolume(t.Context(), "", backends.VolumeName(fmt.Sprintf("v%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner.wantClaims(t, 0)
	checkClean(t, r)
}

func TestTheTenantIsAskedBeforeTheFillWaitsForItsTurn(t *testing.T) {
	source, backend := newGatedSource(), newCapable()
	owner := newCinderlike(backend)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend), withOwner(owner),
		func(c *plugin.Config) { c.FillLimit = 1 })
	const images = 3
	done := make(chan plugin.Answer, images)
	for i := range images {
		id := fmt.Sprintf("disk%d", i)
		source.put(id, "1", random(mib))
		go func() { done <- r.create(t, "gated:"+id, id, 0) }()
	}
	waitFor(t, func() bool { claims, _ := owner.Claims(t.Context()); return len(claims) == images })
	<-source.half
	if got := source.opened.Load(); got != 1 {
		t.Errorf("%d images are read at a time, want 1", got)
	}
	close(source.gate)
	for range images {
		if a := <-done; a.Outcome != plugin.Filled {
			t.Errorf("got %+v, want filled", a)
		}
	}
	checkClean(t, r)
}

func TestWithoutVolumesToAskForAFillReservesInItsTurn(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{MaxCount: 1}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) { c.FillLimit = 1 })
	const images = 3
	done := make(chan plugin.Answer, images)
	for i := range images {
		id := fmt.Sprintf("disk%d", i)
		source.put(id, "1", random(mib))
		go func() { done <- r.create(t, "gated:"+id, id, 0) }()
	}
	waitFor(t, func() bool { return len(r.Fills()) == images })
	<-source.half
	close(source.gate)
	for range images {
		if a := <-done; a.Outcome != plugin.Filled {
			t.Errorf("got %+v, want filled, one after another", a)
		}
	}
}

func TestAClaimIsExchangedWhereTheSizeWasToldWrong(t *testing.T) {
	const gib = 1 << 30
	r, source, _, owner := adoptingRig(t)
	source.put("disk", "1", random(mib))
	source.tellVirtual("disk", 3*gib)
	if a := r.create(t, "gated:disk", "v1", 4*gib); a.Outcome != plugin.Filled {
		t.Fatalf("got %+v, want filled", a)
	}
	if c := owner.wantClaims(t, 1); c.Gigabytes != 1 || owner.made != 2 {
		t.Errorf("got %+v after %d claims, want 1 GiB at the second", c, owner.made)
	}
	checkClean(t, r)
}

func TestWhatTheTenantCannotGiveIsServedFromTheFileCache(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(*rig, *cinderlike)
		want plugin.Reason
	}{
		{"its volumes land elsewhere", func(_ *rig, o *cinderlike) { o.elsewhere = true }, plugin.ReasonMismatch},
		{"it does not answer", func(_ *rig, o *cinderlike) { o.fail(fmt.Errorf("dial: %w", internaltenant.ErrUnavailable)) }, plugin.ReasonTenantDown},
		{"it has no project", func(_ *rig, o *cinderlike) { o.fail(internaltenant.ErrNoTenant) }, plugin.ReasonNoTenant},
		{"it is over quota", func(_ *rig, o *cinderlike) { o.fail(internaltenant.ErrOverQuota) }, plugin.ReasonOverQuota},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, source, backend, owner := adoptingRig(t)
			c.harm(r, owner)
			wantCopied(t, r, source, backend, c.want)
			owner.fail(nil)
			owner.wantClaims(t, 0)
			checkClean(t, r)
		})
	}
}

func TestABackendThatTakesNoVolumesOverFallsBack(t *testing.T) {
	backend := newCapable()
	owner := newCinderlike(backend)
	r, source, _, _ := adoptingRig(t, withBackend(backend.Memory), withOwner(owner))
	wantCopied(t, r, source, backend, plugin.ReasonMismatch)
	owner.wantClaims(t, 0)
	checkClean(t, r)
}

// wantCopied makes a volume and checks that it was copied, and why; the report says so too.
func wantCopied(t *testing.T, r *rig, source *gatedSource, backend *capable, why plugin.Reason) {
	t.Helper()
	content := random(mib)
	source.put("disk", "1", content)
	if a := r.create(t, "gated:disk", "v1", 0); a.Outcome != plugin.Copied || a.Reason != why {
		t.Errorf("got %+v, want copied because of %s", a, why)
	}
	backend.wantContent(t, "v1", content)
	report, err := r.Report(t.Context(), "local", time.Time{})
	if err != nil || report.Total.Fallbacks[string(why)] != 1 {
		t.Errorf("report: got fallbacks %v, %v, want one because of %s", report.Total.Fallbacks, err, why)
	}
}

func TestATenantThatIsAwayAtTheStartIsUsedLater(t *testing.T) {
	r, source, _, owner := adoptingRig(t)
	source.put("disk", "1", random(mib))
	r.create(t, "gated:disk", "v1", 0)
	r.reopen(t, func() { owner.fail(internaltenant.ErrUnavailable) })
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("while the tenant is away: got %+v, want hit", a)
	}
	owner.fail(nil)
	source.put("other", "1", random(mib))
	if a := r.create(t, "gated:other", "v3", 0); a.Outcome != plugin.Filled {
		t.Errorf("once it is back: got %+v, want filled", a)
	}
	checkClean(t, r)
}

func TestAnEntryGoesWithTheTenantsVolume(t *testing.T) {
	for _, clones := range []int{0, 1} {
		t.Run(fmt.Sprintf("%d clones", clones), func(t *testing.T) {
			r, source, _, owner := adoptingRig(t)
			source.put("disk", "1", random(mib))
			r.create(t, "gated:disk", "v1", 0)
			if clones == 0 {
				if err := r.DeleteVolume(t.Context(), "", "v1"); err != nil {
					t.Fatal(err)
				}
			}
			if err := owner.Release(t.Context(), owner.wantClaims(t, 1).ID); err != nil { // somebody deleted it
				t.Fatal(err)
			}
			got, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true})
			if err != nil || !got.OK || got.Problems[len(got.Problems)-1].Kind != "missing-claim" {
				t.Errorf("check: got %+v, %v, want a missing claim, repaired", got, err)
			}
			owner.wantClaims(t, 0)
			if owner.made != 1 {
				t.Errorf("%d volumes were made, want none anew", owner.made-1)
			}
			checkClean(t, r)
			if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Filled {
				t.Errorf("next request: got %+v, want filled", a)
			}
			owner.wantClaims(t, 1)
			checkClean(t, r)
		})
	}
}

func TestAdoptedImageVolumesOutliveTheCatalog(t *testing.T) {
	r, source, _, owner := adoptingRig(t)
	source.put("disk", "1", random(mib))
	r.create(t, "gated:disk", "v1", 0)
	before := owner.wantClaims(t, 1)
	r.reopen(t, func() {
		if err := removeCatalog(r); err != nil {
			t.Fatal(err)
		}
	})
	if after := owner.wantClaims(t, 1); after != before {
		t.Errorf("claim: got %+v, want %+v as before", after, before)
	}
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("got %+v, want hit", a)
	}
	checkClean(t, r)
}

func TestAdoptingFillsThatDieLeaveNothing(t *testing.T) {
	for _, step := range []string{"claim", "stage", "commit"} {
		t.Run(step, func(t *testing.T) {
			source, backend := newGatedSource(), newCapable()
			close(source.gate)
			owner := newCinderlike(backend)
			stop := newHalt()
			backend.after = func(s string) {
				if s == step {
					stop.here()
				}
			}
			if step == "claim" {
				owner.after = stop.here
			}
			source.put("disk", "1", random(mib))
			dead := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend), withOwner(owner))
			ctx, die := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := dead.CreateVolume(ctx, plugin.Request{Image: "gated:disk", Volume: "v1"})
				ended <- err
			}()
			<-stop.reached
			again := restartFrom(t, dead)
			kept := 0
			if step == "commit" { // it was whole, and is published
				kept = 1
			}
			owner.wantClaims(t, kept)
			again.wantEntries(t, kept)
			checkClean(t, again)
			die()
			close(stop.goOn)
			<-ended
		})
	}
}

// stubborn is a tenant's service that releases nothing for a while.
type stubborn struct {
	*cinderlike
	away atomic.Bool
}

func (s *stubborn) Release(ctx context.Context, id internaltenant.ClaimID) error {
	if s.away.Load() {
		return internaltenant.ErrUnavailable
	}
	return s.cinderlike.Release(ctx, id)
}

func TestTheClaimOfAFillThatCouldNotBeUndoneIsReleasedLater(t *testing.T) {
	source, backend := newGatedSource(), newCapable()
	owner := &stubborn{cinderlike: newCinderlike(backend)}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend), withOwner(owner), func(c *plugin.Config) {
		c.LeaseFor = time.Millisecond // has run out whenever somebody looks
	})
	source.put("disk", "1", random(mib))
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = r.CreateVolume(ctx, plugin.Request{Image: "gated:disk", Volume: "v1"})
	}()
	<-source.half
	owner.away.Store(true)
	leave()
	<-ended
	idle := func() bool { return len(r.Fills()) == 0 }
	waitFor(t, idle)
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v2", OnMiss: plugin.Background}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, idle)
	owner.away.Store(false)
	close(source.gate)
	if a := r.create(t, "gated:disk", "v3", 0); a.Outcome != plugin.Filled {
		t.Errorf("got %+v, want filled", a)
	}
	owner.wantClaims(t, 1)
}
