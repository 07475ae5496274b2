package plugin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventHit         EventKind = "hit"
	EventJoined      EventKind = "joined"
	EventMiss        EventKind = "miss"
	EventDirect      EventKind = "direct"
	EventCopied      EventKind = "copied"
	EventBypassed    EventKind = "bypassed"
	EventFilled      EventKind = "filled"
	EventFillFailed  EventKind = "fill_failed"
	EventEvicted     EventKind = "evicted"
	EventDetached    EventKind = "detached"
	EventReaped      EventKind = "reaped"
	EventVanished    EventKind = "vanished"
	EventAdopted     EventKind = "adopted"
	EventMended      EventKind = "mended"
	EventPinned      EventKind = "pinned"
	EventUnpinned    EventKind = "unpinned"
	EventDeleted     EventKind = "deleted"
	EventUnreachable EventKind = "unreachable"
	EventBack        EventKind = "back"
	EventStarted     EventKind = "started"
	EventStopped     EventKind = "stopped"
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
	Kind    EventKind           `json:"kind" enum:"hit,joined,miss,direct,copied,bypassed,filled,fill_failed,evicted,detached,reaped,vanished,adopted,mended,pinned,unpinned,deleted,unreachable,back,started,stopped" doc:"What happened"`
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
}

// eventPage is how many events a follower reads at a time.
const eventPage = 500

// Events lists what happened, by ID, ascending: the newest Config.EventsMax events at most. Answered
// requests are in it once they were answered; other events a moment after what they tell of, and a kill in
// that moment loses them.
func (p *Plugin) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	if err := p.flushToRead(ctx); err != nil {
		return nil, err
	}
	return p.readEvents(ctx, f)
}

// FollowEvents calls take for the events that there are, as Events lists them, and then for each new one,
// until take returns an error, ctx ends, or the plugin is closed: ErrStopping, after the last event. Close
// waits for a take that is at it. f.Limit is not looked at. Where take is slower than events come, those
// that have gone meanwhile, being the oldest, are left out.
func (p *Plugin) FollowEvents(ctx context.Context, f EventFilter, take func(Event) error) error {
	if !p.stayOpen() {
		return ErrStopping
	}
	defer p.upkeep.Done()
	if err := p.flushToRead(ctx); err != nil {
		return err
	}
	f.Limit = eventPage
	for {
		news := p.events.news()
		if err := p.takeEvents(ctx, &f, take); err != nil {
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.events.ended:
			return cmp.Or(p.takeEvents(ctx, &f, take), ErrStopping)
		}
	}
}

// stayOpen keeps what Open opened from being closed until upkeep.Done, unless the plugin is stopping.
func (p *Plugin) stayOpen() bool {
	p.gate.Lock()
	defer p.gate.Unlock()
	if p.stopping {
		return false
	}
	p.upkeep.Add(1)
	return true
}

// takeEvents hands on what there is now, page by page, and moves the filter behind it.
func (p *Plugin) takeEvents(ctx context.Context, f *EventFilter, take func(Event) error) error {
	for {
		page, err := p.readEvents(ctx, *f)
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

func (p *Plugin) readEvents(ctx context.Context, f EventFilter) ([]Event, error) {
	filter := catalog.EventFilter{After: catalog.EventID(f.After), Since: f.Since, Backend: f.Backend, Limit: f.Limit}
	for _, k := range f.Kinds {
		filter.Kinds = append(filter.Kinds, catalog.EventKind(k))
	}
	rows, err := p.catalog.Events(ctx, filter)
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

// eventLog holds events until the next flush writes them, and wakes those who follow. Events of requests
// are not in it: they are made of what the journal has.
type eventLog struct {
	max   int           // how many events are kept; 0: none
	kick  chan struct{} // asks for a flush before its time
	ended chan struct{} // closed when no more come

	mu      sync.Mutex
	waiting []catalog.Event
	written chan struct{} // closed when more were written
}

func newEventLog(kept int) eventLog {
	return eventLog{max: kept, kick: make(chan struct{}, 1), ended: make(chan struct{}), written: make(chan struct{})}
}

// news is closed once events were written that are not written now.
func (l *eventLog) news() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

func (l *eventLog) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.written)
	l.written = make(chan struct{})
}

// add keeps an event for the next flush, and asks for one.
func (l *eventLog) add(e catalog.Event) {
	if l.max == 0 {
		return
	}
	l.mu.Lock()
	l.waiting = l.bounded(append(l.waiting, e))
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default: // it was asked for
	}
}

func (l *eventLog) take() []catalog.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.waiting
	l.waiting = nil
	return taken
}

// putBack keeps events that are older than all others.
func (l *eventLog) putBack(events []catalog.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = l.bounded(slices.Concat(events, l.waiting))
}

// bounded leaves out the oldest ones: no more are kept anyway.
func (l *eventLog) bounded(events []catalog.Event) []catalog.Event {
	return events[max(0, len(events)-l.max):]
}

// note keeps an event for the log. It is written within moments, together with the requests that were
// answered before it; a kill before that loses it.
func (p *Plugin) note(e catalog.Event) {
	if e.At.IsZero() {
		e.At = p.now().UTC()
	}
	e.Detail = clipped(e.Detail)
	p.events.add(e)
}

// writeEvents writes at once what was noted, for an admin's own deed: a kill afterwards does not lose it. A
// failure is logged.
func (p *Plugin) writeEvents(ctx context.Context) {
	ctx, cancel := p.cleanup(ctx)
	defer cancel()
	_ = p.flushToRead(ctx)
}

// noteEntry notes what happened to an entry.
func (p *Plugin) noteEntry(kind EventKind, e catalog.Entry, more catalog.Event) {
	more.Kind, more.Backend, more.Entry = catalog.EventKind(kind), e.Store, e.ID
	if len(e.ImageIDs) > 0 {
		more.ImageID = e.ImageIDs[0]
	}
	if more.Detail == "" && e.ImageVolume != "" {
		more.Detail = "image-volume " + string(e.ImageVolume)
	}
	p.note(more)
}

// eventsOf are the events of answered requests and those that were noted, in the order of their times.
func (p *Plugin) eventsOf(requests []catalog.Request, noted []catalog.Event) []catalog.Event {
	if p.events.max == 0 {
		return nil
	}
	all := make([]catalog.Event, 0, len(requests)+len(noted))
	for _, r := range requests {
		all = append(all, eventOf(r))
	}
	all = append(all, noted...)
	slices.SortStableFunc(all, func(a, b catalog.Event) int { return a.At.Compare(b.At) })
	return all
}

// eventOf is the event of an answered request, or of several that were added up.
func eventOf(r catalog.Request) catalog.Event {
	e := catalog.Event{
		Seq: r.Seq, At: r.At, Kind: requestKind(Outcome(r.Outcome)), Routine: routine(r), Backend: r.Backend, ImageID: r.ImageID,
		Entry: r.Entry, Volume: r.Volume, Outcome: r.Outcome, Reason: r.Reason, Detail: r.Detail,
		Bytes: r.DownloadedBytes, Took: r.Took,
	}
	if r.Times > 1 {
		e.Detail = strconv.FormatInt(r.Times, 10) + " requests; the catalog could not be written when they were answered"
		e.Took = r.Took / time.Duration(r.Times)
	}
	return e
}

// requestKind is the outcome's own word, but for a filled one: the fill has an event of its own.
func requestKind(o Outcome) catalog.EventKind {
	if o == Filled {
		return catalog.EventKind(EventMiss)
	}
	return catalog.EventKind(o)
}

// routine tells that nothing is out of the ordinary about a request, and that there may be very many alike.
func routine(r catalog.Request) bool {
	switch Outcome(r.Outcome) {
	case Hit, Joined, Filled, Direct:
		return true
	case Copied:
		return Reason(r.Reason) == ReasonCannotClone
	case Bypassed:
	}
	return false
}

// clipped bounds a text, at the end of a character.
func clipped(s string) string {
	const most = 300 // bytes; very many requests may wait for the catalog, each with its detail
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// evictedKind is what the end of an eviction is called.
func evictedKind(e catalog.Entry) EventKind {
	switch {
	case e.State == catalog.Detached:
		return EventReaped
	case e.EvictCause == catalog.CauseGone:
		return EventVanished
	case e.EvictCause == catalog.CauseAdmin:
		return EventDeleted
	}
	return EventEvicted
}

// reached notes that a store answers, or does not, where that is news.
func (p *Plugin) reached(s *store, err error) {
	switch {
	case err == nil:
		if s.silent.CompareAndSwap(true, false) {
			p.note(catalog.Event{Kind: catalog.EventKind(EventBack), Backend: s.name})
		}
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
	case errors.Is(err, backends.ErrUnavailable):
		if s.silent.CompareAndSwap(false, true) {
			p.note(catalog.Event{Kind: catalog.EventKind(EventUnreachable), Backend: s.name, Detail: err.Error()})
		}
	}
}

// failure is why a fill came to nothing, in the word that requests are bypassed with, or refused.
func failure(err error) Reason {
	if why, aside := steppedAside(err); aside {
		return why.reason
	}
	for _, f := range failures() {
		if errors.Is(err, f.err) {
			return f.reason
		}
	}
	return ReasonCacheError
}

// failures are the words that the API has for the errors of usual. The first match counts.
func failures() []struct {
	err    error
	reason Reason
} {
	return []struct {
		err    error
		reason Reason
	}{
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "deadline_exceeded"},
		{ErrBadRequest, "bad_request"},
		{ErrUnknownBackend, "unknown_backend"},
		{ErrConflict, "volume_conflict"},
		{ErrTooSmall, "volume_too_small"},
		{backends.ErrTooSmall, "volume_too_small"},
		{backends.ErrBadName, "bad_name"},
		{diskimage.ErrRefused, "image_refused"},
		{imagesource.ErrNotFound, "image_not_found"},
		{imagesource.ErrForbidden, "image_forbidden"},
		{imagesource.ErrNotActive, "image_not_active"},
		{imagesource.ErrChanged, "image_changed"},
		{imagesource.ErrTruncated, "image_truncated"},
		{imagesource.ErrUnavailable, "image_source_unavailable"},
		{imagesource.ErrRefused, "image_reference_refused"},
		{imagesource.ErrDigestMismatch, "digest_mismatch"},
		{imagesource.ErrAmbiguous, "image_ambiguous"},
		{diskimage.ErrSourceLonger, "image_longer"},
	}
}
