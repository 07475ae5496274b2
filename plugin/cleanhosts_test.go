package plugin_test

import (
	"testing"

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
