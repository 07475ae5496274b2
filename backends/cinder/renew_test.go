package cinder_test

import (
	"errors"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// cloneTime is the plugin's default.
const cloneTime = 10 * time.Minute

// lasts is how long a loan lasts from now on, to the minute.
func (c *cloud) lasts(t *testing.T, id plugin.LoanID) time.Duration {
	t.Helper()
	all, err := c.Lending().Loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.ID == id {
			return time.Until(l.LentUntil).Round(time.Minute)
		}
	}
	t.Fatalf("loan %s does not live; there are %+v", id, all)
	return 0
}

// A loan that is renewed need not last until its request's deadline, so that one whose requester has died ends the sooner.
func TestALoanLastsByItsRenewals(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	once := c.lend(t, "debian", "v1")
	if got, want := c.lasts(t, once.Loan), 10*time.Minute+cloneTime; got != want || once.RenewSeconds != 0 {
		t.Errorf("a loan that is not renewed: lasts %v, to be renewed after %g s, want %v and never", got, once.RenewSeconds, want)
	}
	renews, err := c.CreateVolume(t.Context(), plugin.Request{
		Backend: "lvm", Image: "library:debian.raw", Volume: "v2", SizeBytes: 1 << 30, Lend: true, Renews: true, Deadline: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.lasts(t, renews.Loan); got != cloneTime || renews.RenewSeconds != cloneTime.Seconds()/3 {
		t.Errorf("one that is renewed: lasts %v, to be renewed after %g s, want %v and a third", got, renews.RenewSeconds, cloneTime)
	}
	if err := c.Lending().RenewLoan(t.Context(), once.Loan); err != nil {
		t.Error(err)
	}
	if got := c.lasts(t, once.Loan); got != cloneTime {
		t.Errorf("once renewed: lasts %v, want %v", got, cloneTime)
	}
	c.end(t, renews, backends.Made)
	if err := c.Lending().RenewLoan(t.Context(), renews.Loan); !errors.Is(err, catalog.ErrNoLoan) {
		t.Errorf("renewed after its end: %v, want %v", err, catalog.ErrNoLoan)
	}
}

// Who was lent something renews as it was told then: a clone_time that was shortened since, over a restart, does not end its
// loan between two renewals.
func TestALoanOutlivesAShorterCloneTime(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	l, err := c.CreateVolume(t.Context(), plugin.Request{Backend: "lvm", Image: "library:debian.raw", Volume: "v1", SizeBytes: 1 << 30, Lend: true, Renews: true})
	if err != nil {
		t.Fatal(err)
	}
	c.reopen(t, func(p *plugin.Config) { p.Backends[0].CloneTime = time.Minute })
	if got := c.lasts(t, l.Loan); got != cloneTime {
		t.Errorf("after the restart: lasts %v, want %v", got, cloneTime)
	}
	if err := c.Lending().RenewLoan(t.Context(), l.Loan); err != nil {
		t.Fatal(err)
	}
	if got := c.lasts(t, l.Loan); got != cloneTime {
		t.Errorf("renewed: lasts %v, want the %v that were promised", got, cloneTime)
	}
	next, err := c.CreateVolume(t.Context(), plugin.Request{Backend: "lvm", Image: "library:debian.raw", Volume: "v2", SizeBytes: 1 << 30, Lend: true, Renews: true})
	if err != nil || c.lasts(t, next.Loan) != time.Minute {
		t.Errorf("the next loan: %+v, %v, want it to last a minute", next, err)
	}
}
