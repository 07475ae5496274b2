package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

const hook = "/v1/backends/local/volumes"

func TestWrongRequestsAreRefused(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	tests := []struct {
		name, method, path, body string
		status                   int
		code, mentions           string
	}{
		{"no body", "POST", hook, "", 400, "bad_request", "body"},
		{"no JSON", "POST", hook, "{", 400, "bad_request", "body"},
		{"two values", "POST", hook, `{"image":"a","volume":"v"}{}`, 400, "bad_request", "body"},
		{"unknown field", "POST", hook, `{"image":"a","volume":"v","sise":1}`, 400, "bad_request", "sise"},
		{"missing image", "POST", hook, `{"volume":"v"}`, 400, "bad_request", "image"},
		{"empty volume", "POST", hook, `{"image":"a","volume":""}`, 400, "bad_request", "volume"},
		{"size is a string", "POST", hook, `{"image":"a","volume":"v","size_bytes":"1"}`, 400, "bad_request", "size_bytes"},
		{"size is negative", "POST", hook, `{"image":"a","volume":"v","size_bytes":-1}`, 400, "bad_request", "size_bytes"},
		{"size is too large", "POST", hook, `{"image":"a","volume":"v","size_bytes":99999999999999999999}`, 400, "bad_request", "body"},
		{"unknown on_miss", "POST", hook, `{"image":"a","volume":"v","on_miss":"later"}`, 400, "bad_request", "on_miss"},
		{"deadline is no time", "POST", hook, `{"image":"a","volume":"v","deadline":"soon"}`, 400, "bad_request", "deadline"},
		{"backend twice", "POST", hook, `{"image":"a","volume":"v","backend":"x"}`, 400, "bad_request", "backend"},
		{"digest is too short", "POST", hook, `{"image":"a","volume":"v","digest":"sha256:ab"}`, 400, "bad_request", "digest"},
		{"body is too large", "POST", hook, `{"image":"` + strings.Repeat("a", 70<<10) + `"}`, 413, "body_too_large", "65536"},
		{"unknown query", "GET", "/v1/entries?stat=ready", "", 400, "bad_request", "stat"},
		{"unknown state", "GET", "/v1/entries?state=lost", "", 400, "bad_request", "state"},
		{"limit is no number", "GET", "/v1/entries?limit=x", "", 400, "bad_request", "limit"},
		{"limit is negative", "GET", "/v1/entries?limit=-1", "", 400, "bad_request", "limit"},
		{"force is no bool", "DELETE", "/v1/entries/e1?force=maybe", "", 400, "bad_request", "force"},
		{"since is nothing known", "GET", "/v1/report?since=yesterday", "", 400, "bad_request", "since"},
		{"no such route", "GET", "/v2/volumes", "", 404, "no_such_route", "/v2/volumes"},
		{"no such method", "PUT", "/v1/volumes", "", 404, "no_such_route", "PUT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := d.raw(t, tt.method, tt.path, tt.body)
			var got struct{ Error api.Error }
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("body %q: %v", body, err)
			}
			if status != tt.status || got.Error.Code != tt.code || !strings.Contains(got.Error.Message, tt.mentions) {
				t.Errorf("got %d %+v, want %d %s that mentions %s", status, got.Error, tt.status, tt.code, tt.mentions)
			}
		})
	}
	if len(fake.asked) != 0 {
		t.Errorf("the service was asked %+v", fake.asked)
	}
}

func TestTheBodyMustArriveInTime(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{BodyTimeout: 50 * time.Millisecond})
	conn, err := net.Dial("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST "+hook+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(answer, []byte(" 408 ")) || !bytes.Contains(answer, []byte("body_timeout")) {
		t.Errorf("answer = %s, %v, want 408", answer, err)
	}
}

func TestAStartingDaemonSaysSo(t *testing.T) {
	d := startDaemon(t, nil, api.ServerConfig{})
	if e := apiError(t, d.client.Ready(t.Context())); e.Code != "starting" || e.Status != 503 || !e.Retryable {
		t.Errorf("readyz = %+v", e)
	}
	_, err := d.client.Status(t.Context())
	if e := apiError(t, err); e.Code != "starting" {
		t.Errorf("status = %+v", e)
	}
	if status, _ := d.raw(t, "GET", "/healthz", ""); status != 200 {
		t.Errorf("healthz = %d, want 200", status)
	}
	d.server.Ready(newFake())
	if err := d.client.Ready(t.Context()); err != nil {
		t.Errorf("readyz once ready: %v", err)
	}
	d.server.Stopping()
	if e := apiError(t, d.client.Ready(t.Context())); e.Code != "stopping" {
		t.Errorf("readyz while stopping = %+v", e)
	}
	if _, err := d.client.Status(t.Context()); err != nil {
		t.Errorf("status while stopping: %v", err)
	}
}

func FuzzCreateBody(f *testing.F) {
	for _, seed := range []string{
		`{"image":"lib:a","volume":"v","size_bytes":1,"on_miss":"wait","deadline":"2030-01-02T03:04:05Z"}`,
		`{"image":"a","volume":"v","digest":"sha256:` + strings.Repeat("0", 64) + `"}`,
		`{}`, `[]`, `null`, `{"image":1}`, `{"image":"a","volume":"\u0000"}`, "\xff", `{"image":"a","image":"b","volume":"v"}`,
	} {
		f.Add([]byte(seed))
	}
	fake := newFake()
	server, err := api.NewServer(api.ServerConfig{})
	if err != nil {
		f.Fatal(err)
	}
	server.Ready(fake)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := len(fake.asked)
		w := httptest.NewRecorder()
		asks := api.WithIdentity(t.Context(), api.Identity{Name: "test", Role: api.Operator})
		server.ServeHTTP(w, httptest.NewRequestWithContext(asks, http.MethodPost, hook, bytes.NewReader(body)))
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d, not JSON: %q", w.Code, w.Body)
		}
		switch w.Code {
		case http.StatusOK:
			if r := fake.lastAsked(); len(fake.asked) != before+1 || r.Image == "" || r.Volume == "" || r.SizeBytes < 0 ||
				r.OnMiss != "" && r.OnMiss != plugin.Wait && r.OnMiss != plugin.Background {
				t.Fatalf("%q was let through as %+v", body, r)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if len(fake.asked) != before {
				t.Fatalf("%q was refused, and asked for %+v", body, fake.lastAsked())
			}
		default:
			t.Fatalf("%q was answered %d %s", body, w.Code, w.Body)
		}
	})
}
