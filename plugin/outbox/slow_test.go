package outbox_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/outbox"
)

func webhookOf(url string) outbox.Webhook {
	return outbox.Webhook{URL: url, Client: outbox.NewClient(), Secret: func() ([]byte, error) { return []byte(secret), nil }}
}

// A receiver that takes an event and never ends its answer has taken it, and the next one is not held up.
func TestAnAnswerThatNeverEndsIsNotWaitedFor(t *testing.T) {
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body) // else it is not noticed that the sender is gone
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-q.Context().Done()
	}))
	t.Cleanup(r.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := webhookOf(r.URL).Send(ctx, plugin.Event{ID: 1}); err != nil || ctx.Err() != nil {
		t.Errorf("got %v, %v, want it taken before its time was over", err, ctx.Err())
	}
}

// A receiver that does not answer in time is tried again, and what comes behind waits for its turn.
func TestAReceiverThatIsTooSlowIsTriedAgain(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	var order []string
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		id := q.Header.Get(outbox.EventHeader)
		mu.Lock()
		seen[id]++
		first := seen[id] == 1
		if first {
			order = append(order, id)
		}
		mu.Unlock()
		if first {
			<-q.Context().Done() // until the sender gives up
		}
	}))
	t.Cleanup(r.Close)
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	dir, l := t.TempDir(), newLog()
	o, err := outbox.New(outbox.Config{Dir: dir, Instance: "h", Source: l, Gaps: l, Log: quiet, FirstPause: time.Millisecond, AttemptTime: 200 * time.Millisecond,
		LongestPause: 5 * time.Millisecond, Sinks: []outbox.Sink{{Name: "w", Sender: webhookOf(r.URL)}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { o.Run(ctx) })
	defer running.Wait()
	defer cancel()
	placed(t, dir)
	l.add(plugin.EventHit, 2)
	passed(t, o, 2)
	mu.Lock()
	defer mu.Unlock()
	if v := o.View()[0]; v.Failures < 2 || v.Sent != 2 || v.DeadCount != 0 || !slices.Equal(order, []string{"h/1", "h/2"}) {
		t.Errorf("got %+v, in the order %v", v, order)
	}
}
