package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/outbox"
)

// log is a log of events that tests write.
type log struct {
	mu            sync.Mutex
	events        []plugin.Event
	last, dropped int64
	more          chan struct{}
}

func newLog() *log { return &log{more: make(chan struct{})} }

// add writes events of kind k.
func (l *log) add(k plugin.EventKind, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.last++
		l.events = append(l.events, plugin.Event{ID: l.last, Kind: k, Host: "h", At: time.Now()})
	}
	close(l.more)
	l.more = make(chan struct{})
}

// keep drops all but the newest events.
func (l *log) keep(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = slices.Clone(l.events[len(l.events)-n:])
	l.dropped = l.events[0].ID - 1
}

func (l *log) DroppedEvents(_ context.Context, after int64, _ []plugin.EventKind) (dropped, last int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped <= after {
		return 0, after, nil
	}
	return l.dropped - after, l.dropped, nil
}

// of are the events that a filter lets through; l.mu is held.
func (l *log) of(f plugin.EventFilter) []plugin.Event {
	var all []plugin.Event
	for _, e := range l.events {
		if e.ID > f.After && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind)) {
			all = append(all, e)
		}
	}
	return all
}

func (l *log) Events(_ context.Context, f plugin.EventFilter) ([]plugin.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.of(f)
	switch {
	case f.Limit == 0 || len(all) <= f.Limit:
		return all, nil
	case f.Newest:
		return all[len(all)-f.Limit:], nil
	}
	return all[:f.Limit], nil
}

func (l *log) FollowEvents(ctx context.Context, f plugin.EventFilter, take func(plugin.Event) error) error {
	for {
		l.mu.Lock()
		events, more := l.of(f), l.more
		l.mu.Unlock()
		for _, e := range events {
			f.After = e.ID
			if err := take(e); err != nil {
				return err
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const secret = "a secret of the two"

// receiver is whom webhooks are for.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(id int64, attempt int) int
	tries  map[int64]int
	got    []int64
	bad    []string
}

func newReceiver(t *testing.T, answer func(id int64, attempt int) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer, tries: map[int64]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	var e plugin.Event
	if err = errors.Join(err, json.Unmarshal(body, &e)); err != nil {
		return // the sender gave up
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := q.Header.Get(outbox.SignatureHeader); got != outbox.Sign([]byte(secret), q.Header.Get(outbox.TimestampHeader), body) || len(got) != len("sha256=")+64 {
		r.bad = append(r.bad, got)
	}
	if want := fmt.Sprintf("h/%d", e.ID); q.Header.Get(outbox.EventHeader) != want {
		r.bad = append(r.bad, q.Header.Get(outbox.EventHeader))
	}
	r.tries[e.ID]++
	status := r.answer(e.ID, r.tries[e.ID])
	if status < 300 {
		r.got = append(r.got, e.ID)
	}
	w.WriteHeader(status)
}

func (r *receiver) has() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bad) > 0 {
		return []int64{-1}
	}
	return slices.Clone(r.got)
}

// start sends what the log has to the receiver, until stop.
func start(t *testing.T, dir string, l *log, url string, kinds ...plugin.EventKind) (o *outbox.Outbox, stop func()) {
	t.Helper()
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	o, err := outbox.New(outbox.Config{Dir: dir, Instance: "h", Source: l, Gaps: l, Log: quiet, FirstPause: time.Millisecond, LongestPause: 5 * time.Millisecond,
		Sinks: []outbox.Sink{{Name: "w", Kinds: kinds, Sender: outbox.Webhook{URL: url, Client: outbox.NewClient(), Secret: func() ([]byte, error) { return []byte(secret), nil }}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return o, stop
}

// until waits for something, and fails the test if it does not come.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// sees waits until a receiver has these events, in their order.
func (r *receiver) sees(t *testing.T, want ...int64) {
	t.Helper()
	until(t, fmt.Sprintf("%v arrived", want), func() bool { return len(r.has()) >= len(want) })
	if got := r.has(); !slices.Equal(got, want) {
		t.Errorf("got events %v, want %v", got, want)
	}
}

// passed waits until the sink knows that an event was taken: the receiver has it a moment before.
func passed(t *testing.T, o *outbox.Outbox, id int64) {
	t.Helper()
	until(t, "the sink has its answer", func() bool { return o.View()[0].Position == id })
}

// placed waits until a new sink has noted where it begins.
func placed(t *testing.T, dir string) {
	t.Helper()
	until(t, "the sink has its place", func() bool { _, err := os.Stat(filepath.Join(dir, "w.json")); return err == nil })
}

// A receiver that is down, or says that it is busy, gets everything in the end, in order; a new sink begins with what happens from
// now on.
func TestWhatIsNotTakenIsTriedAgain(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	l.add(plugin.EventHit, 3) // before there was a sink
	r := newReceiver(t, func(id int64, attempt int) int {
		if attempt <= 3 {
			return []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusRequestTimeout}[attempt-1]
		}
		return http.StatusNoContent
	})
	o, stop := start(t, dir, l, r.URL)
	placed(t, dir)
	l.add(plugin.EventFilled, 2)
	r.sees(t, 4, 5)
	passed(t, o, 5)
	stop()
	if v := o.View()[0]; v.Sent != 2 || v.Failures != 6 || v.Position != 5 || v.DeadCount != 0 || v.LastError != "" || v.BehindSeconds != 0 {
		t.Errorf("got %+v", v)
	}
}

// A daemon that was stopped goes on where it was, and nothing that happened meanwhile is lost.
func TestAStopLosesNothing(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	r := newReceiver(t, func(int64, int) int { return http.StatusOK })
	o, stop := start(t, dir, l, r.URL)
	placed(t, dir)
	l.add(plugin.EventHit, 2)
	r.sees(t, 1, 2)
	passed(t, o, 2)
	stop()
	l.add(plugin.EventHit, 2)
	start(t, dir, l, r.URL)
	r.sees(t, 1, 2, 3, 4)
}

// What is refused for good is a dead letter, which is listed, and does not hold up what comes behind it.
func TestWhatIsRefusedIsADeadLetter(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	r := newReceiver(t, func(id int64, _ int) int {
		if id == 1 {
			return http.StatusGone
		}
		return http.StatusOK
	})
	o, stop := start(t, dir, l, r.URL, plugin.EventEvicted)
	placed(t, dir)
	l.add(plugin.EventEvicted, 1)
	l.add(plugin.EventHit, 1) // of no kind that it wants
	l.add(plugin.EventEvicted, 1)
	r.sees(t, 3)
	stop()
	v := o.View()[0]
	if v.DeadCount != 1 || len(v.Dead) != 1 || v.Dead[0].Event.ID != 1 || !strings.Contains(v.Dead[0].Error, "410") {
		t.Errorf("got %+v", v)
	}
	again, _ := start(t, dir, l, r.URL, plugin.EventEvicted)
	if v := again.View()[0]; v.DeadCount != 1 || len(v.Dead) != 1 {
		t.Errorf("after a start: got %+v", v)
	}
}

// While its secret's file is empty, as it is for a moment while somebody writes a new one, nothing is posted that anybody could have signed.
func TestNothingIsSignedWithoutASecret(t *testing.T) {
	r := newReceiver(t, func(int64, int) int { return http.StatusOK })
	w := outbox.Webhook{URL: r.URL, Client: outbox.NewClient(), Secret: func() ([]byte, error) { return []byte{}, nil }}
	if err := w.Send(t.Context(), plugin.Event{ID: 1}); err == nil || errors.Is(err, outbox.ErrRefused) || !strings.Contains(err.Error(), "secret_file") {
		t.Errorf("got %v, want that it is tried again", err)
	}
	if got := r.has(); len(got) > 0 {
		t.Errorf("posted %v", got)
	}
}

// A receiver that redirects is not followed: what is signed is for it alone.
func TestARedirectIsRefused(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	r := newReceiver(t, func(int64, int) int { return http.StatusTemporaryRedirect })
	o, _ := start(t, dir, l, r.URL)
	placed(t, dir)
	l.add(plugin.EventHit, 1)
	until(t, "it is a dead letter", func() bool { return o.View()[0].DeadCount == 1 })
}

// Where the catalog is another one, the sink goes on with it rather than wait for IDs that will not come.
func TestAnotherCatalogIsGoneOnWith(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	if err := os.WriteFile(filepath.Join(dir, "w.json"), []byte(`{"position": 500}`), 0o600); err != nil {
		t.Fatal(err)
	}
	l.add(plugin.EventHit, 1)
	r := newReceiver(t, func(int64, int) int { return http.StatusOK })
	o, _ := start(t, dir, l, r.URL)
	until(t, "it has its place", func() bool { return o.View()[0].Position == 1 })
	l.add(plugin.EventHit, 1)
	r.sees(t, 2)
}

// A file that says nothing any more keeps nobody from the cache: it is put aside, and the sink goes on with what happens from then on.
func TestADamagedFileIsPutAside(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	l.add(plugin.EventFilled, 3)
	file := filepath.Join(dir, "w.json")
	if err := os.WriteFile(file, []byte(`{"position": 2, "dead`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(t, func(int64, int) int { return http.StatusOK })
	_, stop := start(t, dir, l, r.URL)
	defer stop()
	until(t, "a new file", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), `"position":3`)
	})
	l.add(plugin.EventFilled, 1)
	r.sees(t, 4)
	if _, err := os.Stat(file + ".damaged"); err != nil {
		t.Error(err)
	}
}
