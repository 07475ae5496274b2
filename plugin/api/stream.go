package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

func unwrap(ctx huma.Context) (*http.Request, http.ResponseWriter) { return humago.Unwrap(ctx) }

// writePatience bounds how long a client may take for one line, or for an answer.
const writePatience = 30 * time.Second

// writeUntil is when a write that begins now must be done: patience is over then, or the time for which
// the client listens at all; zero: it did not say.
func writeUntil(listens time.Time) time.Time {
	until := time.Now().Add(writePatience)
	if !listens.IsZero() && listens.Before(until) {
		return listens
	}
	return until
}

// deliverJSON answers body as one JSON object, and returns once the connection has taken it. A client that
// is gone, or takes it too late, is an error; over TCP it may take a while until that is known.
func deliverJSON(w http.ResponseWriter, body any, listens time.Time) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(writeUntil(listens)); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)+1))
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(append(encoded, '\n')); err != nil {
		return err
	}
	if err := control.Flush(); err != nil {
		return err
	}
	_ = control.SetWriteDeadline(time.Time{}) // the client has the answer, whatever comes after it
	return nil
}

// lines answers as newline-delimited JSON while work runs; what work returns is the last line. Work runs
// in a goroutine that is waited for, and never waits for the client: of progress that comes faster than
// the client reads, the latest is sent. A client that takes no line for a while, or goes away, cancels
// work's ctx.
func (s *Server) lines(ctx context.Context, work func(context.Context, *lineWriter) any) *huma.StreamResponse {
	return s.stream(ctx, ndjson, work)
}

// stream is lines in another form, which the lines themselves know.
func (s *Server) stream(ctx context.Context, contentType string, work func(context.Context, *lineWriter) any) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_, w := unwrap(hctx)
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		out := newLineWriter()
		go func() {
			defer close(out.done)
			out.last(s.guarded(ctx, out, work))
		}()
		if err := out.pump(w); err != nil {
			s.logFor(ctx).WithError(err).Debug("a stream's client went away")
			cancel()
		}
		<-out.done
	}}
}

// guarded runs work, whose panic would end the daemon: it is in a goroutine of its own.
func (s *Server) guarded(ctx context.Context, out *lineWriter, work func(context.Context, *lineWriter) any) (last any) {
	defer func() {
		if cause := recover(); cause != nil {
			last = errorBody{s.panicked(ctx, cause)}
		}
	}()
	return work(ctx, out)
}

// lineWriter takes lines from work and hands them to the connection.
type lineWriter struct {
	news      chan struct{} // something is pending
	handovers chan handover
	done      chan struct{} // work is over
	gone      chan struct{} // nothing is written any more

	mu      sync.Mutex
	pending any // progress that was not sent yet
	final   any
}

func newLineWriter() *lineWriter {
	return &lineWriter{
		news: make(chan struct{}, 1), handovers: make(chan handover),
		done: make(chan struct{}), gone: make(chan struct{}),
	}
}

// handover is a line whose writer wants to know whether the client got it.
type handover struct {
	line    any
	listens time.Time // until when the client takes it; zero: it did not say
	result  chan error
}

// errClientGone: the stream had ended before the line could be written.
var errClientGone = errors.New("the client is gone")

// deliver writes a line for a client who listens until then, and returns once the connection has taken it.
func (l *lineWriter) deliver(line any, listens time.Time) error {
	h := handover{line, listens, make(chan error, 1)}
	select {
	case l.handovers <- h:
		return <-h.result
	case <-l.gone:
		return errClientGone
	}
}

// progress replaces progress that was not sent yet. It may be called from several goroutines.
func (l *lineWriter) progress(line any) {
	l.mu.Lock()
	l.pending = line
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default: // the pump has been told
	}
}

// last is the line that ends the stream.
func (l *lineWriter) last(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.final = line
}

// take returns what is to be sent now.
func (l *lineWriter) take() (line, final any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, l.pending = l.pending, nil
	return line, l.final
}

// pump writes lines until work is over.
func (l *lineWriter) pump(w http.ResponseWriter) error {
	defer close(l.gone)
	if err := writeLine(w, nil, writeUntil(time.Time{})); err != nil {
		return err
	}
	for {
		select {
		case <-l.news:
			line, _ := l.take()
			if err := writeLine(w, line, writeUntil(time.Time{})); err != nil {
				return err
			}
		case h := <-l.handovers:
			err := writeLine(w, h.line, writeUntil(h.listens))
			h.result <- err
			if err != nil {
				return err
			}
		case <-l.done:
			_, final := l.take()
			return writeLine(w, final, writeUntil(time.Time{}))
		}
	}
}

// encode writes a line as it wants to be written, or as JSON.
func encode(w io.Writer, line any) error {
	if own, is := line.(interface{ writeTo(w io.Writer) error }); is {
		return own.writeTo(w)
	}
	return json.NewEncoder(w).Encode(line)
}

// writeLine writes and flushes one line; nil flushes only.
func writeLine(w http.ResponseWriter, line any, until time.Time) error {
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(until); err != nil {
		return err
	}
	if line != nil {
		if err := encode(w, line); err != nil {
			return err
		}
	}
	if err := control.Flush(); err != nil {
		return err
	}
	return control.SetWriteDeadline(time.Time{})
}
