package plugin

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// SourceView is one image source, as people and programs see it.
type SourceView struct {
	Name         string     `json:"name" doc:"The SOURCE in SOURCE:ID"`
	State        string     `json:"state" enum:"up,down,unknown" doc:"Whether it answered what it was asked last; unknown: it was not asked yet"`
	Since        *time.Time `json:"since,omitempty" doc:"Since when it is so"`
	Error        string     `json:"error" doc:"Why it is down; empty where it is not"`
	ServeStale   int64      `json:"serve_stale_seconds" doc:"How long hits go on after it stopped answering; 0: not at all"`
	StaleAnswers int64      `json:"stale_answers" doc:"How often it was answered for while it was down"`
}

// sources are the image sources of now, each watched, so that its health is known and logged. Others may take their place
// while requests are served: who has found a source goes on with it.
type sources struct {
	log      logrus.FieldLogger
	changing sync.Mutex // held by who puts others in their place
	now      atomic.Pointer[sourceSet]
}

// sourceSet are the sources of one configuration. It is never changed.
type sourceSet struct {
	*imagesource.Resolver
	watched  []*imagesource.Watched // in the order of the configuration
	freshFor map[string]time.Duration
}

func newSources(log logrus.FieldLogger, all []imagesource.Source, freshFor map[string]time.Duration) (*sources, error) {
	s := &sources{log: log}
	set, err := s.setOf(all, freshFor)
	s.now.Store(set)
	return s, err
}

// setOf makes a set. A source that is there now stays as it is, with what is known of it.
func (s *sources) setOf(all []imagesource.Source, freshFor map[string]time.Duration) (_ *sourceSet, err error) {
	set := &sourceSet{freshFor: freshFor}
	wrapped := make([]imagesource.Source, 0, len(all))
	for _, source := range all {
		w := s.watching(source)
		if w == nil {
			w = imagesource.Watch(source, tellHealth(s.log.WithField("source", source.Name())))
		}
		set.watched, wrapped = append(set.watched, w), append(wrapped, w)
	}
	set.Resolver, err = imagesource.NewResolver(wrapped)
	return set, err
}

// watching is what watches a source now, or nil.
func (s *sources) watching(source imagesource.Source) *imagesource.Watched {
	for _, w := range s.watched() {
		if is := w.Underlying(); reflect.ValueOf(is).Comparable() && reflect.ValueOf(source).Comparable() && is == source {
			return w
		}
	}
	return nil
}

// watched are the sources of now, in the order of the configuration.
func (s *sources) watched() []*imagesource.Watched {
	if set := s.now.Load(); set != nil {
		return set.watched
	}
	return nil
}

// called is the source of that name, or nil.
func (s *sources) called(name string) *imagesource.Watched {
	for _, w := range s.watched() {
		if w.Name() == name {
			return w
		}
	}
	return nil
}

// Resolve is the Resolver's, among the sources of now.
func (s *sources) Resolve(ctx context.Context, ref string) (imagesource.Source, string, error) {
	return s.now.Load().Resolve(ctx, ref)
}

// freshFor is, by the name of a source, how long its images are taken for what they were.
func (s *sources) freshFor() map[string]time.Duration { return s.now.Load().freshFor }

// change puts other sources in the place of those of now; nil: it changes nothing. Either undo or done ends the change,
// and lets the next one begin. ErrBadRequest.
func (s *sources) change(all []imagesource.Source, freshFor map[string]time.Duration) (undo, done func(), err error) {
	s.changing.Lock()
	was := s.now.Load()
	next := was
	if all != nil {
		if next, err = s.setOf(all, freshFor); err != nil {
			s.changing.Unlock()
			return nil, nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
	}
	s.now.Store(next)
	return func() { s.end(was, next) }, func() { s.end(next, was) }, nil
}

// end ends a change: those that stay are the sources of now, and those of them that left are retired.
func (s *sources) end(stay, left *sourceSet) {
	s.now.Store(stay)
	for _, w := range left.watched {
		if !slices.Contains(stay.watched, w) {
			w.Retire()
		}
	}
	s.changing.Unlock()
}

// tellHealth logs that a source answers again, or does not.
func tellHealth(log logrus.FieldLogger) func(imagesource.Health) {
	return func(h imagesource.Health) {
		if h.Up {
			log.Info("image source answers again")
			return
		}
		log.WithError(h.Err).Warn("image source is down")
	}
}

// close ends what the sources keep open.
func (s *sources) close() {
	for _, w := range s.watched() {
		w.Close()
	}
}

// Sources lists the image sources in the order of the configuration, and how each is. Nobody is asked.
func (p *Plugin) Sources() []SourceView { return p.ladder.sourceViews() }

// closeSources ends what the sources keep open.
func (l *ladder) closeSources() { l.sources.close() }

// changeSources is change, of the sources that all parts ask.
func (l *ladder) changeSources(all []imagesource.Source, freshFor map[string]time.Duration) (undo, done func(), err error) {
	return l.sources.change(all, freshFor)
}

// sourceViews is Sources.
func (l *ladder) sourceViews() []SourceView {
	watched := l.sources.watched()
	views := make([]SourceView, 0, len(watched))
	for _, w := range watched {
		views = append(views, sourceView(w))
	}
	return views
}

func sourceView(w *imagesource.Watched) SourceView {
	h := w.Health()
	v := SourceView{Name: w.Name(), State: "unknown", ServeStale: int64(w.StaleFor() / time.Second), StaleAnswers: h.StaleAnswers}
	if h.Asked {
		since := h.Since.UTC()
		v.State, v.Since = "down", &since
	}
	if h.Asked && h.Up {
		v.State = "up"
	}
	if h.Err != nil {
		v.Error = h.Err.Error()
	}
	return v
}

// stale says since when the image's source does not answer; "" where it does.
func (q *request) stale() string {
	if q.image.StaleSince.IsZero() {
		return ""
	}
	return fmt.Sprintf("image source %s does not answer since %s; this is by what it said last", q.image.Source, q.image.StaleSince.UTC().Format(time.RFC3339))
}
