package plugin

import (
	"context"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// slowReader reads image-volumes in a share of the time, past what the host remembers of them, and stops where still says
// that nobody needs it any more: an image-volume that is evicted holds its space while it is open.
type slowReader struct {
	backends.ImageVolumeReader
	share    int // percent of the time
	still    func(context.Context) error
	progress func(read int64) // nil: nobody asks
}

// OpenImageVolume implements backends.ImageVolumeReader.
func (r *slowReader) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	content, err := r.ImageVolumeReader.OpenImageVolume(ctx, id)
	if err != nil {
		return nil, err
	}
	forgetCached(content)
	return &slowContent{ImageVolumeContent: content, slowReader: r, ctx: ctx, asked: time.Now()}, nil
}

const (
	// shortestRest is the least that it pays to wait for at once.
	shortestRest = 20 * time.Millisecond
	// askEvery is how often it is asked whether the reading is still of use.
	askEvery = 5 * time.Second
)

// slowContent is an image-volume that is read by a slowReader, by one goroutine.
type slowContent struct {
	backends.ImageVolumeContent
	*slowReader
	ctx   context.Context // covers the reading
	owed  time.Duration   // of rest
	asked time.Time
	read  int64
}

// ReadAt implements io.ReaderAt.
func (c *slowContent) ReadAt(p []byte, off int64) (int, error) {
	if err := c.pause(); err != nil {
		return 0, err
	}
	begun := time.Now()
	n, err := c.ImageVolumeContent.ReadAt(p, off)
	if c.share < 100 {
		c.owed += time.Since(begun) * time.Duration(100-c.share) / time.Duration(c.share)
	}
	c.read += int64(n)
	if c.progress != nil {
		c.progress(c.read)
	}
	return n, err
}

// pause rests as long as is owed, and asks from time to time whether to go on.
func (c *slowContent) pause() error {
	if c.owed >= shortestRest {
		timer := time.NewTimer(c.owed)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.owed = 0
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	if time.Since(c.asked) < askEvery {
		return nil
	}
	c.asked = time.Now()
	return c.still(c.ctx)
}

// NextData implements backends.HoleTeller.
func (c *slowContent) NextData(ctx context.Context, off int64) (from, to int64, err error) {
	if teller, ok := c.ImageVolumeContent.(backends.HoleTeller); ok {
		return teller.NextData(ctx, off)
	}
	return off, noEnd, nil
}

// noEnd is behind every content.
const noEnd = 1<<63 - 1

// Close implements io.Closer.
func (c *slowContent) Close() error {
	forgetCached(c.ImageVolumeContent) // others need the memory more
	return c.ImageVolumeContent.Close()
}

// forgetCached lets what is read next come from the disk.
func forgetCached(content backends.ImageVolumeContent) {
	if f, ok := content.(backends.CacheForgetter); ok {
		f.ForgetCached()
	}
}
