package plugin

import (
	"fmt"
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

// sources are the image sources, each watched, so that its health is known and logged.
type sources struct {
	*imagesource.Resolver
	watched []*imagesource.Watched // in the order of the configuration
}

func newSources(log logrus.FieldLogger, all []imagesource.Source) (*sources, error) {
	s := &sources{}
	wrapped := make([]imagesource.Source, 0, len(all))
	for _, source := range all {
		w := imagesource.Watch(source, tellHealth(log.WithField("source", source.Name())))
		s.watched, wrapped = append(s.watched, w), append(wrapped, w)
	}
	var err error
	s.Resolver, err = imagesource.NewResolver(wrapped)
	return s, err
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
	for _, w := range s.watched {
		w.Close()
	}
}

// Sources lists the image sources in the order of the configuration, and how each is. Nobody is asked.
func (p *Plugin) Sources() []SourceView { return p.ladder.sourceViews() }

// closeSources ends what the sources keep open.
func (l *ladder) closeSources() { l.sources.close() }

// sourceViews is Sources.
func (l *ladder) sourceViews() []SourceView {
	views := make([]SourceView, 0, len(l.sources.watched))
	for _, w := range l.sources.watched {
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
