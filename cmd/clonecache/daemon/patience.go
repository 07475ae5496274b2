package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// openAgainAfter is how long a catalog whose database does not answer is left alone.
const openAgainAfter = 3 * time.Second

// errStopped: the daemon was asked to stop before there was anything to serve.
var errStopped = errors.New("asked to stop")

// openPatiently opens the cache, again and again while the catalog's database does not answer: that outage is to end
// without anybody at this host. Meanwhile /readyz and every request are told so, and whoever asks for volumes goes the usual way.
// errStopped: ctx ended first.
func (d *running) openPatiently(ctx context.Context, s *stores, metrics plugin.Observer) (*plugin.Plugin, error) {
	for waiting := false; ; {
		p, err := d.open(ctx, s, metrics)
		switch {
		case err != nil && ctx.Err() != nil && waiting:
			return nil, errStopped
		case !errors.Is(err, catalog.ErrUnavailable):
			return p, err
		}
		d.server.Delayed(err)
		if !waiting {
			waiting = true
			d.Log.WithError(err).Error("the catalog's database does not answer; the daemon waits for it, and requests are told to go their usual way")
			d.Notify("READY=1\nSTATUS=waits for the catalog's database")
		}
		again, stopWaiting := context.WithTimeout(ctx, openAgainAfter)
		err = d.liveUntil(again, nil)
		stopWaiting()
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, errStopped
		}
	}
}
