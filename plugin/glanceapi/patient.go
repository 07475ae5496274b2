package glanceapi

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A client that takes nothing holds what it reads: memory, and the space of a file that was evicted meanwhile.

const (
	// patience is how long a client may take for each pace, and for the next bytes of what it sends: as long as Glance waits
	// (client_socket_timeout).
	patience = 15 * time.Minute
	pace     = 1 << 20
)

// patient writes to a client as long as that goes on.
type patient struct {
	http.ResponseWriter
	limit time.Duration
}

// Write implements io.Writer.
func (p patient) Write(b []byte) (int, error) {
	p.goOn(time.Now().Add(p.limit))
	return p.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom: a file goes to the connection without a copy in memory, which an io.LimitedReader in
// another one would prevent.
func (p patient) ReadFrom(from io.Reader) (written int64, err error) {
	limited, is := from.(*io.LimitedReader)
	if !is {
		limited = &io.LimitedReader{R: from, N: 1<<63 - 1}
	}
	for limited.N > 0 {
		p.goOn(time.Now().Add(p.limit))
		n, err := io.CopyN(p.ResponseWriter, limited.R, min(pace, limited.N))
		written, limited.N = written+n, limited.N-n
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Unwrap is for http.ResponseController.
func (p patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// done lets the connection be used for other requests, once all that was written is on its way.
func (p patient) done() {
	_ = http.NewResponseController(p.ResponseWriter).Flush()
	p.goOn(time.Time{})
}

// goOn is when the client is given up. A connection that knows no such time is a test's.
func (p patient) goOn(until time.Time) {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(until)
}

// patientBody reads a request's body as long as it comes, so that nobody holds a connection by one that he does not send.
type patientBody struct {
	io.ReadCloser
	w     http.ResponseWriter
	limit time.Duration
}

// bodyOf is the body of a request, which has begun to be waited for, whether anybody reads it or not.
func bodyOf(r *http.Request, w http.ResponseWriter, limit time.Duration) io.ReadCloser {
	if r.Body == nil || r.Body == http.NoBody {
		return r.Body
	}
	b := patientBody{r.Body, w, limit}
	b.goOn(time.Now().Add(limit))
	return b
}

// Read implements io.Reader. Behind the end of the body the connection is waited for as long as the answer takes.
func (b patientBody) Read(p []byte) (int, error) {
	b.goOn(time.Now().Add(b.limit))
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.goOn(time.Time{})
	}
	return n, err
}

// dropBody reads what nobody wants of a request: the time for that is over then, before a long answer begins, which would end with it.
func dropBody(r *http.Request) {
	const most = 64 << 10
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, most)) // what does not come is not waited for any more
	}
}

// goOn is when the client is given up, as patient's.
func (b patientBody) goOn(until time.Time) {
	_ = http.NewResponseController(b.w).SetReadDeadline(until)
}
