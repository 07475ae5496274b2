package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

func unwrap(ctx huma.Context) (*http.Request, http.ResponseWriter) { return humago.Unwrap(ctx) }

// lines answers as newline-delimited JSON while work runs; what work returns is the last line. Work runs
// in a goroutine that is waited for, and never waits for the client: of progress that comes faster than
// the client reads, the latest is sent. A client that takes no line for a while, or goes away, cancels
// work's ctx.
func (s *Server) lines(ctx context.Context, work func(context.Context, *lineWriter) any) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_, w := unwrap(hctx)
		w.Header().Set("Content-Type", ndjson)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		out := &lineWriter{news: make(chan struct{}, 1), done: make(chan struct{})}
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
	news chan struct{} // something is pending
	done chan struct{} // work is over

	mu      sync.Mutex
	pending any // progress that was not sent yet
	final   any
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
	if err := writeLine(w, nil); err != nil {
		return err
	}
	for {
		select {
		case <-l.news:
			line, _ := l.take()
			if err := writeLine(w, line); err != nil {
				return err
			}
		case <-l.done:
			_, final := l.take()
			return writeLine(w, final)
		}
	}
}

// writeLine writes and flushes one line; nil flushes only.
func writeLine(w http.ResponseWriter, line any) error {
	const patience = 30 * time.Second
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if line != nil {
		if err := json.NewEncoder(w).Encode(line); err != nil {
			return err
		}
	}
	if err := control.Flush(); err != nil {
		return err
	}
	return control.SetWriteDeadline(time.Time{})
}
