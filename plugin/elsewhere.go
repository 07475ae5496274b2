package plugin

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// A fill that another process makes is met in the catalog: its row, its lease, and how far it is as of the lease's last
// renewal. Whoever wants its image here waits for it, and has no place among the fills meanwhile.

const (
	// firstPause and longestPause are how long a fill elsewhere is not looked at, at first and at last.
	firstPause   = 200 * time.Millisecond
	longestPause = 2 * time.Second
)

// backoff is when something is looked at again: later each time, and not by all at one moment. The zero value is ready.
type backoff struct{ next time.Duration }

// length is how long to wait for the next look.
func (b *backoff) length() time.Duration {
	b.next = min(max(firstPause, b.next*3/2), longestPause)
	return b.next*3/4 + rand.N(b.next/2)
}

// wait waits for the next look. The error is ctx's.
func (b *backoff) wait(ctx context.Context) error {
	timer := time.NewTimer(b.length())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow waits until the fill of a row that is another holder's has ended, or its lease has run out. The flight shows
// how far it is.
func (fl *fills) follow(ctx context.Context, f *flight, e catalog.Entry, pause *backoff) error {
	f.follows.Store(e.ID)
	for {
		there, err := fl.catalog.FillOf(ctx, e.ID)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		f.read.Store(there.Progress.Read)
		f.written.Store(there.Progress.Written)
		f.total.Store(there.Progress.Total)
		f.pace.hear(fl.now(), there.Progress.Read)
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// stopFollowing lets a flight that fills for itself begin at nothing.
func (f *flight) stopFollowing(total int64) {
	f.follows.Store(catalog.EntryID(""))
	f.read.Store(0)
	f.written.Store(0)
	f.pace.forget()
	f.total.Store(total)
}

// followed is the row of another process that the flight waits for, or has waited for; "" where it fills for itself.
func (f *flight) followed() catalog.EntryID {
	id, _ := f.follows.Load().(catalog.EntryID)
	return id
}

// AllFills are the fills in flight, here and in other processes on the same catalog. Of those elsewhere the
// figures are as of their last renewal of the lease, and the waiters those that wait here.
func (p *Plugin) AllFills(ctx context.Context) ([]FillView, error) {
	return p.fills.all(ctx)
}

// all is AllFills.
func (fl *fills) all(ctx context.Context) ([]FillView, error) {
	all, err := fl.catalog.InFlight(ctx)
	if err != nil {
		return nil, err
	}
	views, waiting := fl.flights.apart(fl.now())
	for i := range views {
		views[i].InstanceID = fl.holder.Instance
	}
	for _, f := range all {
		if f.Entry.Lease == fl.holder {
			continue
		}
		v := FillView{
			EntryID: string(f.Entry.ID), InstanceID: f.Entry.Lease.Instance, Backend: fl.stock.label(f.Entry.Store), Waiters: waiting[f.Entry.ID],
			ReadBytes: f.Progress.Read, TotalBytes: f.Progress.Total, WrittenBytes: f.Progress.Written, StartedAt: f.BegunAt,
		}
		if len(f.Entry.ImageIDs) > 0 {
			v.ImageID = f.Entry.ImageIDs[0]
		}
		views = append(views, v)
	}
	return views, nil
}

// apart are the fills that this process makes, and how many wait here for those that others make.
func (fl *flights) apart(now time.Time) (own []FillView, waiting map[catalog.EntryID]int) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	own, waiting = make([]FillView, 0, len(fl.byKey)), make(map[catalog.EntryID]int)
	for _, f := range fl.byKey {
		if id := f.followed(); id != "" {
			waiting[id] += f.waiters
		} else if !f.begun.IsZero() { // else its key is closed
			own = append(own, f.view(now))
		}
	}
	return own, waiting
}

// readElsewhere adds to views of entries how much of the image was read where another process fills them.
func (fl *fills) readElsewhere(ctx context.Context, views []EntryView) error {
	filling := func(v EntryView) bool { return v.State == string(catalog.Filling) && v.ReadBytes == 0 }
	if !slices.ContainsFunc(views, filling) {
		return nil
	}
	all, err := fl.catalog.InFlight(ctx)
	if err != nil {
		return err
	}
	for _, f := range all {
		for i := range views {
			if filling(views[i]) && views[i].ID == string(f.Entry.ID) && f.Entry.Lease != fl.holder {
				views[i].ReadBytes = f.Progress.Read
			}
		}
	}
	return nil
}
