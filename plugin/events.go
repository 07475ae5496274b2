package plugin

import (
	"cmp"
	"context"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventHit           EventKind = "hit"
	EventJoined        EventKind = "joined"
	EventMiss          EventKind = "miss"
	EventDirect        EventKind = "direct"
	EventCopied        EventKind = "copied"
	EventBypassed      EventKind = "bypassed"
	EventFilled        EventKind = "filled"
	EventFillFailed    EventKind = "fill_failed"
	EventEvicted       EventKind = "evicted"
	EventDetached      EventKind = "detached"
	EventReaped        EventKind = "reaped"
	EventVanished      EventKind = "vanished"
	EventAdopted       EventKind = "adopted"
	EventMended        EventKind = "mended"
	EventPinned        EventKind = "pinned"
	EventUnpinned      EventKind = "unpinned"
	EventDeleted       EventKind = "deleted"
	EventVolumeDeleted EventKind = "volume_deleted"
	EventKept          EventKind = "kept"
	EventUnreachable   EventKind = "unreachable"
	EventBack          EventKind = "back"
	EventStarted       EventKind = "started"
	EventStopped       EventKind = "stopped"
)

// KindOfEvent is an EventKind and what it tells of.
type KindOfEvent struct {
	Kind    EventKind
	Meaning string
}

// EventKinds are all kinds that there are. The words are stable.
func EventKinds() []KindOfEvent {
	return []KindOfEvent{
		{EventHit, "a request was served from what was cached"},
		{EventJoined, "a request waited for another one's fill, and was served from it"},
		{EventMiss, "a request found nothing cached, made the image-volume, and was served from it"},
		{EventDirect, "a request was served by a clone of the image itself"},
		{EventCopied, "a request was served by a copy from the file cache; reason: what kept it from a clone"},
		{EventBypassed, "a request was left to its usual way; reason: why"},
		{EventFilled, "an image-volume, or a cached file, is ready; bytes: what it holds"},
		{EventFillFailed, "a fill came to nothing; reason: why"},
		{EventEvicted, "an image-volume, or a cached file, was evicted; reason: the bound or the cause; bytes: what came free"},
		{EventDetached, "an image-volume was retired while clones depend on it; reason: the cause; bytes: what they hold"},
		{EventReaped, "a detached image-volume is gone with its last clone; bytes: what came free"},
		{EventVanished, "an image-volume was no longer usable, behind our back; its entry is dropped"},
		{EventAdopted, "an image-volume that no entry named was taken into the catalog"},
		{EventMended, "catalog, backend and quota did not agree, and do now; reason: the kind of problem"},
		{EventPinned, "an admin pinned an entry"},
		{EventUnpinned, "an admin unpinned an entry"},
		{EventDeleted, "an admin deleted an entry; bytes: what came free"},
		{EventVolumeDeleted, "somebody deleted a volume through the API"},
		{EventKept, "a volume stays of which perhaps nobody knows; reason: `unanswered`, `unproved` or `in_use`; detail: what a person can do"},
		{EventUnreachable, "a backend or a file cache does not answer; detail: its error"},
		{EventBack, "a backend or a file cache answers again"},
		{EventStarted, "the daemon has started"},
		{EventStopped, "the daemon was stopped"},
	}
}

// Event is something that happened. A request's took_ms is from request to answer, and its bytes are what it
// downloaded; a fill's are what the fill took, and what the image-volume holds.
type Event struct {
	ID      int64               `json:"id" doc:"Ascending in the order in which events were noted; never used twice"`
	At      time.Time           `json:"at" doc:"When it happened, UTC"`
	Kind    EventKind           `json:"kind" enum:"hit,joined,miss,direct,copied,bypassed,filled,fill_failed,evicted,detached,reaped,vanished,adopted,mended,pinned,unpinned,deleted,volume_deleted,kept,unreachable,back,started,stopped" doc:"What happened"`
	Backend backends.Name       `json:"backend,omitempty" doc:"The backend or file cache that it happened on"`
	ImageID string              `json:"image_id,omitempty" doc:"SOURCE:ID of the image"`
	EntryID string              `json:"entry_id,omitempty" doc:"The cache entry, which may be gone by now"`
	Volume  backends.VolumeName `json:"volume,omitempty" doc:"The volume that was asked for"`
	Outcome Outcome             `json:"outcome,omitempty" doc:"What a request came to"`
	Reason  Reason              `json:"reason,omitempty" doc:"Why, as a stable word"`
	Detail  string              `json:"detail,omitempty" doc:"Why, in a sentence, where there is more to say"`
	Bytes   int64               `json:"bytes,omitempty" doc:"What was downloaded, came to be held, or came free"`
	TookMS  float64             `json:"took_ms,omitempty" doc:"Milliseconds that it took"`
}

// EventFilter selects events. The zero filter selects all that are kept.
type EventFilter struct {
	After   int64     // an event's ID: later ones
	Since   time.Time // those that happened at this time or later
	Backend backends.Name
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
	return events, p.asked(f.Backend, len(events))
}

// FollowEvents calls take for the events that there are, as Events lists them, and then for each new one,
// until take returns an error, ctx ends, or the plugin is closed: ErrStopping, after the last event. Close
// waits for a take that is at it. f.Limit is not looked at. Where take is slower than events come, those
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
	for {
		news := b.events.news()
		if err := b.takeEvents(ctx, &f, take); err != nil {
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.events.ended:
			return cmp.Or(b.takeEvents(ctx, &f, take), ErrStopping)
		}
	}
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

func (b *books) readEvents(ctx context.Context, f EventFilter) ([]Event, error) {
	filter := catalog.EventFilter{After: catalog.EventID(f.After), Since: f.Since, Backend: f.Backend, Limit: f.Limit, Newest: f.Newest}
	for _, k := range f.Kinds {
		filter.Kinds = append(filter.Kinds, catalog.EventKind(k))
	}
	rows, err := b.catalog.Events(ctx, filter)
	if err != nil {
		return nil, err
	}
	events := make([]Event, 0, len(rows))
	for _, e := range rows {
		events = append(events, Event{
			ID: int64(e.ID), At: e.At, Kind: EventKind(e.Kind), Backend: e.Backend, ImageID: e.ImageID, EntryID: string(e.Entry),
			Volume: e.Volume, Outcome: Outcome(e.Outcome), Reason: Reason(e.Reason), Detail: e.Detail, Bytes: e.Bytes,
			TookMS: float64(e.Took.Microseconds()) / 1000,
		})
	}
	return events, nil
}
