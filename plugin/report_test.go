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
	"github.com/clonecache/clonecache/plugin/report"
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

// downloads checks the report's downloaded bytes: in total, and as the sums of its rows. What nobody waits for is counted a moment
// after its entry is ready.
func (r *rig) downloads(t *testing.T, after string, want int64) {
	t.Helper()
	var rep report.Report
	waitFor(t, func() bool {
		var err error
		if rep, err = r.Report(t.Context(), "", time.Time{}); err != nil {
			t.Fatal(err)
		}
		return rep.Total.DownloadedBytes >= want
	})
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
	l, ms := rep.Total.Latencies["filled"], float64(slow.Milliseconds())
	if off := l.P50MS / ms; l.Requests != 1 || l.P99MS != l.P50MS || off < 0.83 || off > 1.2 || rep.Backends[0].Latencies["filled"] != l {
		t.Errorf("times of requests: %+v and %+v, want one of %v", rep.Total.Latencies, rep.Backends[0].Latencies, slow)
	}
}

// What was done is told by whose image it was, and by who did it; neither is asked of one backend, where it is not counted.
func TestTheReportByProjectAndHost(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	for id, owner := range map[string]string{"theirs": "p1", "public": "", "ownerless": "image-ownerless"} {
		source.put(id, "1", random(mib))
		source.own(id, owner)
	}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), func(c *plugin.Config) { c.Host = "storage-1" })
	for volume, image := range map[string]string{"v1": "theirs", "v2": "theirs", "v3": "public", "v4": "ownerless"} {
		r.create(t, "gated:"+image, volume, 0)
	}
	asked := func(by report.By) report.Report {
		rep, err := r.Controls().ReportOf(t.Context(), plugin.ReportQuery{By: by})
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	projects := asked(report.ByProject).Projects
	if len(projects) != 2 || projects[0].ID+projects[1].ID != "*p1" && projects[0].ID+projects[1].ID != "p1*" {
		t.Fatalf("projects: got %+v, want p1 and *", projects)
	}
	for _, s := range projects {
		want := map[string][3]int64{"p1": {2, 1, 1}, "*": {2, 0, 2}}[s.ID]
		if got := [3]int64{s.Requests, s.Hits, s.Fills}; got != want || s.DownloadedBytes != want[2]*mib {
			t.Errorf("%s: requests, hits, fills %v and %d bytes downloaded, want %v", s.ID, got, s.DownloadedBytes, want)
		}
	}
	if hosts := asked(report.ByHost).Hosts; len(hosts) != 1 || hosts[0].Name != "storage-1" || hosts[0].Requests != 4 || hosts[0].Fills != 3 {
		t.Errorf("hosts: got %+v", hosts)
	}
	if _, err := r.Controls().ReportOf(t.Context(), plugin.ReportQuery{By: report.ByHost, Backend: "local"}); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("the hosts of one backend: %v, want ErrBadRequest", err)
	}
}

// Nobody has asked whose image it is where the cache steps aside before that: it is not taken for everybody's.
func TestWhatWasNotLookedUpIsNoProjects(t *testing.T) {
	source := newGatedSource()
	source.put("theirs", "1", random(mib))
	source.own("theirs", "p1")
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source))
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:theirs", Volume: "v1", Encrypted: true})
	if err != nil || a.Reason != plugin.ReasonEncrypted {
		t.Fatalf("got %+v, %v", a, err)
	}
	rep, err := r.Controls().ReportOf(t.Context(), plugin.ReportQuery{By: report.ByProject})
	if err != nil {
		t.Fatal(err)
	}
	if p := rep.Projects; len(p) != 1 || p[0].ID != "" || p[0].Name != report.Unnoted || p[0].Requests != 1 {
		t.Errorf("got %+v, want one that is not noted", p)
	}
}

// A part of an image that is kept saves that part: many small ones are no large one.
func TestAPartSavesWhatItHas(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source))
	keepThree(t, r, func(id string, content []byte) {
		source.put(id, "1", content)
		source.promise(id, digestOf(content))
	})
	const parts, length = 5, 1 << 10
	for n := range int64(parts) {
		k, err := plugin.BytesOf(r.Plugin).Open(t.Context(), plugin.BytesRequest{Image: "gated:small-0", Cache: "files", Fetch: plugin.FetchNever})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Copy(t.Context(), io.Discard, n*length, length); err != nil {
			t.Fatal(err)
		}
		k.Close()
	}
	rep, err := r.Report(t.Context(), "files", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if got := rep.Total; got.Hits != parts || got.SavedBytes != parts*length {
		t.Errorf("%d hits saved %d bytes, want %d and %d", got.Hits, got.SavedBytes, parts, parts*length)
	}
}
