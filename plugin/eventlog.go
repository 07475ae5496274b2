package plugin

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

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
func (b *books) note(e catalog.Event) {
	if e.At.IsZero() {
		e.At = b.now().UTC()
	}
	e.Detail = clipped(e.Detail)
	b.events.add(e)
}

// due is told when something was noted that is to be written soon.
func (b *books) due() <-chan struct{} { return b.events.kick }

// ended is closed when the cache closes.
func (b *books) ended() <-chan struct{} { return b.events.ended }

// lastEvent writes what was noted, and lets those who follow events go once they have it all. No more come.
func (b *books) lastEvent(ctx context.Context) {
	b.writeNow(ctx)
	close(b.events.ended)
}

// noteEntry notes what happened to an entry.
func (b *books) noteEntry(kind EventKind, e catalog.Entry, more catalog.Event) {
	more.Kind, more.Backend, more.Entry = kind, b.label(e.Store), e.ID
	if len(e.ImageIDs) > 0 {
		more.ImageID = e.ImageIDs[0]
	}
	if more.Detail == "" && e.ImageVolume != "" {
		more.Detail = "image-volume " + string(e.ImageVolume)
	}
	b.note(more)
}

// eventsOf are the events of answered requests and those that were noted, in the order of their times.
func (b *books) eventsOf(requests []catalog.Request, noted []catalog.Event) []catalog.Event {
	if b.events.max == 0 {
		return nil
	}
	all := make([]catalog.Event, 0, len(requests)+len(noted))
	for _, r := range requests {
		all = append(all, eventOf(r))
	}
	all = append(all, noted...)
	for i := range all {
		all[i].Host = string(b.holder.Instance)
	}
	slices.SortStableFunc(all, func(a, b catalog.Event) int { return a.At.Compare(b.At) })
	return all
}

// eventOf is the event of an answered request, or of several that were added up.
func eventOf(r catalog.Request) catalog.Event {
	e := catalog.Event{
		Seq: r.Seq, At: r.At, Kind: requestKind(r.Outcome), Routine: routine(r), Backend: r.Backend, ImageID: r.ImageID,
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
func requestKind(o Outcome) EventKind {
	if o == Filled {
		return EventMiss
	}
	return EventKind(o)
}

// routine tells that nothing is out of the ordinary about a request, and that there may be very many alike.
func routine(r catalog.Request) bool {
	switch r.Outcome {
	case Hit, Joined, Filled, Direct:
		return true
	case Copied:
		return r.Reason == ReasonCannotClone
	case Bypassed:
	}
	return false
}

const (
	// mostDetail bounds what an event says, in bytes: very many requests may wait for the catalog, each with its detail.
	mostDetail = 303
	// mostWho bounds who is named, in bytes: the narrowest of the catalog's columns has as many characters.
	mostWho = 255
)

// clipped bounds a text of a person's or a program's to mostDetail.
func clipped(s string) string { return clippedTo(mostDetail, s) }

// clippedTo bounds a text to so many bytes, at the end of a character.
func clippedTo(most int, s string) string {
	const more = "…"
	if len(s) <= most-len(more) {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(more)], "") + more
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
