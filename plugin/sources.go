package plugin

import (
	"fmt"
	"time"

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

// watch wraps sources, so that their health is known and logged.
func (p *Plugin) watch(sources []imagesource.Source) []imagesource.Source {
	var all []imagesource.Source
	for _, s := range sources {
		name := s.Name()
		w := imagesource.Watch(s, func(h imagesource.Health) {
			if h.Up {
				p.log.WithField("source", name).Info("image source answers again")
				return
			}
			p.log.WithField("source", name).WithError(h.Err).Warn("image source is down")
		})
		p.watched = append(p.watched, w)
		all = append(all, w)
	}
	return all
}

// Sources lists the image sources in the order of the configuration, and how each is. Nobody is asked.
func (p *Plugin) Sources() []SourceView {
	views := []SourceView{}
	for _, w := range p.watched {
		h := w.Health()
		v := SourceView{Name: w.Name(), State: "unknown", ServeStale: int64(w.StaleFor() / time.Second), StaleAnswers: h.StaleAnswers}
		switch {
		case h.Asked && h.Up:
			v.State = "up"
		case h.Asked:
			v.State = "down"
		}
		if h.Asked {
			since := h.Since.UTC()
			v.Since = &since
		}
		if h.Err != nil {
			v.Error = h.Err.Error()
		}
		views = append(views, v)
	}
	return views
}

// stale says since when the image's source does not answer; "" where it does.
func (q *request) stale() string {
	if q.image.StaleSince.IsZero() {
		return ""
	}
	return fmt.Sprintf("image source %s does not answer since %s; this is by what it said last", q.image.Source, q.image.StaleSince.UTC().Format(time.RFC3339))
}
