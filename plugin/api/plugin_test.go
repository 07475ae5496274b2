package api_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/catalog/catalogtest"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

const imageBytes = 1 << 20

// openPlugin opens a real plugin on a directory, a file cache and one raw image.
func openPlugin(t *testing.T, observer plugin.Observer) *plugin.Plugin {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "images"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "images", "a.raw"), bytes.Repeat([]byte("clonecache data "), imageBytes/16), 0o600))
	volumes, err := file.Open(t.Context(), file.Config{Name: "local", Path: filepath.Join(dir, "volumes")})
	must(err)
	files, err := filecache.Open(t.Context(), filecache.Config{Name: "files", Path: filepath.Join(dir, "files")})
	must(err)
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "lib", Path: filepath.Join(dir, "images")})
	must(err)
	catalogtest.InState(t, filepath.Join(dir, "state"))
	p, err := plugin.Open(t.Context(), plugin.Config{
		StateDir:   filepath.Join(dir, "state"),
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: volumes, Fallback: "files"}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: files}},
		Sources:    []imagesource.Source{library},
		Observer:   observer,
	})
	must(err)
	t.Cleanup(func() {
		for _, end := range []func() error{func() error { return p.Close(context.Background()) }, volumes.Close, files.Close} {
			if err := end(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return p
}

func TestTheRealPluginOverItsSocket(t *testing.T) {
	const count = 4
	reg := prometheus.NewRegistry()
	d := startDaemon(t, api.ServiceOf(openPlugin(t, api.NewMetrics(reg))), api.ServerConfig{Registry: reg})
	for i := range count {
		r := api.CreateRequest{Image: "lib:a.raw", Volume: backends.VolumeName(fmt.Sprintf("v%d", i)), SizeBytes: 2 * imageBytes}
		answer, err := d.client.CreateVolume(t.Context(), r, func(plugin.Progress) {})
		if err != nil || answer.SizeBytes != r.SizeBytes || answer.Outcome == plugin.Bypassed {
			t.Fatalf("volume %d = %+v, %v", i, answer, err)
		}
		if first := i == 0; (answer.DownloadedBytes > 0) != first {
			t.Errorf("volume %d downloaded %d bytes", i, answer.DownloadedBytes)
		}
	}
	got, err := d.client.Report(t.Context(), "", "1h")
	if err != nil {
		t.Fatal(err)
	}
	if f := got.Total; f.Hits != count-1 || f.Misses != 1 || f.HitRatio == nil || *f.HitRatio != 0.75 || f.DownloadedBytes != imageBytes {
		t.Errorf("report = %+v, want %d hits, 1 miss, ratio 0.75", f, count-1)
	}
	_, page := d.raw(t, "GET", "/ui", "")
	for outcome, n := range got.Total.Outcomes { // which they are depends on the filesystem
		if l := got.Total.Latencies[outcome]; l.Requests != n || l.P50MS <= 0 || l.P99MS < l.P50MS {
			t.Errorf("times of %d requests %s: %+v", n, outcome, l)
		}
		if row := fmt.Sprintf(`<tr><td>%s</td><td class="n">%d</td>`, outcome, n); strings.Count(page, row) != 2 { // of all hosts, and of this daemon
			t.Errorf("the page has %s: %s", row, page)
		}
	}
	if result, err := d.client.Check(t.Context(), api.CheckRequest{Deep: true}, func(api.CheckProgress) {}); err != nil || !result.OK {
		t.Errorf("check = %+v, %v", result, err)
	}
	if list, err := d.client.Volumes(t.Context(), "local"); err != nil || len(list) != count {
		t.Errorf("volumes = %d, %v, want %d", len(list), err, count)
	}
	_, metrics := d.raw(t, "GET", "/metrics", "")
	for _, want := range []string{"clonecache_requests_total{", `clonecache_queue_images{state="failed"} 0`, `clonecache_hosts{state="up"} 1`,
		`clonecache_hosts{state="lost"} 0`, "clonecache_catalog_up 1", `clonecache_fill_phase_seconds_total{`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestTheRealPluginsRefusals(t *testing.T) {
	d := startDaemon(t, api.ServiceOf(openPlugin(t, nil)), api.ServerConfig{})
	good := api.CreateRequest{Backend: "local", Image: "lib:a.raw", Volume: "v", SizeBytes: 2 * imageBytes}
	if _, err := d.client.CreateVolume(t.Context(), good, nil); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*api.CreateRequest)
		code   string
	}{
		{"no such image", func(r *api.CreateRequest) { r.Image, r.Volume = "lib:none.raw", "w" }, "image_not_found"},
		{"no such source", func(r *api.CreateRequest) { r.Image, r.Volume = "web:a.raw", "w" }, "image_not_found"},
		{"no such backend", func(r *api.CreateRequest) { r.Backend = "other" }, "unknown_backend"},
		{"too small", func(r *api.CreateRequest) { r.Volume, r.SizeBytes = "w", imageBytes/2 }, "volume_too_small"},
		{"another size of the same name", func(r *api.CreateRequest) { r.SizeBytes = 3 * imageBytes }, "volume_conflict"},
		{"another digest", func(r *api.CreateRequest) { r.Volume, r.Digest = "w", "sha256:"+strings.Repeat("0", 64) }, "digest_mismatch"},
		{"a name that is a path", func(r *api.CreateRequest) { r.Volume = "../w" }, "bad_name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := good
			tt.change(&r)
			_, err := d.client.CreateVolume(t.Context(), r, nil)
			if e := apiError(t, err); e.Code != tt.code {
				t.Errorf("error = %+v, want %s", e, tt.code)
			}
		})
	}
	r := good
	r.Image, r.Volume = "web:a.raw", "w"
	_, err := d.client.CreateVolume(t.Context(), r, nil)
	if e := apiError(t, err); !strings.Contains(e.Message, `no image source of this name: "web"; there is lib`) {
		t.Errorf("no such source: %q does not say so", e.Message)
	}
}
