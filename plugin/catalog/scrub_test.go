package catalog

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

func TestWhatIsInQuarantineIsFoundByNobody(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := mustReady(t, c, spec(revision), 100)
	filled := at.now()
	at.add(time.Hour)
	due, err := c.DueForScrub(ctx, "local", filled.Add(time.Minute), 10)
	if err != nil || len(due) != 1 || due[0].ID != e.ID {
		t.Fatalf("due: %+v, %v", due, err)
	}
	is(t, "verify", c.SetVerified(ctx, e, "another sum"), nil)
	got, err := c.Get(ctx, e.ID)
	if err != nil || !got.VerifiedAt.Equal(at.now()) || got.ContentSum != "sum" || !got.Serves() {
		t.Errorf("verified: %+v, %v, want its own sum kept", got, err)
	}
	if due, err = c.DueForScrub(ctx, "local", at.now(), 10); err != nil || len(due) != 0 {
		t.Errorf("due after it was read: %+v, %v", due, err)
	}

	bad, err := c.Quarantine(ctx, e.ID, e.ImageVolume, "it differs")
	if err != nil || bad.Serves() || bad.Quarantine != "it differs" || !bad.QuarantinedAt.Equal(at.now()) {
		t.Fatalf("quarantine: %+v, %v", bad, err)
	}
	_, err = c.Quarantine(ctx, e.ID, e.ImageVolume, "again")
	is(t, "quarantine again", err, ErrLost)
	is(t, "verify what is in quarantine", c.SetVerified(ctx, e, ""), ErrLost)
	_, err = c.Find(ctx, "local", "project:p1", revision)
	is(t, "find", err, ErrNotFound)
	if why, _, err := c.WhyAbsent(ctx, "local", "project:p1", "library:debian.qcow2"); err != nil || why != words.MissQuarantined {
		t.Errorf("why it is absent: %s, %v", why, err)
	}
	sum, err := c.ReadBack(ctx, at.now())
	if err != nil || sum["local"].Quarantined != 1 || sum["local"].Due != 0 || !sum["local"].Oldest.IsZero() {
		t.Errorf("sums: %+v, %v", sum, err)
	}
	if all, err := c.Quarantined(ctx); err != nil || len(all) != 1 || len(all[0].ImageIDs) != 1 {
		t.Errorf("in quarantine: %+v, %v", all, err)
	}

	released, err := c.Release(ctx, e.ID)
	if err != nil || !released.Serves() {
		t.Errorf("release: %+v, %v", released, err)
	}
	_, err = c.Release(ctx, e.ID)
	is(t, "release again", err, ErrLost)
	if found, err := c.Find(ctx, "local", "project:p1", revision); err != nil || found.ID != e.ID {
		t.Errorf("found again: %+v, %v", found, err)
	}
}

// What is known to be damaged is adopted so: at no time does anybody find it.
func TestWhatIsDamagedIsAdoptedInQuarantine(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := Entry{ID: "0199-damaged", Store: "local", Key: "k", ImageVolume: "0199-damaged-1", ImageIDs: []string{"s:a"}, Quarantine: "it differs"}
	is(t, "adopt", c.Adopt(ctx, e, revision), nil)
	for _, key := range []words.Key{e.Key, revision} {
		_, err := c.Find(ctx, "local", "", key)
		is(t, "find", err, ErrNotFound)
	}
	all, err := c.Quarantined(ctx)
	if err != nil || len(all) != 1 || all[0].Serves() || all[0].Quarantine != e.Quarantine || !all[0].QuarantinedAt.Equal(at.now()) {
		t.Errorf("in quarantine: %+v, %v", all, err)
	}
	other := e
	other.ID, other.ImageVolume, other.Quarantine = "0199-whole", "0199-whole-1", ""
	is(t, "adopt another of the same content", c.Adopt(ctx, other, revision), nil)
	if found, err := c.Find(ctx, "local", "", revision); err != nil || found.ID != other.ID {
		t.Errorf("found: %+v, %v, want the whole one", found, err)
	}
}

// What is in quarantine is filled anew, is not released beside the one that came after it, and goes as any other.
func TestAfterAQuarantineComesAnotherEntry(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	e := mustReady(t, c, spec(revision), 100)
	if _, err := c.Quarantine(ctx, e.ID, e.ImageVolume, "it differs"); err != nil {
		t.Fatal(err)
	}
	next := mustReady(t, c, spec(revision), 100)
	if next.ID == e.ID {
		t.Error("what is in quarantine was filled again")
	}
	_, err := c.Release(ctx, e.ID)
	is(t, "release beside another one", err, ErrLost)
	if _, err := c.BeginEvict(ctx, e.ID, CauseAdmin); err != nil {
		t.Errorf("evict: %v", err)
	}
	is(t, "remove", c.Remove(ctx, e.ID), nil)
	if all, err := c.Quarantined(ctx); err != nil || len(all) != 0 {
		t.Errorf("in quarantine: %+v, %v", all, err)
	}
}
