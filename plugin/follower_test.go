package plugin_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// An event of another host, whose transaction took longer than that of one with a higher ID, is told of all the same, and each
// event once.
func TestAnEventOfAnotherHostThatIsSeenLateIsFollowed(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	insert := func(id int) {
		c.sql(t, fmt.Sprintf(`INSERT INTO events (id, at, routine, kind, backend, image_id, entry_id, volume, outcome, reason, detail, bytes, took)
			VALUES (%d, 1, 0, 'pinned', '', 'image-%d', '', '', '', '', '', 0, 0)`, id, id))
	}
	got := make(chan int64, 8)
	go func() {
		_ = c.hosts[0].FollowEvents(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventPinned}}, func(e plugin.Event) error {
			got <- e.ID
			return nil
		})
	}()
	for _, id := range []int{1_000_500, 1_000_003, 2_000_000, 1_000_004} {
		insert(id)
		select {
		case told := <-got:
			if told != int64(id) {
				t.Fatalf("told of event %d, want %d", told, id)
			}
		case <-time.After(time.Minute):
			t.Fatalf("event %d was never told of", id)
		}
	}
	select {
	case again := <-got:
		t.Errorf("event %d was told of once more", again)
	default:
	}
}
