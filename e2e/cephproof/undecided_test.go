//go:build ceph

package cephproof

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
)

// The answer to the COMMIT by which an image-volume becomes ready is lost, and the database stays away from that host for longer than
// it asks what became of it. It has happened: what the fill has made is another host's to clone, and stays.
func TestAnImageVolumeStaysWhoseCommitWasNotAnswered(t *testing.T) {
	t.Parallel()
	h := newThreeHosts(t)
	h.image(t, "undecided.raw", 1)
	broken := h.ways[0][0].BreakBehind("SET state = 'ready'", "COMMIT")
	begun := h.ask(t, 0, "undecided.raw", "begun")
	select {
	case <-broken:
	case <-time.After(outlasts):
		t.Fatal("no COMMIT makes an image-volume ready")
	}
	h.made(t, <-h.ask(t, 1, "undecided.raw", "meanwhile"), plugin.Hit)
	if r := <-begun; r.err != nil || r.Outcome != plugin.Bypassed || r.Reason != plugin.ReasonCatalogDown {
		t.Errorf("the request whose fill nobody knows the end of: %+v, %v, want it bypassed for want of the catalog", r.Answer, r.err)
	}
	h.made(t, <-h.ask(t, 1, "undecided.raw", "afterwards"), plugin.Hit)
	h.ways[0].mend()
	h.settled(t, h.hosts[0])
	h.made(t, <-h.ask(t, 0, "undecided.raw", "at-last"), plugin.Hit)
	if gets := h.web.Gets("undecided.raw"); gets != 1 {
		t.Errorf("the image was read %d times, want once", gets)
	}
}
