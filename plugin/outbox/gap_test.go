package outbox_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// What the log drops while a receiver is down is counted, once, also over a stop; what arrives all the same is not.
func TestWhatTheLogDropsIsCounted(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		dir, l := t.TempDir(), newLog()
		var up atomic.Bool
		r := newReceiver(t, func(int64, int) int {
			if up.Load() {
				return http.StatusOK
			}
			return http.StatusServiceUnavailable
		})
		o, stop := start(t, dir, l, r.URL)
		placed(t, dir)
		l.add(plugin.EventHit, 1)
		until(t, "the first one is tried", func() bool { return o.View()[0].Failures > 0 })
		want := int64(6) // 2 to 7
		if stopped {
			stop()
			want = 7 // the first one has not arrived either
		}
		l.add(plugin.EventHit, 9)
		l.keep(3)
		if stopped {
			o, stop = start(t, dir, l, r.URL)
		}
		up.Store(true)
		passed(t, o, 10)
		until(t, "the gap is counted", func() bool { return o.View()[0].Lost == want })
		stop() // it has all that there is
		l.add(plugin.EventHit, 5)
		l.keep(1)
		o, stop = start(t, dir, l, r.URL)
		l.add(plugin.EventHit, 1)
		passed(t, o, 16)
		if v := o.View()[0]; v.Lost != want {
			t.Errorf("stopped %t: lost %d, want %d", stopped, v.Lost, want)
		}
		stop()
	}
}

// A sink of which few kinds of events are is not behind where the log goes on without any for it.
func TestWhatWasForNobodyIsNotLost(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	var tries atomic.Int64
	r := newReceiver(t, func(int64, int) int {
		if tries.Add(1) == 1 {
			return http.StatusServiceUnavailable // it was behind, for a moment
		}
		return http.StatusOK
	})
	o, stop := start(t, dir, l, r.URL, plugin.EventEvicted)
	placed(t, dir)
	l.add(plugin.EventEvicted, 1)
	passed(t, o, 1)
	stop()
	l.add(plugin.EventHit, 50)
	l.keep(2)
	o, stop = start(t, dir, l, r.URL, plugin.EventEvicted)
	defer stop()
	l.add(plugin.EventEvicted, 1)
	passed(t, o, 52)
	if v := o.View()[0]; v.Lost != 0 {
		t.Errorf("lost: %d, want none", v.Lost)
	}
}
