package plugin

import (
	"cmp"
	"context"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Event is something that happened. A request's took_ms is from request to answer, and its bytes are what it
// downloaded; a fill's are what the fill took, and what the image-volume holds.
type Event struct {
	ID      int64               `json:"id" doc:"Ascending in the order in which a host noted events; never used twice"`
	At      time.Time           `json:"at" doc:"When it happened, UTC"`
	Kind    EventKind           `json:"kind" enum:"hit,joined,miss,direct,copied,bypassed,filled,fill_failed,evicted,detached,reaped,vanished,adopted,mended,quarantined,released,pinned,unpinned,deleted,volume_deleted,kept,unreachable,back,acted,started,stopped" doc:"What happened"`
	Backend backends.Name       `json:"backend,omitempty" doc:"The backend or file cache that it happened on"`
	ImageID string              `json:"image_id,omitempty" doc:"SOURCE:ID of the image"`
	EntryID string              `json:"entry_id,omitempty" doc:"The cache entry, which may be gone by now"`
	Volume  backends.VolumeName `json:"volume,omitempty" doc:"The volume that was asked for"`
	Outcome Outcome             `json:"outcome,omitempty" doc:"What a request came to"`
	Reason  Reason              `json:"reason,omitempty" doc:"Why, as a stable word"`
	Detail  string              `json:"detail,omitempty" doc:"Why, in a sentence, where there is more to say"`
	Bytes   int64               `json:"bytes,omitempty" doc:"What was downloaded, came to be held, or came free"`
	TookMS  float64             `json:"took_ms,omitempty" doc:"Milliseconds that it took"`
	Host    InstanceID          `json:"instance_id,omitempty" doc:"The daemon that noted it"`
	Who     string              `json:"who,omitempty" doc:"Who asked for it: the name of a token or a certificate, or the user at the other end of the socket"`
}

// EventFilter selects events. The zero filter selects all that are kept.
type EventFilter struct {
	After   int64     // an event's ID: later ones
	Since   time.Time // those that happened at this time or later
	Backend backends.Name
	Host    InstanceID  // the daemon that noted them; "": all
	Kinds   []EventKind // none: all
	Limit   int         // 0: no limit
	Newest  bool        // Limit leaves the newest ones, not the oldest; not for those who follow
}

// eventPage is how many events a follower reads at a time.
const eventPage = 500

// Events lists what happened, by ID, ascending: the newest Config.EventsMax events at most. Answered
// requests are in it once they were answered; other events a moment after what they tell of, and a kill in
// that moment loses them.
func (p *Plugin) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	events, err := p.books.list(ctx, f)
	if err != nil {
		return nil, err
	}
	return events, p.stock.asked(f.Backend, len(events))
}

// FollowEvents calls take for the events that there are, as Events lists them, and then for each new one,
// until take returns an error, ctx ends, or the plugin is closed: ErrStopping, after the last event. Close
// waits for a take that is at it. Where several hosts have the catalog, an event that became visible late is told of after ones with higher IDs. f.Limit is not looked at. Where take is slower than events come, those
// that have gone meanwhile, being the oldest, are left out.
func (p *Plugin) FollowEvents(ctx context.Context, f EventFilter, take func(Event) error) error {
	leave, ok := p.gate.follow()
	if !ok {
		return ErrStopping
	}
	defer leave()
	return p.books.follow(ctx, f, take)
}

// list lists what happened, all that was noted before included.
func (b *books) list(ctx context.Context, f EventFilter) ([]Event, error) {
	if err := b.flushToRead(ctx); err != nil {
		return nil, err
	}
	return b.readEvents(ctx, f)
}

// follow calls take for each event, until take returns an error, ctx ends, or no more events come: ErrStopping.
func (b *books) follow(ctx context.Context, f EventFilter, take func(Event) error) error {
	if err := b.flushToRead(ctx); err != nil {
		return err
	}
	f.Limit, f.Newest = eventPage, false
	look := func() error { return b.takeEvents(ctx, &f, take) }
	if !b.sole {
		look = newFollower(b, f, take).looker(ctx)
	}
	elsewhere, stop := b.elsewhere()
	defer stop()
	for {
		news := b.events.news()
		if err := look(); err != nil {
			return err
		}
		select {
		case <-news:
		case <-elsewhere:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.events.ended:
			return cmp.Or(look(), ErrStopping)
		}
	}
}

// elsewhere tells again and again that others may have written events; nobody wakes this process for these.
func (b *books) elsewhere() (look <-chan time.Time, stop func()) {
	if b.sole {
		return nil, func() {}
	}
	tick := time.NewTicker(b.cfg.FlushEvery)
	return tick.C, tick.Stop
}

// takeEvents hands on what there is now, page by page, and moves the filter behind it.
func (b *books) takeEvents(ctx context.Context, f *EventFilter, take func(Event) error) error {
	for {
		page, err := b.readEvents(ctx, *f)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := take(e); err != nil {
				return err
			}
			f.After = e.ID
		}
		if len(page) < f.Limit {
			return nil
		}
	}
}

// rows is the filter as the catalog knows it.
func (f EventFilter) rows() catalog.EventFilter {
	return catalog.EventFilter{After: catalog.EventID(f.After), Since: f.Since, Backend: f.Backend, Host: string(f.Host), Kinds: f.Kinds, Limit: f.Limit, Newest: f.Newest}
}

func (b *books) readEvents(ctx context.Context, f EventFilter) ([]Event, error) {
	return b.selectEvents(ctx, f.rows())
}

func (b *books) selectEvents(ctx context.Context, f catalog.EventFilter) ([]Event, error) {
	rows, err := b.catalog.Events(ctx, f)
	if err != nil {
		return nil, err
	}
	events := make([]Event, 0, len(rows))
	for _, e := range rows {
		events = append(events, Event{
			ID: int64(e.ID), At: e.At, Kind: e.Kind, Backend: e.Backend, ImageID: e.ImageID, EntryID: string(e.Entry),
			Volume: e.Volume, Outcome: e.Outcome, Reason: e.Reason, Detail: e.Detail, Bytes: e.Bytes,
			TookMS: float64(e.Took.Microseconds()) / 1000, Who: e.Who, Host: InstanceID(e.Host),
		})
	}
	return events, nil
}
