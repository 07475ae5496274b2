package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// VolumeStory is all that is known of one volume.
type VolumeStory struct {
	Backend backends.Name       `json:"backend"`
	Volume  backends.VolumeName `json:"volume"`
	Exists  bool                `json:"exists" doc:"The backend has it"`
	Unseen  string              `json:"unseen" doc:"Why nobody knows whether the backend has it; empty where it was asked"`
	// What it is made from, by the volume itself, or by its request where it is not there.
	ImageID   string `json:"image_id" doc:"SOURCE:ID of the image that it was made from, or was to be; empty where nobody knows"`
	EntryID   string `json:"entry_id" doc:"The cache entry that it was made from; empty where there was none, or nobody knows"`
	SizeBytes int64  `json:"size_bytes" doc:"0 where it is not there"`
	DependsOn string `json:"depends_on" doc:"The image-volume, or the image's location, whose blocks it still shares; empty where it depends on nothing"`

	Requests []Event    `json:"requests" doc:"The requests for it, the oldest first: what each came to, why, and how long it waited (took_ms)"`
	Before   []Event    `json:"before" doc:"What had happened to its image on this backend before the request that made it, the newest last: an eviction says for what, a fill that failed why"`
	Fills    []Event    `json:"fills" doc:"The fill of its entry, and the other requests that waited for it"`
	After    []Event    `json:"after" doc:"What became of its entry, and of the volume, afterwards"`
	Entry    *EntryView `json:"entry" doc:"Its entry as it is now; null where that is gone, or there was none"`
}

// beforeMost bounds VolumeStory.Before, and each other list of events of a story.
const (
	beforeMost = 5
	storyMost  = 50
)

// ErrNoStory: there is no such volume, nor anything to tell of one. It is a backends.ErrNotExist.
var ErrNoStory error = noStory{}

type noStory struct{}

func (noStory) Error() string { return "there is no such volume, and no event tells of one" }
func (noStory) Unwrap() error { return backends.ErrNotExist }

// ExplainVolume tells the story of a volume of a backend ("": the only one), of one that is gone or was never made too, as
// long as its events are kept, and on a backend that has left the configuration since. ErrNoStory: nothing is known of it.
// ErrUnknownBackend, ErrBadRequest: no name.
func (c Controls) ExplainVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) (VolumeStory, error) {
	if volume == "" { // each event that names none would be one of it
		return VolumeStory{}, fmt.Errorf("%w: volume: a name is needed", ErrBadRequest)
	}
	l := c.p.ladder
	story := VolumeStory{Backend: backend, Volume: volume, Before: []Event{}, Fills: []Event{}, After: []Event{}}
	s, unknown := l.stock.backendNamed(backend)
	switch {
	case unknown == nil:
		story.Backend = s.name
		if err := l.seen(ctx, s, &story); err != nil {
			return VolumeStory{}, err
		}
	case backend == "":
		return VolumeStory{}, unknown
	default:
		story.Unseen = string(backend) + " is in the configuration no more"
	}
	if err := l.books.flushToRead(ctx); err != nil {
		return VolumeStory{}, err
	}
	of, err := l.ofVolume(ctx, story.Backend, volume)
	if err != nil {
		return VolumeStory{}, err
	}
	story.Requests = []Event{}
	for _, e := range of {
		if e.Outcome != "" {
			story.Requests = append(story.Requests, e)
		} else {
			story.After = append(story.After, e)
		}
	}
	if !story.Exists && len(of) == 0 {
		return VolumeStory{}, cmp.Or(unknown, fmt.Errorf("%w: %s on %s; a request that ended with its daemon leaves no event but its fill's (fill_failed, interrupted): make the volume again", ErrNoStory, volume, story.Backend))
	}
	return story, l.addEntry(ctx, &story)
}

// ofVolume are the events of a volume, the oldest first: those that name its backend, and what somebody asked for who named none,
// since there was one alone.
func (l *ladder) ofVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) ([]Event, error) {
	of, err := l.books.selectEvents(ctx, catalog.EventFilter{Volume: volume, Backend: backend, Limit: storyMost, Newest: true})
	if err != nil {
		return nil, err
	}
	acts, err := l.books.selectEvents(ctx, catalog.EventFilter{Volume: volume, Kinds: []EventKind{EventActed}, Limit: storyMost, Newest: true})
	for _, e := range acts {
		if e.Backend == "" {
			of = append(of, e)
		}
	}
	slices.SortFunc(of, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	return of, err
}

// seen says what the volume says of itself, or why its backend was not to be asked. One that is another one's is none.
func (l *ladder) seen(ctx context.Context, s *store, story *VolumeStory) error {
	v, err := s.backend.StatVolume(ctx, story.Volume)
	if errors.Is(err, backends.ErrUnavailable) {
		story.Unseen = string(s.name) + " does not answer"
		return nil
	}
	if errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrNotOurs) {
		return nil
	}
	if errors.Is(err, backends.ErrExist) {
		err = severalOfName(s, story.Volume, err)
	}
	if err != nil {
		return err
	}
	story.Exists, story.SizeBytes, story.DependsOn = true, v.SizeBytes, v.DependsOn
	story.ImageID, story.EntryID = v.Origin.ImageID, string(v.Origin.EntryID)
	return nil
}

// addEntry adds what the events tell of the entry and of the image.
func (l *ladder) addEntry(ctx context.Context, story *VolumeStory) error {
	made := story.madeBy()
	if story.ImageID == "" {
		story.ImageID, story.EntryID = made.ImageID, made.EntryID
	}
	if err := l.addBefore(ctx, story, made); err != nil || story.EntryID == "" {
		return err
	}
	of, err := l.ofEntry(ctx, EntryID(story.EntryID))
	if err != nil {
		return err
	}
	for _, e := range of {
		switch {
		case e.Volume == story.Volume && e.Backend == story.Backend:
		case e.Kind == EventFilled, e.Kind == EventFillFailed, e.Kind == EventJoined, e.Kind == EventMiss:
			story.Fills = append(story.Fills, e)
		case e.Outcome == "" && !e.At.Before(made.At):
			story.After = append(story.After, e)
		}
	}
	slices.SortStableFunc(story.After, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	view, err := l.stock.show(ctx, story.EntryID)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil
	}
	story.Entry = &view
	return err
}

// ofEntry are the events of an entry that a story tells, the oldest first. Requests that were served from it are none of them, and
// those that waited for its fill are asked for by themselves: however many there are, the fill is told.
func (l *ladder) ofEntry(ctx context.Context, id EntryID) ([]Event, error) {
	joined, err := l.books.selectEvents(ctx, catalog.EventFilter{Entry: id, Kinds: []EventKind{EventJoined}, Limit: storyMost, Newest: true})
	if err != nil {
		return nil, err
	}
	rest := kindsBut(EventJoined, EventHit, EventCopied, EventDirect, EventBypassed)
	of, err := l.books.selectEvents(ctx, catalog.EventFilter{Entry: id, Kinds: rest, Limit: storyMost, Newest: true})
	of = append(of, joined...)
	slices.SortFunc(of, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	return of, err
}

// kindsBut are all kinds of events but some.
func kindsBut(some ...EventKind) []EventKind {
	var kinds []EventKind
	for _, k := range EventKinds() {
		if !slices.Contains(some, k.Kind) {
			kinds = append(kinds, k.Kind)
		}
	}
	return kinds
}

// madeBy is the request that made the volume, or the last one for it.
func (v VolumeStory) madeBy() Event {
	for i := len(v.Requests) - 1; i >= 0; i-- {
		if e := v.Requests[i]; e.Outcome != Bypassed && e.Reason != ReasonRepeated {
			return e
		}
	}
	if n := len(v.Requests); n > 0 {
		return v.Requests[n-1]
	}
	return Event{}
}

// addBefore adds what had happened to the image before it had to be filled, or could not be.
func (l *ladder) addBefore(ctx context.Context, story *VolumeStory, made Event) error {
	if story.ImageID == "" || made.Outcome == Hit {
		return nil
	}
	kinds := []EventKind{
		EventFilled, EventFillFailed, EventEvicted, EventDetached, EventDeleted, EventVanished, EventQuarantined, EventMended,
	}
	of, err := l.books.selectEvents(ctx, catalog.EventFilter{ImageID: story.ImageID, Kinds: kinds, Limit: storyMost, Newest: true})
	if err != nil {
		return err
	}
	begun := made.At.Add(-time.Duration(made.TookMS * float64(time.Millisecond)))
	for _, e := range of {
		if l.concerns(story.Backend, e.Backend) && (made.At.IsZero() || e.At.Before(begun)) {
			story.Before = append(story.Before, e)
		}
	}
	story.Before = story.Before[max(0, len(story.Before)-beforeMost):]
	return nil
}

// concerns tells whether something that happened on a store matters to the volumes of a backend: it is that, or its file
// cache.
func (l *ladder) concerns(backend, on backends.Name) bool {
	s := l.stock.named(backend)
	return on == backend || s != nil && s.fallback != nil && s.fallback.name == on
}

// EntryEvents are what happened to one entry, but for hits, the oldest first: as many as are kept, 50 at most. The entry may be gone.
func (c Controls) EntryEvents(ctx context.Context, id string) ([]Event, error) {
	l := c.p.ladder
	if err := l.books.flushToRead(ctx); err != nil {
		return nil, err
	}
	if e, err := l.stock.entry(ctx, id); err == nil {
		id = string(e.ID)
	}
	return l.books.selectEvents(ctx, catalog.EventFilter{Entry: EntryID(id), Kinds: kindsBut(EventHit), Limit: storyMost, Newest: true})
}
