package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/clonecache/clonecache/plugin/api"
)

// watchedBody is a body of so many bytes that notes into how much memory it is read at once.
type watchedBody struct {
	left, largest int
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.largest = max(b.largest, len(p))
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), b.left)
	for i := range p[:n] {
		p[i] = ' '
	}
	b.left -= n
	return n, nil
}

func (*watchedBody) Close() error { return nil }

// Who may not ask for something keeps no memory by the length of what he sends.
func TestABodyIsKeptOnlyOfWhoMayAsk(t *testing.T) {
	const length, piece = 8 << 20, 64 << 10
	d := startDaemon(t, newFake(), api.ServerConfig{})
	for _, tt := range []struct {
		who    api.Role
		status int
		kept   bool
	}{
		{api.Nobody, http.StatusUnauthorized, false},
		{api.Reader, http.StatusForbidden, false},
		{api.Operator, http.StatusBadRequest, true}, // it is no JSON
	} {
		t.Run(tt.who.String(), func(t *testing.T) {
			body := &watchedBody{left: length}
			r := httptest.NewRequest(http.MethodPost, "/v1/prefetch", body)
			w := httptest.NewRecorder()
			d.server.ServeHTTP(w, r.WithContext(api.WithIdentity(t.Context(), api.Identity{Name: "somebody", Role: tt.who})))
			if w.Code != tt.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if kept := body.largest > piece; kept != tt.kept {
				t.Errorf("read into %d bytes at once, kept: %v, want %v", body.largest, kept, tt.kept)
			}
			if body.left > 0 {
				t.Errorf("%d bytes were left", body.left)
			}
		})
	}
}
