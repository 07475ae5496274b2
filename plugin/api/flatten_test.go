package api_test

import (
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestFlattenTellsHowFarItIs(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	if _, err := d.client.CreateVolume(t.Context(), api.CreateRequest{Image: "lib:a", Volume: "v1"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, backend := range []backends.Name{"", "local"} {
		var last api.FlattenProgress
		got, err := d.client.FlattenVolume(t.Context(), backend, "v1", func(p api.FlattenProgress) { last = p })
		if err != nil || got.Volume != "v1" || got.Backend != backend || got.Reaped != 1 {
			t.Errorf("flatten on %q: got %+v, %v", backend, got, err)
		}
		if last.DoneBytes != 0 && last.TotalBytes != 10 {
			t.Errorf("flatten on %q: got progress %+v", backend, last)
		}
	}
	if status, body := d.raw(t, "POST", "/v1/volumes/v1/flatten", ""); status != 200 || !strings.Contains(body, `"reaped":1`) {
		t.Errorf("without lines: got %d, %s", status, body)
	}
	_, err := d.client.FlattenVolume(t.Context(), "", "absent", nil)
	if e := apiError(t, err); e.Code != "volume_not_found" {
		t.Errorf("got code %s, want volume_not_found", e.Code)
	}
}
