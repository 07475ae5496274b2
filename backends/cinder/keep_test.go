package cinder_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// keep lends debian to a hook, which keeps it. kept is what becomes of that.
func (c *cloud) keep(t *testing.T) (lent plugin.Answer, kept <-chan error, hangUp context.CancelFunc) {
	t.Helper()
	r := c.request("debian", "v1")
	r.Renews = true
	lent, err := c.CreateVolume(t.Context(), r)
	if err != nil || !lent.Keeps {
		t.Fatalf("lent: %+v, %v", lent, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- c.Lending().KeepLoan(ctx, lent.Loan) }()
	harness.Until(t, "the loan is kept", func() bool { return c.isKept(t) })
	return lent, ended, cancel
}

func (c *cloud) isKept(t *testing.T) bool {
	t.Helper()
	loans, err := c.Lending().Loans(t.Context())
	if err != nil || len(loans) != 1 {
		t.Fatalf("loans: %+v, %v", loans, err)
	}
	return loans[0].Volume == "" && time.Until(loans[0].LentUntil) <= 8*time.Second
}

// deleteWhileKept has from delete the only entry, gives back in c what is kept when that is asked for, and checks that the
// image-volume stayed until then.
func (c *cloud) deleteWhileKept(t *testing.T, from *cloud) {
	t.Helper()
	lent, kept, _ := c.keep(t)
	deleted := make(chan error, 1)
	go func() {
		_, err := from.DeleteEntry(t.Context(), lent.EntryID, plugin.ForceDetach(false))
		deleted <- err
	}()
	if err := <-kept; err != nil {
		t.Errorf("wanted back: %v", err)
	}
	if n := len(c.cinder.All()); n != 1 {
		t.Errorf("Cinder has %d volumes while one is lent, want it", n)
	}
	c.end(t, lent, backends.Made)
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	if n := len(c.cinder.All()); n != 0 {
		t.Errorf("Cinder has %d volumes after the entry's end", n)
	}
}

func TestWhatIsKeptIsAskedBackByAnEviction(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	c.deleteWhileKept(t, c)
}

func TestWhatIsKeptIsAskedBackByAnotherHost(t *testing.T) {
	all := newClouds(t, 2, filepath.Join(t.TempDir(), "catalog.db"), time.Minute)
	all[0].deleteWhileKept(t, all[1])
}

// Who has hung up keeps nothing for long, and a cache that closes waits for nobody who keeps something.
func TestWhoHangsUpKeepsNothing(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	lent, kept, hangUp := c.keep(t)
	hangUp()
	if err := <-kept; !errors.Is(err, context.Canceled) {
		t.Errorf("hung up: %v", err)
	}
	if !c.isKept(t) {
		t.Error("what is kept ends at once where somebody hangs up")
	}
	c.end(t, lent, backends.Made)
	if err := c.Lending().KeepLoan(t.Context(), lent.Loan); !errors.Is(err, catalog.ErrNoLoan) {
		t.Errorf("kept after its end: %v", err)
	}
	_, kept, _ = c.keep(t)
	c.reopen(t, func(*plugin.Config) {})
	if err := <-kept; !errors.Is(err, plugin.ErrStopping) {
		t.Errorf("kept by a cache that closes: %v", err)
	}
	if !c.isKept(t) {
		t.Error("a restart has ended what somebody may be cloning from")
	}
}

// An image that only is kept is of no use to those who look for what is idle: nobody makes a volume of it.
func TestWhatIsKeptKeepsNobodyWaiting(t *testing.T) {
	c := newCloud(t, lru.Bounds{MaxCount: 1}, nil)
	c.image(t, "fedora")
	lent, kept, _ := c.keep(t)
	given := make(chan struct{})
	go func() {
		defer close(given)
		<-kept
		c.end(t, lent, backends.Made)
	}()
	if a := c.lend(t, "fedora", "v2"); a.Outcome != plugin.Filled {
		t.Errorf("the next image: %+v", a)
	}
	<-given
}

// Whoever has begun anew keeps nothing, but the volume whose loan was kept is there: it counts among the clones of a generation that
// takes so many.
func TestWhatWasKeptStaysAClone(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, func(cfg *cinder.Config) { cfg.MaxClones = 1 })
	lent, kept, hangUp := c.keep(t)
	if n, err := c.Lending().EndLoansAt(t.Context(), "lvm", "host@lvm"); err != nil || n != 1 {
		t.Fatalf("ended %d loans, %v, want the one that was kept", n, err)
	}
	hangUp()
	<-kept
	if next := c.lend(t, "debian", "v2"); next.Generation == "" || next.Generation == lent.Generation {
		t.Errorf("lent generation %q, want another one than %s, which has its clone", next.Generation, lent.Generation)
	}
}
