package openstack

import (
	"errors"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
)

// Two installations' catalogs.
const (
	ownCatalog   = "0d5c7a52-6a4f-4d0e-9a53-0c1b7f0f5a01"
	otherCatalog = "c3f0b9f4-92a1-4a52-8f5e-7c2d9f5e6b02"
)

// ownerOf is the tenant of a catalog, with one backend.
func (f *fakeCinder) ownerOf(t *testing.T, catalog, backend string) *Owner {
	t.Helper()
	config := f.config(t)
	config.Catalog, config.Backends = catalog, []Backend{{Name: backend, VolumeType: "rbd1"}}
	o, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func wantOnly(t *testing.T, o *Owner, want ...internaltenant.ClaimID) []internaltenant.Claim {
	t.Helper()
	claims, err := o.Claims(t.Context())
	if err != nil || len(claims) != len(want) {
		t.Fatalf("claims: %+v, %v; want %v", claims, err, want)
	}
	for i, c := range claims {
		if c.ID != want[i] {
			t.Errorf("claim %+v, want %s", c, want[i])
		}
	}
	return claims
}

func TestClaimsStayWhenTheirBackendGetsAnotherName(t *testing.T) {
	f := newFake(t)
	c := claim(t, f.ownerOf(t, ownCatalog, "local"), spec("e"))
	renamed := f.ownerOf(t, ownCatalog, "renamed")
	if got := wantOnly(t, renamed, c.ID)[0]; got != c || got.Backend != "local" || got.Unsure {
		t.Errorf("claim is %+v, want %+v", got, c)
	}
	again := spec("e")
	again.Backend = "renamed"
	if got := claim(t, renamed, again); got.ID != c.ID {
		t.Errorf("the claim asked for again is %s, want %s", got.ID, c.ID)
	}
	if found, err := renamed.Find(t.Context(), again); err != nil || found.ID != c.ID {
		t.Errorf("found %+v, %v, want %s", found, err, c.ID)
	}
	if err := errors.Join(renamed.Settle(t.Context(), c.ID), renamed.Release(t.Context(), c.ID)); err != nil || len(f.volumes) != 0 {
		t.Errorf("settle, release: %v; %d volumes left", err, len(f.volumes))
	}
}

func TestInstallationsWithEquallyNamedBackendsKeepApart(t *testing.T) {
	f := newFake(t)
	ours, theirs := f.ownerOf(t, ownCatalog, "local"), f.ownerOf(t, otherCatalog, "local")
	a, b := claim(t, ours, spec("e")), claim(t, theirs, spec("e"))
	if a.ID == b.ID {
		t.Fatal("two installations have one claim")
	}
	wantOnly(t, ours, a.ID)
	wantOnly(t, theirs, b.ID)
	if err := ours.Settle(t.Context(), b.ID); !errors.Is(err, internaltenant.ErrUnknownClaim) {
		t.Errorf("settle the other's: %v, want ErrUnknownClaim", err)
	}
	if err := ours.Release(t.Context(), b.ID); err != nil || f.volumes[string(b.ID)] == nil {
		t.Errorf("release the other's: %v; it must stay", err)
	}
	if u, err := ours.Usage(t.Context()); err != nil || u.Volumes.Reserved != 1 {
		t.Errorf("usage %+v, %v, want one that we are filling", u, err)
	}
}

// Who has taken a store over finds the claims of what lies on it, and they are its own from then on.
func TestAClaimIsFoundForAnImageVolumeOfAStoreThatWasTakenOver(t *testing.T) {
	f := newFake(t)
	before := f.ownerOf(t, otherCatalog, "theirs")
	s := spec("e")
	s.Backend = "theirs"
	c := claim(t, before, s)
	ours := f.ownerOf(t, ownCatalog, "local")
	wantOnly(t, ours)
	if found, err := ours.Find(t.Context(), spec("e")); err != nil || found.ID != c.ID {
		t.Fatalf("found %+v, %v, want %s", found, err, c.ID)
	}
	wantOnly(t, ours, c.ID)
	wantOnly(t, before)
	if _, err := ours.Find(t.Context(), spec("none")); !errors.Is(err, internaltenant.ErrUnknownClaim) {
		t.Errorf("what nobody claimed: %v, want ErrUnknownClaim", err)
	}
}

func TestClaimsOfOlderVersionsAreUnsureUntilTheyAreFound(t *testing.T) {
	f := newFake(t)
	o := f.ownerOf(t, ownCatalog, "local")
	c := claim(t, o, spec("e"))
	f.with(func() { delete(f.volumes[string(c.ID)].Metadata, metaCatalog) })
	if got := wantOnly(t, o, c.ID)[0]; !got.Unsure {
		t.Errorf("claim %+v, want it unsure", got)
	}
	if _, err := o.Find(t.Context(), spec("e")); err != nil {
		t.Fatal(err)
	}
	if got := wantOnly(t, o, c.ID)[0]; got.Unsure {
		t.Errorf("claim %+v, want it sure once it was found", got)
	}
}

func TestNothingIsClaimedForNobody(t *testing.T) {
	f := newFake(t)
	if c, err := f.ownerOf(t, "", "local").Claim(t.Context(), spec("e")); err == nil || len(f.volumes) != 0 {
		t.Errorf("claim %+v, %v, want a refusal", c, err)
	}
}
