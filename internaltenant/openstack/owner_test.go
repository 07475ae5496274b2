package openstack

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/ownertest"
	"github.com/clonecache/clonecache/plugin/words"
)

func TestOwnerKeepsTheContract(t *testing.T) {
	ownertest.Run(t, func(_ context.Context, limits ownertest.Limits) (internaltenant.Owner, error) {
		f := newFake(t)
		f.page = 7
		if limits.Volumes > 0 {
			f.maxVolumes = limits.Volumes
		}
		if limits.Gigabytes > 0 {
			f.maxGiB = limits.Gigabytes
		}
		return New(f.config(t))
	})
}

const gib = 1 << 30

func spec(entry words.EntryID) internaltenant.ClaimSpec {
	return internaltenant.ClaimSpec{EntryID: entry, Attempt: 1, Backend: "local", ImageID: "glance:8e33", VirtualBytes: 2*gib - 1}
}

func claim(t *testing.T, o *Owner, s internaltenant.ClaimSpec) internaltenant.Claim {
	t.Helper()
	c, err := o.Claim(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAClaimIsACinderVolumeThatSaysWhatItIs(t *testing.T) {
	f := newFake(t)
	f.making = 2
	c := claim(t, f.owner(t), spec("e"))
	v := f.volumes[string(c.ID)]
	if v == nil || c.Volume != "volume-"+v.ID || c.Gigabytes != 2 || c.ProjectID != "p" || c.UserID != "u" {
		t.Fatalf("claim is %+v of volume %+v", c, v)
	}
	want := map[string]string{metaEntry: "e", metaAttempt: "1", metaBackend: "local", metaImage: "glance:8e33", metaState: "reserved", metaCatalog: ownCatalog}
	for key, value := range want {
		if v.Metadata[key] != value {
			t.Errorf("metadata %s is %q, want %q", key, v.Metadata[key], value)
		}
	}
	if v.Name != "image-8e33" || v.Type != "rbd1" || v.Status != "available" {
		t.Errorf("volume is %+v", v)
	}
}

func TestASettledVolumeIsReadOnlyAndReservedUntilItIsReleased(t *testing.T) {
	f := newFake(t)
	o := f.owner(t)
	c := claim(t, o, spec("e"))
	if err := o.Settle(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if err := o.Settle(t.Context(), c.ID); err != nil {
		t.Errorf("settle again: %v", err)
	}
	v := f.volumes[string(c.ID)]
	if v.Status != "attaching" || v.Metadata["readonly"] != "True" || v.Metadata[metaState] != "in-use" {
		t.Errorf("settled volume is %+v", v)
	}
	if got := f.seen("POST volumes/" + v.ID + "/action"); len(got) != 2 {
		t.Errorf("actions are %q, want each once", got)
	}
	if err := o.Release(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if len(f.volumes) != 0 || len(f.seen("POST volumes/"+v.ID+"/action os-unreserve")) != 1 {
		t.Errorf("volumes left: %d; calls %q", len(f.volumes), f.calls)
	}
}

// Two may remove one volume at once: a person, and the daemon that ends what an eviction has left. Cinder refuses the second one.
func TestAVolumeThatSomebodyElseRemovesIsReleased(t *testing.T) {
	f := newFake(t)
	o := f.owner(t)
	c := claim(t, o, spec("e"))
	f.with(func() { f.raced = true })
	if err := o.Release(t.Context(), c.ID); err != nil || len(f.volumes) != 0 {
		t.Errorf("release: %v; volumes left: %d", err, len(f.volumes))
	}
}

func TestALostAnswerIsFoundAgain(t *testing.T) {
	f := newFake(t)
	f.lose = true
	c := claim(t, f.owner(t), spec("e"))
	if len(f.volumes) != 1 || f.volumes[string(c.ID)] == nil {
		t.Errorf("claim is %+v among %d volumes, want one", c, len(f.volumes))
	}
}

func TestAVolumeThatCinderCannotMakeIsRemoved(t *testing.T) {
	f := newFake(t)
	f.failing = true
	_, err := f.owner(t).Claim(t.Context(), spec("e"))
	if !errors.Is(err, internaltenant.ErrUnavailable) || !strings.Contains(err.Error(), "volume type rbd1") {
		t.Errorf("error = %v, want ErrUnavailable that says where to look", err)
	}
	if len(f.volumes) != 0 {
		t.Errorf("%d volumes are left", len(f.volumes))
	}
}

func TestACancelledClaimLeavesNoVolume(t *testing.T) {
	f := newFake(t)
	f.making, f.waited = -1, make(chan struct{})
	o := f.owner(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := o.Claim(ctx, spec("e")); ended <- err }()
	select {
	case <-f.waited:
	case err := <-ended:
		t.Fatalf("the claim ended: %v", err)
	}
	cancel()
	f.with(func() { f.making = 0 })
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
	if len(f.volumes) != 0 {
		t.Errorf("%d volumes are left", len(f.volumes))
	}
}

func TestWhatCouldNotBeRemovedIsRemovedLater(t *testing.T) {
	f := newFake(t)
	o := f.owner(t)
	o.config.Patience = 50 * time.Millisecond
	f.making = -1 // neither made nor, therefore, removed
	if _, err := o.Claim(t.Context(), spec("e")); !errors.Is(err, internaltenant.ErrUnavailable) {
		t.Fatalf("error = %v, want ErrUnavailable", err)
	}
	if len(f.volumes) != 1 {
		t.Fatalf("%d volumes, want the one that cannot be removed yet", len(f.volumes))
	}
	o.config.Patience = 10 * time.Second
	f.with(func() { f.making = 0 })
	if claims, err := o.Claims(t.Context()); err != nil || len(claims) != 0 || len(f.volumes) != 0 {
		t.Errorf("claims are %v, %v; %d volumes are left", claims, err, len(f.volumes))
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault fault
		want  error
		says  string
	}{
		{"per volume", fault{http.StatusRequestEntityTooLarge, `{"overLimit":{"code":413,"message":"VolumeSizeExceedsLimit: Requested volume size 2G is larger than maximum allowed limit 1G.","retryAfter":"0"}}`}, internaltenant.ErrOverQuota, "larger than maximum allowed limit 1G"},
		{"policy", fault{http.StatusForbidden, `{"forbidden":{"code":403,"message":"Policy doesn't allow volume:create to be performed."}}`}, internaltenant.ErrNoTenant, "volume:create"},
		{"type", fault{http.StatusNotFound, `{"itemNotFound":{"code":404,"message":"Volume type with name rbd1 could not be found."}}`}, internaltenant.ErrNoTenant, "type with name rbd1"},
		{"down", fault{http.StatusServiceUnavailable, "<html>"}, internaltenant.ErrUnavailable, "503"},
		{"token", fault{http.StatusUnauthorized, `{"error":{"message":"The request you have made requires authentication."}}`}, internaltenant.ErrUnavailable, "does not accept"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.deny["POST volumes"] = c.fault
			_, err := f.owner(t).Claim(t.Context(), spec("e"))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	f := newFake(t)
	o := f.owner(t)
	mine := claim(t, o, spec("e"))
	stranger := &fakeVolume{ID: "11111111-1111-1111-1111-111111111111", Size: 7, Status: "available", Metadata: map[string]string{}}
	other := &fakeVolume{ID: "22222222-2222-2222-2222-222222222222", Size: 9, Status: "attaching", Metadata: map[string]string{metaEntry: "x", metaBackend: "local", metaState: "in-use", metaCatalog: otherCatalog}}
	f.volumes[stranger.ID], f.volumes[other.ID] = stranger, other
	claims, err := o.Claims(t.Context())
	if err != nil || len(claims) != 1 || claims[0] != mine {
		t.Errorf("claims are %+v, %v; want only %+v", claims, err, mine)
	}
	if err := o.Release(t.Context(), internaltenant.ClaimID(stranger.ID)); err != nil {
		t.Error(err)
	}
	if err := o.Settle(t.Context(), internaltenant.ClaimID(stranger.ID)); !errors.Is(err, internaltenant.ErrUnknownClaim) {
		t.Errorf("settle a stranger's volume: %v, want ErrUnknownClaim", err)
	}
	if len(f.volumes) != 3 || stranger.Status != "available" {
		t.Errorf("a stranger's volume was touched: %+v", stranger)
	}
	u, err := o.Usage(t.Context())
	if err != nil || u.Gigabytes.InUse != 16 || u.Gigabytes.Reserved != 2 {
		t.Errorf("usage is %+v, %v; want what Cinder counts, of which 2 GiB are reserved", u, err)
	}
}

func TestOtherBackendsAreAccountedForLocally(t *testing.T) {
	f := newFake(t)
	f.maxVolumes = 5
	config := f.config(t)
	config.OthersExist = Some
	o, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	files := internaltenant.ClaimSpec{EntryID: "f", Attempt: 1, Backend: "files", VirtualBytes: 3 * gib}
	local := claim(t, o, files)
	cinder := claim(t, o, spec("e"))
	if local.Volume != "" || cinder.Volume == "" {
		t.Errorf("claims are %+v and %+v", local, cinder)
	}
	files.EntryID = "g"
	if _, err := o.Claim(t.Context(), files); !errors.Is(err, internaltenant.ErrOverQuota) {
		t.Errorf("a second local claim: %v, want ErrOverQuota", err)
	}
	if err := errors.Join(o.Settle(t.Context(), local.ID), o.Settle(t.Context(), cinder.ID)); err != nil {
		t.Error(err)
	}
	u, err := o.Usage(t.Context())
	if err != nil || u.Volumes != (internaltenant.Amounts{Limit: 6, InUse: 2}) || u.Gigabytes != (internaltenant.Amounts{Limit: internaltenant.Unlimited, InUse: 5}) {
		t.Errorf("usage is %+v, %v", u, err)
	}
	if err := errors.Join(o.Release(t.Context(), local.ID), o.Release(t.Context(), cinder.ID)); err != nil {
		t.Error(err)
	}
	if claims, err := o.Claims(t.Context()); err != nil || len(claims) != 0 {
		t.Errorf("claims left: %+v, %v", claims, err)
	}
}

func TestDetailsAreCindersOwn(t *testing.T) {
	f := newFake(t)
	o := f.owner(t)
	claim(t, o, spec("e"))
	got, err := o.Details(t.Context())
	want := []internaltenant.ResourceUsage{
		{Name: "volumes", Limit: -1, InUse: 1}, {Name: "gigabytes", Limit: -1, InUse: 2},
		{Name: "volumes_rbd1", Limit: -1, InUse: 1}, {Name: "volumes_rbd2", Limit: 0},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("details are %+v, %v; want %+v", got, err, want)
	}
}

func TestCheck(t *testing.T) {
	f := newFake(t)
	if warnings, err := f.owner(t).Check(t.Context()); err != nil || len(warnings) != 0 {
		t.Errorf("check: %v, %q", err, warnings)
	}
	f.roles = `{"name":"admin"}`
	if warnings, err := f.owner(t).Check(t.Context()); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "admin") {
		t.Errorf("check of an admin: %v, %q", err, warnings)
	}
	config := f.config(t)
	config.Backends[1].VolumeType = "gold"
	o, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.Check(t.Context())
	if !errors.Is(err, internaltenant.ErrNoTenant) || !strings.Contains(err.Error(), `"gold" for backend second`) || !strings.Contains(err.Error(), "rbd1, rbd2") {
		t.Errorf("check of an unknown type: %v", err)
	}
	config.Backends[1].VolumeType = "rbd1"
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "share volume type rbd1") {
		t.Errorf("two backends of one type: %v", err)
	}
}
