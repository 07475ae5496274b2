package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

const requestIDHeader = "X-Request-Id"

// requestIDKey finds a request's ID in its context.
type requestIDKey struct{}

// requestIDForm is what a caller's own request ID may be.
var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ServeHTTP answers one request: it gives it an ID, bounds the time for its body, and hands it to its route, which
// reads the body once it has let the caller in. A panic is answered as an internal error and logged.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(requestIDHeader)
	if !requestIDForm.MatchString(id) {
		id = "req-" + rand.Text()
	}
	w.Header().Set(requestIDHeader, id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
	defer s.recovered(w, r)
	if err := s.boundBody(w, r); err != nil {
		s.refuse(w, r, err)
		return
	}
	if !plainPath(r.URL) { // the mux would redirect it, and DELETE /v1/entries/. would delete them all
		s.noRoute(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// plainPath tells whether each part of a URL's path names something: it is not empty, "." or "..", in no
// spelling.
func plainPath(u *url.URL) bool {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	return !slices.ContainsFunc(parts, func(part string) bool {
		part, err := url.PathUnescape(part)
		return err != nil || part == "" || part == "." || part == ".."
	})
}

// noRoute answers that nothing is at a request's path.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, noSuchRoute.answer(
		fmt.Sprintf("there is no %s %s here; /v1/openapi.json describes what there is", r.Method, r.URL.Path)))
}

// hasBody tells whether a request brings a body.
func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// boundBody bounds the time for a body, also for one that is thrown away since its request is refused.
func (s *Server) boundBody(w http.ResponseWriter, r *http.Request) error {
	if !hasBody(r) {
		return nil
	}
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.BodyTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("bound the time for the body: %w", err)
	}
	return nil
}

// takeBody reads the whole body of a request that was let in, so that its deadline is over before the request's work begins: a
// deadline that passes later would look like the client going away.
func (s *Server) takeBody(w http.ResponseWriter, r *http.Request) error {
	if !hasBody(r) {
		return nil
	}
	most := s.maxBody(r)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge.answer(fmt.Sprintf("the request's body is over %d bytes", most))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return bodyTimeout.answer(fmt.Sprintf("the request's body did not arrive within %v", s.cfg.BodyTimeout))
	case err != nil:
		return &Error{Code: "bad_request", Status: http.StatusBadRequest, Message: "the request's body could not be read"}
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("lift the bound for the body: %w", err)
	}
	if int64(len(body)) > s.cfg.MaxBodyBytes && !fewValues(body) {
		return bodyTooLarge.answer(fmt.Sprintf("the request's body has over %d values in it", mostValues))
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// dropBody throws the body of a request away that was not let in, in small pieces, so that its client reads the answer.
func (s *Server) dropBody(r *http.Request) {
	if hasBody(r) {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, s.maxBody(r))) // what does not come is not waited for any more
	}
}

// longBodies are the routes whose bodies may be longer than others', in bytes: ten thousand images have names.
var longBodies = map[string]int64{prefetchPath: 8 << 20}

// mostValues bounds what a long body consists of: ten thousand images, where they are to be, and some more.
const mostValues = 20_000

// fewValues tells whether a long body has few values for its length. Each value that is wrong is looked at and told of by itself,
// so that millions of them would take a hundred times the body's memory. What is no JSON is told by who reads it.
func fewValues(body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for range mostValues {
		if _, err := d.Token(); err != nil {
			return true
		}
	}
	return false
}

// maxBody bounds a request's body, in bytes.
func (s *Server) maxBody(r *http.Request) int64 {
	return max(s.cfg.MaxBodyBytes, longBodies[r.URL.Path])
}

func (s *Server) recovered(w http.ResponseWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	writeJSON(w, http.StatusInternalServerError, errorBody{s.panicked(r.Context(), cause)})
}

// panicked logs a panic and is its answer.
func (s *Server) panicked(ctx context.Context, cause any) *Error {
	s.logFor(ctx).WithField("stack", string(debug.Stack())).Errorf("panic while serving: %v", cause)
	return withID(ctx, &Error{Code: internal.code, Status: internal.status, Message: internal.sentence})
}

// refuse answers err outside of the described routes.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := withID(r.Context(), Explain(err))
	writeJSON(w, e.Status, errorBody{e})
}

// fail turns what a route's work returned into the answer for the user, and logs the chain for the
// operator, who finds it by the request's ID. Requests that only look are logged where something is
// wrong here.
func (s *Server) fail(ctx context.Context, method string, err error) *Error {
	e := withID(ctx, Explain(err))
	log := s.logFor(ctx).WithField("code", e.Code).WithError(err)
	switch {
	case e.Code == internal.code:
		log.Error("request failed")
	case e.Status >= http.StatusInternalServerError:
		log.Warn("request failed")
	case e.Status == StatusClientClosed || method == http.MethodGet:
		log.Debug("request refused")
	default:
		log.Info("request refused")
	}
	return e
}

func (s *Server) logFor(ctx context.Context) logrus.FieldLogger {
	return s.log.WithField("request", requestID(ctx))
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// withID returns a copy of e with the request's ID and a status.
func withID(ctx context.Context, e *Error) *Error {
	c := *e
	c.RequestID = requestID(ctx)
	if c.Status == 0 {
		c.Status = http.StatusInternalServerError
	}
	return &c
}

// writeJSON answers body. What the client does not take is lost.
func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body)
}
