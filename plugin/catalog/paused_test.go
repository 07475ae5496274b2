package catalog

import (
	"testing"
	"time"
)

func TestAStoreIsOutOfUseUntilItIsResumed(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	since := at.now()
	is(t, "pause", c.Pause(ctx, "local"), nil)
	at.add(time.Minute)
	is(t, "pause again", c.Pause(ctx, "local"), nil)
	got, err := c.Paused(ctx)
	if err != nil || len(got) != 1 || !got["local"].Equal(since) {
		t.Errorf("paused: %v, %v, want local since %s", got, err, since)
	}
	is(t, "resume", c.Resume(ctx, "local"), nil)
	is(t, "resume again", c.Resume(ctx, "local"), nil)
	if got, err := c.Paused(ctx); err != nil || len(got) != 0 {
		t.Errorf("resumed: %v, %v", got, err)
	}
}
