package plugin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin"
)

// A claim that no entry names is released only where it is surely ours, and for nothing.
func TestWhoseClaimIsReleased(t *testing.T) {
	for _, c := range []struct {
		name     string
		claim    internaltenant.Claim
		released bool
		says     string // in the check's report
	}{
		{"ours", internaltenant.Claim{Backend: "local"}, true, ""},
		{"of a former name", internaltenant.Claim{Backend: "former"}, true, ""},
		{"of an older version", internaltenant.Claim{Backend: "local", Unsure: true}, false, ""},
		{"of a backend that is not configured", internaltenant.Claim{Backend: "elsewhere"}, false, "backend elsewhere, for which it was made, is not configured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, _, owner := adoptingRig(t, func(c *plugin.Config) { c.Backends[0].Name = "former" })
			r.reopen(t, func() { r.config.Backends[0].Name = "local" })
			c.claim.ID, c.claim.EntryID, c.claim.Volume, c.claim.Gigabytes = "stray", "nobody", "volume-stray", 1
			owner.mu.Lock()
			owner.claims[c.claim.ID] = c.claim
			owner.mu.Unlock()
			check, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true})
			if err != nil {
				t.Fatal(err)
			}
			left, _ := owner.Claims(t.Context())
			if released := len(left) == 0; released != c.released {
				t.Errorf("claims left: %+v; want it released: %v", left, c.released)
			}
			var said []string
			for _, p := range check.Problems {
				said = append(said, p.Detail, p.Remedy)
			}
			if c.says == "" && !c.released && len(check.Problems) != 0 || !strings.Contains(strings.Join(said, "\n"), c.says) {
				t.Errorf("check: %+v, want it to say %q", check, c.says)
			}
		})
	}
}

// finding is a tenant's service that several installations share: claims of others are not listed.
type finding struct {
	*cinderlike
	others map[internaltenant.ClaimID]bool
}

func (o *finding) Claims(ctx context.Context) ([]internaltenant.Claim, error) {
	all, err := o.cinderlike.Claims(ctx)
	var ours []internaltenant.Claim
	for _, c := range all {
		if !o.others[c.ID] {
			ours = append(ours, c)
		}
	}
	return ours, err
}

func (o *finding) Find(ctx context.Context, s internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	all, err := o.cinderlike.Claims(ctx)
	for _, c := range all {
		if c.EntryID == s.EntryID && c.Attempt == s.Attempt {
			delete(o.others, c.ID)
			return c, err
		}
	}
	return internaltenant.Claim{}, internaltenant.ErrUnknownClaim
}

// The volumes of a store that is ours are ours too, whoever claimed them: nothing is dropped.
func TestClaimsOfAStoreThatWasTakenOverAreFound(t *testing.T) {
	backend := newCapable()
	owner := &finding{cinderlike: newCinderlike(backend), others: map[internaltenant.ClaimID]bool{}}
	r, source, _, _ := adoptingRig(t, withBackend(backend), withOwner(owner))
	source.put("disk", "1", random(mib))
	r.create(t, "gated:disk", "v1", 0)
	before := r.wantEntries(t, 1)[0]
	owner.others[owner.wantClaims(t, 1).ID] = true
	r.reopen(t, func() {})
	if after := r.wantEntries(t, 1)[0]; after.ID != before.ID {
		t.Errorf("entry is %+v, was %+v", after, before)
	}
	if len(owner.others) != 0 {
		t.Errorf("claims still another's: %v", owner.others)
	}
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("got %+v, want a hit", a)
	}
	checkClean(t, r)
}
