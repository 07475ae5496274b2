package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestOpenAPIIsTheGoldenOne(t *testing.T) {
	d := startDaemon(t, nil, api.ServerConfig{Version: "golden"})
	status, got := d.raw(t, "GET", "/v1/openapi.json", "")
	if status != 200 {
		t.Fatalf("status %d, want 200", status)
	}
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal([]byte(got), want) {
		t.Errorf("the API's description changed; look at the difference after go test ./plugin/api -update")
	}
}

func TestOpenAPIDescribesTheHook(t *testing.T) {
	d := startDaemon(t, nil, api.ServerConfig{})
	_, body := d.raw(t, "GET", "/v1/openapi.json", "")
	var got struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %q, want 3.1.0", got.OpenAPI)
	}
	hook := got.Paths["/v1/backends/{backend}/volumes"]["post"].Responses
	for _, kind := range []string{"application/json", "application/x-ndjson"} {
		if hook["200"].Content[kind].Schema == nil {
			t.Errorf("the hook's 200 has no schema for %s", kind)
		}
	}
	if hook["default"].Content["application/json"].Schema["$ref"] != "#/components/schemas/ErrorBody" {
		t.Errorf("the hook's errors are %+v", hook["default"])
	}
	if _, ok := got.Components.Schemas["ErrorModel"]; ok {
		t.Error("huma's own error model is described")
	}
	if status, yaml := d.raw(t, "GET", "/v1/openapi.yaml", ""); status != 200 || len(yaml) < 1000 {
		t.Errorf("openapi.yaml: %d, %d bytes", status, len(yaml))
	}
}

// TestEveryRouteIsDocumented: docs/api.md names each path that the description has, with its method.
func TestEveryRouteIsDocumented(t *testing.T) {
	d := startDaemon(t, nil, api.ServerConfig{})
	_, body := d.raw(t, "GET", "/v1/openapi.json", "")
	var got struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.ReplaceAll(string(text), "`POST /v1/entries/{id}/pin`, `…/unpin`", "`POST /v1/entries/{id}/pin`, `POST /v1/entries/{id}/unpin`")
	doc = strings.ReplaceAll(doc, "http://clonecache/v1/backends/local/volumes", "`POST /v1/backends/{backend}/volumes`")
	for path, methods := range got.Paths {
		for method := range methods {
			if route := "`" + strings.ToUpper(method) + " " + path + "`"; !strings.Contains(doc, route) {
				t.Errorf("docs/api.md does not name %s", route)
			}
		}
	}
	for _, plain := range []string{"/healthz", "/readyz", "/metrics"} {
		if got.Paths[plain]["get"] == nil {
			t.Errorf("%s is not described", plain)
		}
	}
}
