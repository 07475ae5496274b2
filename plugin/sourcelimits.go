package plugin

import (
	"context"
	"fmt"
	"io"
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
	places *slots    // nil: no bound
	pace   *throttle // nil: no bound
}

// sourceLimits are those of the configuration, by the sources' names. ErrBadRequest.
func sourceLimits(all map[string]SourceLimit) (map[string]sourceLimit, error) {
	made := make(map[string]sourceLimit)
	for name, l := range all {
		if l.Fills < 0 || l.BytesPerSecond < 0 {
			return nil, fmt.Errorf("%w: image source %q: a limit is negative", ErrBadRequest, name)
		}
		var own sourceLimit
		if l.Fills > 0 {
			own.places = &slots{most: l.Fills}
		}
		if l.BytesPerSecond > 0 {
			own.pace = &throttle{rate: l.BytesPerSecond}
		}
		made[name] = own
	}
	return made, nil
}

// placesOf is how many fills read from an image source at once; bounded is false where its configuration says nothing about it.
func (fl *fills) placesOf(source string) (most int, bounded bool) {
	own := fl.limits[source].places
	if own == nil {
		return 0, false
	}
	most, _ = own.free()
	return most, true
}

// throttle lets so many bytes a second pass. It may be used from several goroutines, which share the rate.
type throttle struct {
	rate int64

	mu   sync.Mutex
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

// leastPiece is how much is read at once, at least, where reading is throttled.
const leastPiece = 4 << 10

// piece is how much to read at once, so that no wait is much longer than a tenth of a second.
func (t *throttle) piece(n int) int { return min(n, max(leastPiece, int(min(t.rate/10, 1<<20)))) }

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
