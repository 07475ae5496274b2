package imagesource

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// moody is a source that answers as its mood is.
type moody struct {
	stale time.Duration
	mu    sync.Mutex
	err   error // what it answers; nil: the image
	hang  bool  // it does not answer
	asked int
}

func (*moody) Name() string                                       { return "moody" }
func (m *moody) StaleFor() time.Duration                          { return m.stale }
func (m *moody) set(err error, hang bool)                         { m.mu.Lock(); m.err, m.hang = err, hang; m.mu.Unlock() }
func (m *moody) times() int                                       { m.mu.Lock(); defer m.mu.Unlock(); return m.asked }
func (*moody) Open(context.Context, Image) (io.ReadCloser, error) { return nil, ErrUnavailable }

func (m *moody) Stat(ctx context.Context, id string) (Image, error) {
	m.mu.Lock()
	m.asked++
	err, hang := m.err, m.hang
	m.mu.Unlock()
	if hang {
		<-ctx.Done()
		return Image{}, ctx.Err()
	}
	return Image{Source: "moody", ID: id, Revision: "1"}, err
}

// watched is one in a bubble, and what it told of its changes.
func watched(t *testing.T, m *moody) (*Watched, *[]bool) {
	t.Helper()
	var turns []bool
	w := Watch(m, func(h Health) { turns = append(turns, h.Up) })
	t.Cleanup(w.Close)
	return w, &turns
}

func TestASourceThatIsDownIsAnsweredForFromMemory(t *testing.T) {
	for _, hang := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := &moody{stale: time.Hour}
			w, turns := watched(t, m)
			if image, err := w.Stat(t.Context(), "a"); err != nil || !image.StaleSince.IsZero() {
				t.Fatalf("up: %+v, %v", image, err)
			}
			m.set(ErrUnavailable, hang)
			begun := time.Now()
			for i := range 20 {
				image, err := w.Stat(t.Context(), "a")
				if err != nil || image.Revision != "1" || image.StaleSince.IsZero() {
					t.Fatalf("down, answer %d: %+v, %v", i, image, err)
				}
			}
			if took := time.Since(begun); took > stalePatience {
				t.Errorf("20 answers took %v, want at most the %v of the first", took, stalePatience)
			}
			if n := m.times(); n > 3 {
				t.Errorf("asked %d times, want a few", n)
			}
			if !hang {
				if _, err := w.Stat(t.Context(), "b"); !errors.Is(err, ErrUnavailable) {
					t.Errorf("an image that is not known = %v, want ErrUnavailable", err)
				}
			}
			if h := w.Health(); h.Up || !h.Asked || h.Err == nil || h.StaleAnswers != 20 {
				t.Errorf("health = %+v, want down, 20 answers", h)
			}
			m.set(nil, false)
			time.Sleep(probeEvery + time.Second) // of the bubble's clock
			_, _ = w.Stat(t.Context(), "a")      // begins a probe
			synctest.Wait()
			if image, err := w.Stat(t.Context(), "a"); err != nil || !image.StaleSince.IsZero() || !w.Health().Up {
				t.Errorf("up again: %+v, %v", image, err)
			}
			if len(*turns) != 2 || (*turns)[0] || !(*turns)[1] {
				t.Errorf("turns = %v, want down and up", *turns)
			}
			w.Close()
		})
	}
}

func TestStaleAnswersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{stale: time.Minute}
		w, _ := watched(t, m)
		_, _ = w.Stat(t.Context(), "a")
		m.set(ErrUnavailable, false)
		if _, err := w.Stat(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := w.Stat(t.Context(), "a"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("after serve_stale = %v, want ErrUnavailable", err)
		}
		w.Close()
	})
}

func TestWhatIsAnAnswerIsNotReplacedFromMemory(t *testing.T) {
	for _, answer := range []error{ErrNotFound, ErrForbidden, ErrLogin, ErrCertificate, ErrBadList, ErrRefused} {
		m := &moody{stale: time.Hour}
		w, _ := watched(t, m)
		_, _ = w.Stat(t.Context(), "a")
		m.set(answer, false)
		for range 2 {
			if _, err := w.Stat(t.Context(), "a"); !errors.Is(err, answer) {
				t.Errorf("stat = %v, want %v", err, answer)
			}
		}
	}
	m := &moody{} // not at all
	w, _ := watched(t, m)
	_, _ = w.Stat(t.Context(), "a")
	m.set(ErrUnavailable, false)
	if _, err := w.Stat(t.Context(), "a"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without serve_stale = %v, want ErrUnavailable", err)
	}
	if !w.Down() {
		t.Error("it is not down")
	}
}

func TestABareIDDoesNotWaitLongForASourceThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{err: ErrUnavailable}
		w, _ := watched(t, m)
		r, err := NewResolver([]Source{w, shelf{"b", map[string]error{"one": nil}}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Stat(t.Context(), "one")
		m.set(nil, true)
		begun := time.Now()
		if s, _, err := r.Resolve(t.Context(), "one"); err != nil || s.Name() != "b" || time.Since(begun) > downPatience {
			t.Errorf("resolved to %v, %v after %v", s, err, time.Since(begun))
		}
		w.Close()
	})
}

func TestResolverSeesThroughWatched(t *testing.T) {
	h := newTestHTTP(t, "web", "https://images.example.org/x")
	r, err := NewResolver([]Source{Watch(h, func(Health) {})})
	if err != nil {
		t.Fatal(err)
	}
	s, id, err := r.Resolve(t.Context(), "https://images.example.org/x/a.raw?token=geheim")
	if err != nil || id != "a.raw?token=geheim" || ShownID(s, id) != "a.raw" {
		t.Errorf("resolved to %q, shown as %q, %v", id, ShownID(s, id), err)
	}
}
