package plugin

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// SourceLimit bounds what the fills of this daemon ask of an image source, all of them together. Zero fields mean no bound.
type SourceLimit struct {
	Fills          int   // that read and write at once; more wait, and take no place of other sources' fills
	BytesPerSecond int64 // that are read of its images
}

// sourceLimit is one that is in force.
type sourceLimit struct {
	places  *slot     // nil: no bound
	keeping *slot     // of these, for images that are kept as they are; nil with places
	pace    *throttle // nil: no bound
}

// sourceLimits are those in force, by the sources' names.
type sourceLimits struct {
	line *line
	mu   sync.Mutex // guards by
	by   map[string]sourceLimit
}

// of is a source's.
func (l *sourceLimits) of(source string) sourceLimit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[source]
}

// set puts others in the place of those of now. Fills that have begun under a bound go on under the changed one; those that
// began without one end without one.
func (l *sourceLimits) set(all map[string]SourceLimit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.by
	l.by = make(map[string]sourceLimit, len(all))
	for name, next := range all {
		l.by[name] = was[name].changed(l.line, next)
	}
	for name, own := range was {
		if _, stays := all[name]; !stays {
			own.changed(l.line, SourceLimit{})
		}
	}
}

// changed is the limit as it is to be from now on.
func (l sourceLimit) changed(among *line, to SourceLimit) sourceLimit {
	if l.places != nil {
		l.places.resize(to.Fills)
		l.keeping.resize(keepingShare(to.Fills))
	}
	if l.pace != nil {
		l.pace.keepTo(cmp.Or(to.BytesPerSecond, math.MaxInt64))
	}
	switch {
	case to.Fills == 0:
		l.places, l.keeping = nil, nil
	case l.places == nil:
		l.places, l.keeping = among.slot(to.Fills), among.slot(keepingShare(to.Fills))
	}
	switch {
	case to.BytesPerSecond == 0:
		l.pace = nil
	case l.pace == nil:
		l.pace = &throttle{rate: to.BytesPerSecond}
	}
	return l
}

// checkSourceLimits refuses what bounds nothing. ErrBadRequest.
func checkSourceLimits(all map[string]SourceLimit) error {
	for name, l := range all {
		if l.Fills < 0 || l.BytesPerSecond < 0 {
			return fmt.Errorf("%w: image source %q: a limit is negative", ErrBadRequest, name)
		}
	}
	return nil
}

// setSourceLimits lets fills ask so much of image sources from now on.
func (fl *fills) setSourceLimits(all map[string]SourceLimit) { fl.limits.set(all) }

// placesOf is how many fills read from an image source at once; bounded is false where its configuration says nothing about it.
func (fl *fills) placesOf(source string) (most int, bounded bool) {
	own := fl.limits.of(source).places
	if own == nil {
		return 0, false
	}
	most, _ = own.size()
	return most, true
}

// throttle lets so many bytes a second pass. It may be used from several goroutines, which share the rate.
type throttle struct {
	mu   sync.Mutex
	rate int64
	free time.Time // when all that was let pass will have
}

// take says how long to wait after n bytes.
func (t *throttle) take(now time.Time, n int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free.Before(now) {
		t.free = now
	}
	t.free = t.free.Add(time.Duration(float64(n) / float64(t.rate) * float64(time.Second)))
	return t.free.Sub(now)
}

// keepTo changes the rate, from the next bytes on.
func (t *throttle) keepTo(rate int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rate = rate
}

// leastPiece is how much is read at once, at least, where reading is throttled.
const leastPiece = 4 << 10

// piece is how much to read at once, so that no wait is much longer than a tenth of a second.
func (t *throttle) piece(n int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return min(n, max(leastPiece, int(min(t.rate/10, 1<<20))))
}

// throttled reads at a rate. Its error is ctx's where that ends a wait.
type throttled struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // covers the reading, as that of Source.Open
	pace *throttle
}

// Read implements io.Reader.
func (r *throttled) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:r.pace.piece(len(p))])
	if wait := r.pace.take(time.Now(), n); wait > 0 && err == nil {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			return n, r.ctx.Err()
		}
	}
	return n, err
}

// within is a stream of a source that keeps to its rate.
func (l sourceLimit) within(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	if l.pace == nil {
		return body
	}
	return &throttled{ReadCloser: body, ctx: ctx, pace: l.pace}
}
