package plugin_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// countedSource adds up the bytes that are read of a source's images.
type countedSource struct {
	*gatedSource
	read atomic.Int64
}

func (s *countedSource) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	body, err := s.gatedSource.Open(ctx, i)
	return &countedBody{ReadCloser: body, read: &s.read}, err
}

type countedBody struct {
	io.ReadCloser
	read *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	return n, err
}

// downloads checks the report's downloaded bytes: in total, and as the sums of its rows.
func (r *rig) downloads(t *testing.T, after string, want int64) {
	t.Helper()
	rep, err := r.Report(t.Context(), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	images := int64(0)
	for _, i := range rep.Total.Images {
		images += i.DownloadedBytes
	}
	stores := int64(0)
	for _, s := range rep.Backends {
		stores += s.DownloadedBytes
	}
	if total := rep.Total.DownloadedBytes; total != want || stores != want || images != want {
		t.Errorf("downloaded after %s: got %d in total, %d by backends, %d by images; want %d", after, total, stores, images, want)
	}
}

func TestTheReportCountsAllThatWasReadFromSources(t *testing.T) {
	source := &countedSource{gatedSource: newGatedSource()}
	close(source.gate)
	source.put("waited", "1", random(3*mib))
	source.put("background", "1", random(2*mib))
	source.put("refused", "1", random(mib))
	source.declare("refused", "qcow2")
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source))

	r.create(t, "gated:waited", "v1", 0)
	r.create(t, "gated:waited", "v2", 0)
	r.downloads(t, "a miss and a hit", 3*mib)

	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:background", Volume: "v3", OnMiss: plugin.Background})
	if err != nil || a.Outcome != plugin.Bypassed {
		t.Fatalf("background: got %+v, %v, want bypassed", a, err)
	}
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	r.create(t, "gated:background", "v3", 0)
	r.downloads(t, "a fill in the background and a hit", 5*mib)

	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:refused", Volume: "v4"}); !errors.Is(err, diskimage.ErrRefused) {
		t.Fatalf("refused: got %v, want ErrRefused", err)
	}
	if read := source.read.Load(); read <= 5*mib {
		t.Fatalf("nothing was read of the refused image: %d bytes in all", read)
	}
	r.downloads(t, "a refused image", source.read.Load())
}

// What a fill waited for has a name.
func TestTheReportTellsWhereTheTimeOfFillsWent(t *testing.T) {
	var later atomic.Int64 // nanoseconds
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(source), func(c *plugin.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	source.put("slow", "1", random(8*mib))
	answered := r.startCreate(t, "gated:slow", "v1")
	waitFor(t, func() bool { f := r.Fills(); return len(f) == 1 && f[0].ReadBytes >= 3*mib })
	const slow = time.Hour
	later.Store(int64(slow))
	close(source.gate)
	<-answered
	rep, err := r.Report(t.Context(), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	p := rep.Total.Phases
	if ms := float64(slow.Milliseconds()); p.DecodeMS < ms/2 || p.SourceMS+p.QuotaMS+p.WaitingMS+p.WriteMS+p.CommitMS > ms/2 || p.CommitMS <= 0 || p.WriteMS <= 0 {
		t.Errorf("phases: %+v, want the slow part in the reading", p)
	}
}
