package api

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/clonecache/clonecache/plugin"
)

const eventStream = "text/event-stream"

// sseLine is one server-sent event. Its id is the event's, so that a browser which lost the connection asks for what came
// since; its type is the event's kind, and "error" at the end of the stream.
type sseLine struct{ eventLine }

// writeTo writes it in the form of the HTML standard. JSON has no line breaks.
func (l sseLine) writeTo(w io.Writer) error {
	kind, id, body := "error", "", any(l.Error)
	if l.Event != nil {
		kind, id, body = string(l.Event.Kind), fmt.Sprintf("id: %d\n", l.Event.ID), l.Event
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%sevent: %s\ndata: %s\n\n", id, kind, text)
	return err
}

// acceptsEvents tells whether a client wants server-sent events.
func acceptsEvents(accept string) bool { return strings.Contains(accept, eventStream) }

// lineOf is a line of a stream of events, as the client wants it.
func (in *eventsInput) lineOf(e *plugin.Event, err *Error) any {
	line := eventLine{Event: e, Error: err}
	if acceptsEvents(in.Accept) {
		return sseLine{line}
	}
	return line
}

// contentType is that of a stream of events.
func (in *eventsInput) contentType() string {
	if acceptsEvents(in.Accept) {
		return eventStream
	}
	return ndjson
}
