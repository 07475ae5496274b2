package api_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/api"
)

// A backend that is down is told of, and does not make the daemon unready. Why it is down is for those who may
// use the API.
func TestReadyTellsWhatIsDown(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	status, body := d.raw(t, "GET", "/readyz", "")
	if status != 200 || !strings.Contains(body, `"status":"ready"`) || !strings.Contains(body, `"name":"pool"`) || !strings.Contains(body, "permission denied") {
		t.Errorf("on the socket: %d %s", status, body)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{TokenFile: token})
	for _, c := range []struct {
		bearer string
		told   bool
	}{{"", false}, {"Bearer 0123456789abcdeX", false}, {"Bearer 0123456789abcdef", true}} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", c.bearer)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), `"name":"pool"`) {
			t.Errorf("with %q: %d %s, %v", c.bearer, resp.StatusCode, body, err)
		}
		if !strings.Contains(string(body), `"catalog_unavailable":{"since":`) {
			t.Errorf("with %q: %s, want it to tell of the catalog", c.bearer, body)
		}
		for _, secret := range []string{"/secret/path", "db.secret"} {
			if told := strings.Contains(string(body), secret); told != c.told {
				t.Errorf("with %q the reason %s is told: %v, want %v", c.bearer, secret, told, c.told)
			}
		}
	}
}
