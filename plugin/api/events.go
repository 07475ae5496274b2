package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// EventsRequest selects events.
type EventsRequest struct {
	Since   string        // an event's ID: later ones; a span back from now, or an RFC 3339 time; "": all that are kept
	Backend backends.Name // "": all
	Kinds   []plugin.EventKind
	Limit   int  // 0: no limit; not for a stream of events
	Newest  bool // the limit leaves the newest, not the oldest
}

func (r EventsRequest) query() url.Values {
	query := url.Values{}
	setQuery(query, "since", r.Since)
	setQuery(query, "backend", string(r.Backend))
	var kinds []string
	for _, k := range r.Kinds {
		kinds = append(kinds, string(k))
	}
	setQuery(query, "kind", strings.Join(kinds, ","))
	setFlag(query, "newest", r.Newest && r.Limit > 0)
	return query
}

type eventsInput struct {
	Accept  string        `header:"Accept" hidden:"true"`
	LastID  string        `header:"Last-Event-ID" maxLength:"32" hidden:"true"`
	Since   string        `query:"since" maxLength:"64" doc:"An event's ID: later ones; or those since a span back from now (90m, 24h, 7d), or an RFC 3339 time. Default: all that are kept" example:"24h"`
	Backend backends.Name `query:"backend" doc:"The backend or file cache that they happened on. Default: all"`
	Kind    string        `query:"kind" maxLength:"1024" doc:"Kinds, with commas between them. Default: all"`
	Limit   int           `query:"limit" minimum:"0" maximum:"1000000" doc:"At most so many, the oldest; the next page is since the last one's ID. Default: no limit"`
	Newest  bool          `query:"newest" doc:"The limit leaves the newest; they are listed oldest first all the same"`
	Follow  bool          `query:"follow" doc:"Go on with new events as they come: one JSON object a line, with event, or at the end error"`
}

// eventLine is one line of a stream of events.
type eventLine struct {
	Event *plugin.Event `json:"event,omitempty"`
	Error *Error        `json:"error,omitempty"`
}

func (s *Server) eventRoutes() {
	op := get("list-events", "/v1/events", "What happened, oldest first")
	schemas := s.api.OpenAPI().Components.Schemas
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The events; with follow=true one JSON object a line, for each event that there is and that comes, until an error",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: huma.TypeArray, Items: schemas.Schema(reflect.TypeFor[plugin.Event](), true, "")}},
			ndjson:             {Schema: schemas.Schema(reflect.TypeFor[eventLine](), true, "")},
			eventStream:        {Schema: &huma.Schema{Type: huma.TypeString, Description: "Server-sent events: id is the event's, the type its kind, data the event as JSON. Last-Event-ID goes before since"}},
		},
	}}
	route(s, op, s.listEvents)
}

func (s *Server) listEvents(ctx context.Context, svc Service, in *eventsInput) (*huma.StreamResponse, error) {
	if in.LastID != "" {
		in.Since = in.LastID
	}
	filter, err := in.filter(s.cfg.Now())
	if err != nil {
		return nil, err
	}
	if !in.Follow && !acceptsEvents(in.Accept) {
		events, err := svc.Events(ctx, filter)
		if err != nil {
			return nil, err
		}
		return whole(notNull(events)), nil
	}
	return s.stream(ctx, in.contentType(), func(ctx context.Context, out *lineWriter) any {
		welcome, end := s.whileWelcome(ctx)
		defer end()
		err := svc.FollowEvents(welcome, filter, func(e plugin.Event) error {
			return out.deliver(in.lineOf(&e, nil), time.Time{})
		})
		if ctx.Err() == nil && welcome.Err() != nil {
			err = context.Cause(welcome)
		}
		return in.lineOf(nil, s.fail(ctx, http.MethodGet, err))
	}), nil
}

func (in *eventsInput) filter(now time.Time) (plugin.EventFilter, error) {
	f := plugin.EventFilter{Backend: in.Backend, Limit: in.Limit, Newest: in.Newest}
	known := plugin.EventKinds()
	for _, kind := range strings.FieldsFunc(in.Kind, func(r rune) bool { return r == ',' }) {
		k := plugin.EventKind(kind)
		if !slices.ContainsFunc(known, func(one plugin.KindOfEvent) bool { return one.Kind == k }) {
			return f, fmt.Errorf("%w: kind: there is no %q; there are %s", plugin.ErrBadRequest, kind, eventWords())
		}
		f.Kinds = append(f.Kinds, k)
	}
	if id, err := strconv.ParseInt(in.Since, 10, 64); err == nil && id >= 0 {
		f.After = id
		return f, nil
	}
	var err error
	f.Since, err = parseSince(in.Since, now)
	return f, err
}

// eventWords are the kinds of events, for people.
func eventWords() string {
	var words []string
	for _, k := range plugin.EventKinds() {
		words = append(words, string(k.Kind))
	}
	return strings.Join(words, ", ")
}
