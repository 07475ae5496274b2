package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/report"
)

// overviewData is what the overview shows.
type overviewData struct {
	pageBase
	Wrong      []wrong
	Spans      []string
	Since      string
	Report     report.Report
	Ratio      string
	Course     courseData
	Times      []outcomeTime
	Backends   []plugin.BackendView
	QuotaKnown bool
	Quotas     []namedQuota
	Hosts      []plugin.HostView
}

type namedQuota struct {
	Name string
	plugin.QuotaAmounts
}

// overviewPage shows how the cache is and what it did. What others do not answer is left out, and said.
func (s *Server) overviewPage(svc Service, r *http.Request, b pageBase) (string, any, error) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	b.Title, b.At = "Overview", "overview"
	d := overviewData{pageBase: b, Spans: []string{"1h", "24h", "7d", "30d"}, Since: r.URL.Query().Get("since"), Times: s.times()}
	if d.Since == "" {
		d.Since = "24h"
	}
	since, err := parseSince(d.Since, s.cfg.Now())
	if err != nil {
		return "", nil, err
	}
	if d.Report, err = svc.Report(ctx, "", since); err != nil {
		return "", nil, err
	}
	course, err := svc.Course(ctx, since, s.cfg.Now())
	if err != nil {
		return "", nil, err
	}
	d.Course = shownCourse(course)
	d.Ratio = "–"
	if ratio := d.Report.Total.HitRatio; ratio != nil {
		d.Ratio = shownPercent(*ratio)
	}
	if d.Backends, err = svc.Backends(ctx); err != nil {
		return "", nil, err
	}
	if d.Hosts, err = svc.Hosts(ctx); err != nil {
		return "", nil, err
	}
	if q, err := svc.QuotaUse(ctx); err == nil {
		d.QuotaKnown, d.Quotas = true, []namedQuota{{"Volumes", q.Volumes}, {"GiB", q.Gigabytes}}
	}
	d.Wrong = s.wrongs(ctx, svc, d)
	return "overview", d, nil
}

// fillsData is what the page of fills shows, and its part that is asked for again and again.
type fillsData struct {
	pageBase
	Fills []plugin.FillView
	Queue []plugin.QueuedView
}

func (s *Server) fillsPage(svc Service, r *http.Request, b pageBase) (string, any, error) {
	b.Title, b.At = "Fills and queue", "fills"
	d := fillsData{pageBase: b}
	var err error
	if d.Fills, err = svc.AllFills(r.Context()); err != nil {
		return "", nil, err
	}
	if d.Queue, err = svc.Queued(r.Context()); err != nil {
		return "", nil, err
	}
	if r.URL.Query().Get("part") != "" {
		return "fillspart", d, nil
	}
	return "fills", d, nil
}

// eventsData is what the page of events shows: the newest first.
type eventsData struct {
	pageBase
	Events []plugin.Event
	Last   int64
	Kinds  string // with spaces between them
}

func (s *Server) eventsPage(svc Service, r *http.Request, b pageBase) (string, any, error) {
	const shown = 100
	b.Title, b.At = "Events", "events"
	events, err := svc.Events(r.Context(), plugin.EventFilter{Limit: shown, Newest: true})
	if err != nil {
		return "", nil, err
	}
	d := eventsData{pageBase: b}
	for _, e := range events {
		d.Last = max(d.Last, e.ID)
		d.Events = append([]plugin.Event{e}, d.Events...)
	}
	d.Kinds = strings.ReplaceAll(eventWords(), ",", "")
	return "events", d, nil
}
