package api_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/api"
)

// Who may not come in, or asks for what is not there, holds no connection by a body that he does not send.
func TestABodyThatDoesNotComeHoldsNoConnection(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{BodyTimeout: 50 * time.Millisecond})
	url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{TokenFile: writeToken(t, "correct-horse-battery")})
	for _, tt := range []struct{ name, request, status string }{
		{"nobody", "POST /v1/prefetch HTTP/1.1\r\nHost: localhost\r\n", "401"},
		{"another site's page", "POST /v1/prefetch HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n", "403"},
		{"no path", "POST /v1//prefetch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-horse-battery\r\n", "404"},
		{"a form of nobody", "POST /ui/prefetch HTTP/1.1\r\nHost: localhost\r\n", "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
			if _, err := io.WriteString(conn, tt.request+"Content-Length: 100\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+tt.status) {
				t.Errorf("answer = %.120q, %v, want %s and the end", answer, err, tt.status)
			}
		})
	}
}
