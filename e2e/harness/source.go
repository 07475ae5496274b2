package harness

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// WebSource serves a directory's files over HTTP on the loopback, with ranges and ETags, and can be
// slow, hold still or break where a test wants it. It may be used from several goroutines.
type WebSource struct {
	URL string
	Dir string

	mu    sync.Mutex
	gets  map[string]int
	begun map[string]int // of gets, those from the beginning
	sent  map[string]int64
	rate  int64 // bytes per second; 0: as fast as it goes
	holds map[string]*hold
	cuts  map[string][]int64
}

// hold stops every stream of one file at an offset.
type hold struct {
	at      int64
	reached chan struct{} // closed when the first stream stands there
	once    sync.Once
	release chan struct{} // closed when they may go on
}

// ServeWeb starts a source on an empty directory. It ends with the test.
func ServeWeb(tb testing.TB) *WebSource {
	tb.Helper()
	s := &WebSource{Dir: tb.TempDir(), gets: map[string]int{}, begun: map[string]int{}, sent: map[string]int64{},
		holds: map[string]*hold{}, cuts: map[string][]int64{}}
	server := httptest.NewUnstartedServer(s)
	server.Config.ConnContext = smallSendBuffer
	server.Start()
	s.URL = server.URL
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

// inFlight bounds what the kernel holds of a stream that nobody reads yet, in bytes.
const inFlight = 64 << 10

// smallSendBuffer makes "sent" mean "read but for some hundred KiB": a socket's own buffer grows to megabytes,
// and a hold would be reached before the reader had begun.
func smallSendBuffer(ctx context.Context, c net.Conn) context.Context {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(inFlight) // the kernel's own size is as right, and less exact
	}
	return ctx
}

// SetRate throttles each stream to so many bytes a second.
func (s *WebSource) SetRate(bytesPerSecond int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate = bytesPerSecond
}

// HoldAt stops streams of name once they have sent bytes up to offset at, of which at most some hundred KiB are
// unread. reached is closed when the first one stands there; release lets all go on, and may be called more than once. A
// later call for the same name holds what this one lets go on.
func (s *WebSource) HoldAt(tb testing.TB, name string, at int64) (reached <-chan struct{}, release func()) {
	tb.Helper()
	h := &hold{at: at, reached: make(chan struct{}), release: make(chan struct{})}
	s.mu.Lock()
	s.holds[name] = h
	s.mu.Unlock()
	release = sync.OnceFunc(func() {
		s.mu.Lock()
		if s.holds[name] == h { // else there is a later one
			delete(s.holds, name)
		}
		s.mu.Unlock()
		close(h.release)
	})
	tb.Cleanup(release)
	return h.reached, release
}

// CutAt breaks the next streams of name off at these offsets, one after another.
func (s *WebSource) CutAt(name string, offsets ...int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts[name] = offsets
}

// Gets is how many GET requests for name were answered.
func (s *WebSource) Gets(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets[name]
}

// Begun is how many of these were from name's beginning, and did not go on where another one had come to.
func (s *WebSource) Begun(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun[name]
}

// Sent is how many bytes of name went out.
func (s *WebSource) Sent(name string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[name]
}

// ServeHTTP implements http.Handler.
func (s *WebSource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := filepath.Base(r.URL.Path)
	file, err := os.Open(filepath.Join(s.Dir, name))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.Method == http.MethodGet {
		s.mu.Lock()
		s.gets[name]++
		if rangeStart(r) == 0 {
			s.begun[name]++
		}
		s.mu.Unlock()
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()))
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&stream{ResponseWriter: w, source: s, name: name, request: r, offset: rangeStart(r)},
		r, name, info.ModTime(), file)
}

// rangeStart is where a request's single range begins.
func rangeStart(r *http.Request) int64 {
	var from, to int64
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n >= 1 {
		return from
	}
	return 0
}

// stream is one answer, written in pieces so that holds, cuts and the rate apply inside it.
type stream struct {
	http.ResponseWriter
	source  *WebSource
	name    string
	request *http.Request
	offset  int64
	begun   time.Time
	sent    int64
}

func (w *stream) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		piece, err := w.next(p[done:])
		if err != nil {
			return done, err
		}
		n, err := w.ResponseWriter.Write(piece)
		w.account(int64(n))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// next waits until more may be sent and returns how much of p that is.
func (w *stream) next(p []byte) ([]byte, error) {
	w.source.mu.Lock()
	h, rate := w.source.holds[w.name], w.source.rate
	cut := int64(-1)
	if cuts := w.source.cuts[w.name]; len(cuts) > 0 {
		cut = cuts[0]
		if w.offset >= cut {
			w.source.cuts[w.name] = cuts[1:]
			w.source.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
	}
	w.source.mu.Unlock()

	if h != nil && w.offset >= h.at {
		if err := w.stand(h); err != nil {
			return nil, err
		}
		h = nil
	}
	end := int64(len(p))
	if h != nil {
		end = min(end, h.at-w.offset)
	}
	if cut > w.offset {
		end = min(end, cut-w.offset)
	}
	if rate > 0 {
		end = min(end, 64<<10)
		return p[:end], w.pace(rate)
	}
	return p[:end], nil
}

func (w *stream) stand(h *hold) error {
	if flusher, ok := w.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
	h.once.Do(func() { close(h.reached) })
	select {
	case <-h.release:
		return nil
	case <-w.request.Context().Done():
		return w.request.Context().Err()
	}
}

// pace waits until the bytes sent so far are due at rate.
func (w *stream) pace(rate int64) error {
	if w.begun.IsZero() {
		w.begun = time.Now()
	}
	due := w.begun.Add(time.Duration(float64(w.sent) / float64(rate) * float64(time.Second)))
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.request.Context().Done():
		return w.request.Context().Err()
	}
}

func (w *stream) account(n int64) {
	w.offset += n
	w.sent += n
	w.source.mu.Lock()
	w.source.sent[w.name] += n
	w.source.mu.Unlock()
}

// Size is a number of bytes as the configuration writes it.
func Size(bytes int64) string { return strconv.FormatInt(bytes, 10) }
