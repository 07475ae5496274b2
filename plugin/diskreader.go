package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// An image's bytes come from an image-volume to spare a download. A store that hangs, such as a share whose server has gone, spares
// nobody anything: it is given up, and the source gives the image.

// diskPatience is how long an image-volume may take to be opened, or for its next bytes. It is shorter than firstBytePatience, so
// that there is something to read by then.
const diskPatience = 10 * time.Second

// errSilent: a store gave nothing for too long.
var errSilent = errors.New("it does not answer")

// whileItAnswers waits for do, no longer than patience lasts or ctx is there. What do brings later goes to late. Those that were
// given up for their silence count as unheard until they come back, so that whoever sees these begins no more. errSilent, ctx's, do's.
func whileItAnswers[T any](ctx context.Context, patience time.Duration, unheard *atomic.Int64, do func() (T, error), late func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := do()
		answers <- answer{value, err}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	silent := int64(0)
	var err error
	select {
	case a := <-answers:
		return a.value, a.err
	case <-timer.C:
		silent, err = 1, fmt.Errorf("%w: nothing came for %v", errSilent, patience)
	case <-ctx.Done():
		err = ctx.Err()
	}
	unheard.Add(silent)
	go func() {
		a := <-answers
		unheard.Add(-silent)
		if a.err == nil {
			late(a.value)
		}
	}()
	var none T
	return none, err
}

// diskReader reads from an image-volume as long as that answers. It is for one goroutine.
type diskReader struct {
	ctx      context.Context // covers the reading
	from     *sparseReader
	patience time.Duration
	unheard  *atomic.Int64

	buffer []byte // a reading that is given up keeps it
	ended  error
}

// Read implements io.Reader. After an error there is nothing more.
func (r *diskReader) Read(p []byte) (int, error) {
	if r.ended != nil {
		return 0, r.ended
	}
	if len(r.buffer) < len(p) {
		r.buffer = make([]byte, len(p))
	}
	own := r.buffer[:len(p)]
	n, err := whileItAnswers(r.ctx, r.patience, r.unheard, func() (int, error) { return r.from.Read(own) }, func(int) {})
	r.ended = err
	return copy(p, own[:n]), err
}
