package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stalePatience is how long a source is waited for where what it said last would do.
	stalePatience = 2 * time.Second
	// probeEvery is how often a source that is down is asked meanwhile, by the requests that come.
	probeEvery = 5 * time.Second
	// downPatience is how long a source that is down is waited for where others may have the image.
	downPatience = time.Second
	// closePatience is how long Close waits for what cannot be interrupted, such as a filesystem that hangs.
	closePatience = time.Second
)

// Health is how a source is, by the last that was asked of it.
type Health struct {
	Asked bool      // whether it was asked anything yet
	Up    bool      // it answered, whatever it said
	Since time.Time // of that; zero where it was not asked
	Err   error     // why it is not up
	// StaleAnswers is how often it was answered for from memory.
	StaleAnswers int64
}

// Watched is a source whose health is known, and which answers from memory while it is down, where it is a
// Stale: by what it said last of the image, for as long as StaleFor says after it stopped answering. Nobody
// waits for it then; it is asked again behind such answers every few seconds. An answer that refuses, or
// says that there is no such image, is an answer. The memory ends with the process.
type Watched struct {
	source   Source
	staleFor time.Duration
	changed  func(Health)
	known    *memory[string, Image]
	stale    atomic.Int64

	ctx     context.Context // of what is asked behind answers
	cancel  context.CancelFunc
	pending sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	health  Health
	probed  time.Time // when a probe began last
	probing bool      // it has not ended yet: a filesystem may hang
}

var _ Source = (*Watched)(nil)

// Watch watches a source. changed is told when it goes down and when it comes back; it must return quickly.
func Watch(s Source, changed func(Health)) *Watched {
	w := &Watched{source: s, changed: changed, known: newMemory[string, Image](maxFilesKept)}
	if stale, ok := s.(Stale); ok {
		w.staleFor = stale.StaleFor()
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Name implements Source.
func (w *Watched) Name() string { return w.source.Name() }

// Underlying is the source that is watched.
func (w *Watched) Underlying() Source { return w.source }

// StaleFor implements Stale.
func (w *Watched) StaleFor() time.Duration { return w.staleFor }

// Health is how the source is.
func (w *Watched) Health() Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.health
	h.StaleAnswers = w.stale.Load()
	return h
}

// Stat implements Source. Image.StaleSince tells where the answer is from memory.
func (w *Watched) Stat(ctx context.Context, id string) (Image, error) {
	image, known := w.known.get(id)
	if w.staleFor == 0 || !known || isAnew(ctx) {
		return w.ask(ctx, id)
	}
	if since, down := w.downSince(); down {
		w.probe(ctx, id)
		return w.fromMemory(image, since), nil
	}
	answer, ok := w.askBehind(ctx, id, func() {})
	if !ok {
		return w.ask(ctx, id)
	}
	patience := time.NewTimer(stalePatience)
	defer patience.Stop()
	select {
	case a := <-answer:
		if since, down := w.downSince(); down && errors.Is(a.err, ErrUnavailable) {
			return w.fromMemory(image, since), nil
		}
		return a.image, a.err
	case <-ctx.Done():
		return Image{}, ctx.Err()
	case <-patience.C:
	}
	w.note(fmt.Errorf("%w: it has not answered for %v", ErrUnavailable, stalePatience))
	since, _ := w.downSince()
	return w.fromMemory(image, since), nil
}

func (w *Watched) fromMemory(image Image, since time.Time) Image {
	w.stale.Add(1)
	image.StaleSince = since
	return image
}

// downSince tells since when the source is down, and whether it may be answered for.
func (w *Watched) downSince() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	down := w.health.Asked && !w.health.Up && errors.Is(w.health.Err, ErrUnavailable)
	return w.health.Since, down && time.Since(w.health.Since) < w.staleFor
}

// Down tells whether the source did not answer what it was asked last.
func (w *Watched) Down() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.health.Asked && !w.health.Up
}

// ask asks the source and notes how it is.
func (w *Watched) ask(ctx context.Context, id string) (Image, error) {
	image, err := w.source.Stat(ctx, id)
	if ctx.Err() != nil && err != nil {
		return image, err
	}
	w.note(err)
	if err == nil && w.staleFor > 0 {
		w.known.put(id, image)
	}
	return image, err
}

type statAnswer struct {
	image Image
	err   error
}

// askBehind asks without an end by ctx, and calls ended then; false once the source is closed.
func (w *Watched) askBehind(ctx context.Context, id string, ended func()) (<-chan statAnswer, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, false
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(w.ctx, cancel)
	answer := make(chan statAnswer, 1)
	w.pending.Go(func() {
		defer cancel()
		defer stop()
		image, err := w.ask(ctx, id)
		ended()
		answer <- statAnswer{image, err}
	})
	return answer, true
}

// probe asks a source that is down, behind the requests that are answered for it.
func (w *Watched) probe(ctx context.Context, id string) {
	w.mu.Lock()
	due := !w.probing && !w.closed && time.Since(w.probed) >= probeEvery
	if due {
		w.probed, w.probing = time.Now(), true
	}
	w.mu.Unlock()
	if !due {
		return
	}
	if _, ok := w.askBehind(ctx, id, w.probeEnded); !ok {
		w.probeEnded()
	}
}

func (w *Watched) probeEnded() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probing = false
}

// note takes from an error how the source is.
func (w *Watched) note(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnavailable) {
		return
	}
	up := !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrCertificate) && !errors.Is(err, ErrLogin)
	w.mu.Lock()
	turned := !w.health.Asked || w.health.Up != up
	first := !w.health.Asked
	if turned {
		w.health.Asked, w.health.Up, w.health.Since = true, up, time.Now()
	}
	if w.health.Err = err; up {
		w.health.Err = nil
	}
	if turned && !up {
		w.probed = time.Now()
	}
	h := w.health
	w.mu.Unlock()
	if turned && (!first || !up) {
		w.changed(h)
	}
}

// Open implements Source.
func (w *Watched) Open(ctx context.Context, image Image) (io.ReadCloser, error) {
	r, err := w.source.Open(ctx, image)
	if ctx.Err() == nil {
		w.note(err)
	}
	return r, err
}

// Retire lets nothing more be asked behind answers, and what is asked end by itself. Who asks goes on being answered.
func (w *Watched) Retire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// Close ends what is asked behind answers, and waits for it, but not for a filesystem that hangs.
func (w *Watched) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	done := make(chan struct{})
	go func() {
		w.pending.Wait()
		close(done)
	}()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
}
