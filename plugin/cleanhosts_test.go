package plugin_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// A reconcile that a host has asked for still comes though another host cleans before it: cleaning mends less.
func TestCleaningOnOneHostIsNoReconcileForOthers(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	asks, cleans := c.hosts[0], c.hosts[1]
	asks.image(t, "disk.raw", 4*mib)
	asks.create(t, "library:disk.raw", "v", 0)
	c.sql(t, `UPDATE claims SET in_use = 0`)
	c.lose(t, "host-1")
	plugin.Beat(t.Context(), asks.Plugin) // a host that is lost may have left things half done
	if _, err := cleans.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	asks.wantProblem(t, plugin.CheckOptions{}, "wrong-claim", "still reserved")
	asks.Tidy(t.Context())
	checkClean(t, asks)
}

// A reconcile that a host asks for while another one is at it still comes: what is wrong by then, that one may have looked at before.
func TestAReconcileThatHadBegunIsNoneForWhoAsksMeanwhile(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	asks := c.hosts[0]
	asks.image(t, "disk.raw", 4*mib)
	asks.create(t, "library:disk.raw", "v", 0)
	slow, faulty := c.faulty(t, "host-1")
	c.join(t, "host-2")
	c.lose(t, "host-2")
	plugin.Beat(t.Context(), slow.Plugin)
	hold := faulty.Hold(backendtest.MethodListImageVolumes, faulty.Calls(backendtest.MethodListImageVolumes)+2) // behind the rows
	tidied := make(chan struct{})
	go func() {
		defer close(tidied)
		slow.Tidy(t.Context())
	}()
	<-hold.Reached()
	c.sql(t, `UPDATE entries SET held_bytes = held_bytes + 4096`)
	plugin.Beat(t.Context(), asks.Plugin)
	hold.Release()
	<-tidied
	if got, err := asks.Check(t.Context(), plugin.CheckOptions{}); err != nil || got.OK {
		t.Fatalf("check: %+v, %v, want what the other host has not seen", got, err)
	}
	asks.Tidy(t.Context())
	checkClean(t, asks)
}

// silentClaims is an internal tenant that does not list its claims while it is down, and takes its time for all else.
type silentClaims struct {
	internaltenant.Owner
	down *atomic.Bool
}

func (o silentClaims) Claim(ctx context.Context, s internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	if o.down.Load() {
		time.Sleep(time.Second)
	}
	return o.Owner.Claim(ctx, s)
}

func (o silentClaims) Claims(ctx context.Context) ([]internaltenant.Claim, error) {
	if o.down.Load() {
		return nil, internaltenant.ErrUnavailable
	}
	return o.Owner.Claims(ctx)
}

// silentWhile makes the internal tenant that is configured one that may be down.
func silentWhile(down *atomic.Bool) option {
	return func(cfg *plugin.Config) {
		owner := cfg.NewOwner
		cfg.NewOwner = func(l internaltenant.Ledger) (internaltenant.Owner, error) {
			o, err := owner(l)
			return silentClaims{o, down}, err
		}
	}
}

// Of several hosts, too, one that could not compare the claims does so once they answer: the duty was not done.
func TestClaimsThatDidNotAnswerAreComparedLater(t *testing.T) {
	var down atomic.Bool
	c := newCluster(t, 1, lru.Bounds{}, withQuota(0, 0), silentWhile(&down))
	c.join(t, "host-1")
	asks := c.hosts[0]
	asks.image(t, "disk.raw", 4*mib)
	first := asks.create(t, "library:disk.raw", "v", 0)
	asks.image(t, "other.raw", 4*mib)
	asks.create(t, "library:other.raw", "other", 0)
	c.sql(t, `UPDATE claims SET in_use = 0`)
	c.sql(t, `DELETE FROM entries WHERE id = '`+first.EntryID+`'`) // it is taken in again, which takes a while
	c.lose(t, "host-1")
	plugin.Beat(t.Context(), asks.Plugin)
	down.Store(true)
	asks.Tidy(t.Context())
	asks.wantEntries(t, 2)
	down.Store(false)
	asks.wantProblem(t, plugin.CheckOptions{}, "wrong-claim", "still reserved")
	asks.Tidy(t.Context())
	checkClean(t, asks)
}
