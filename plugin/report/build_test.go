package report_test

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
	"github.com/clonecache/clonecache/plugin/words"
)

func local() report.Store {
	return report.Store{Name: "local", Kind: "file", Entries: 2, HeldBytes: 300, MaxSizeBytes: 1000, MaxCount: 5}
}

func files() report.Store {
	return report.Store{Name: "files", Kind: "filecache", Entries: 1, HeldBytes: 40, DetachedBytes: 7, MaxSizeBytes: 500}
}

func request(outcome words.Outcome, reason words.Reason, count, downloads int64) catalog.RequestStat {
	return catalog.RequestStat{Backend: "local", ImageID: "lib:a", Outcome: outcome, Reason: reason, Requests: count, Downloads: downloads}
}

func TestOutcomesCountAsHitsMissesOrNeither(t *testing.T) {
	tests := []struct {
		name         string
		requests     []catalog.RequestStat
		hits, misses int64
		ratio        float64
		fallbacks    map[string]int64
	}{
		{name: "no requests"},
		{name: "hits alone", requests: []catalog.RequestStat{request("hit", "ready", 3, 0)}, hits: 3, ratio: 1},
		{name: "a fill is a miss", requests: []catalog.RequestStat{request("filled", "miss", 2, 2)}, misses: 2},
		{name: "joined requests download nothing", requests: []catalog.RequestStat{request("filled", "miss", 1, 1), request("joined", "fill_in_flight", 3, 0)},
			hits: 3, misses: 1, ratio: 0.75},
		{name: "copies divide by their downloads", requests: []catalog.RequestStat{request("copied", "cannot_clone", 4, 1)},
			hits: 3, misses: 1, ratio: 0.75, fallbacks: map[string]int64{"cannot_clone": 4}},
		{name: "direct and bypassed are left out", requests: []catalog.RequestStat{
			request("hit", "ready", 1, 0), request("filled", "miss", 1, 1), request("direct", "image_on_backend", 50, 0), request("bypassed", "no_room", 9, 0)},
			hits: 1, misses: 1, ratio: 0.5, fallbacks: map[string]int64{"no_room": 9}},
		{name: "only bypassed", requests: []catalog.RequestStat{request("bypassed", "over_quota", 2, 0)}, fallbacks: map[string]int64{"over_quota": 2}},
		{name: "an unknown outcome is neither", requests: []catalog.RequestStat{request("teleported", "magic", 2, 2)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := report.Build(report.Input{Stores: []report.Store{local()}, Requests: tt.requests}).Total
			if got.Hits != tt.hits || got.Misses != tt.misses || ratioOf(got) != tt.ratio || (got.HitRatio == nil) != (tt.hits+tt.misses == 0) {
				t.Errorf("hits, misses, ratio = %d, %d, %v, want %d, %d, %v", got.Hits, got.Misses, ratioOf(got), tt.hits, tt.misses, tt.ratio)
			}
			if !maps.Equal(got.Fallbacks, tt.fallbacks) {
				t.Errorf("fallbacks = %v, want %v", got.Fallbacks, tt.fallbacks)
			}
		})
	}
}

func TestRowsFollowTheStoresAndThenTheUnconfigured(t *testing.T) {
	got := report.Build(report.Input{
		Stores: []report.Store{local(), files()},
		Requests: []catalog.RequestStat{
			{Backend: "zeta", ImageID: "lib:a", Outcome: "hit", Reason: "ready", Requests: 1},
			{Backend: "gone", ImageID: "lib:a", Outcome: "hit", Reason: "ready", Requests: 1},
		},
	})
	var names []string
	for _, b := range got.Backends {
		names = append(names, b.Name+"/"+b.Kind)
	}
	want := []string{"local/file", "files/filecache", "gone/unconfigured", "zeta/unconfigured"}
	if !slices.Equal(names, want) {
		t.Errorf("rows = %v, want %v", names, want)
	}
}

func TestTheTotalsBoundIsTheSumUnlessOneIsUnbounded(t *testing.T) {
	got := report.Build(report.Input{Stores: []report.Store{local(), files()}}).Total
	if got.MaxSizeBytes != 1500 || got.MaxCount != 0 {
		t.Errorf("bounds = %d bytes, %d entries, want 1500 and 0 (unbounded)", got.MaxSizeBytes, got.MaxCount)
	}
	if got.Entries != 3 || got.HeldBytes != 340 || got.DetachedBytes != 7 {
		t.Errorf("entries, held, detached = %d, %d, %d, want 3, 340, 7", got.Entries, got.HeldBytes, got.DetachedBytes)
	}
}

func TestFillsAreAveragedOverThoseThatSucceeded(t *testing.T) {
	got := report.Build(report.Input{Stores: []report.Store{local()}, Fills: []catalog.FillStat{
		{Store: "local", ImageID: "lib:a", Fills: 3, Failed: 1, Took: 4 * time.Second, Longest: 3 * time.Second},
		{Store: "local", ImageID: "lib:b", Fills: 1, Failed: 1},
		{Store: "local", ImageID: "lib:c", Fills: 1, Took: 500 * time.Millisecond, Longest: 500 * time.Millisecond},
	}}).Total
	if got.Fills != 5 || got.FailedFills != 2 || got.FillMeanMS != 1500 || got.FillMaxMS != 3000 {
		t.Errorf("fills, failed, mean, max = %d, %d, %v, %v, want 5, 2, 1500, 3000", got.Fills, got.FailedFills, got.FillMeanMS, got.FillMaxMS)
	}
	means := map[string]float64{}
	for _, image := range got.Images {
		means[image.ImageID] = image.FillMeanMS
	}
	if want := map[string]float64{"lib:a": 2000, "lib:b": 0, "lib:c": 500}; !maps.Equal(means, want) {
		t.Errorf("means = %v, want %v", means, want)
	}
}

func TestPercentilesAreThoseOfAllRequestsTogether(t *testing.T) {
	of := func(backend backends.Name, outcome words.Outcome, took time.Duration, n int64) catalog.LatencyStat {
		return catalog.LatencyStat{Backend: backend, Outcome: outcome, Bucket: catalog.BucketOf(took), Requests: n}
	}
	got := report.Build(report.Input{Stores: []report.Store{local(), files()}, Latencies: []catalog.LatencyStat{
		of("local", "hit", 2*time.Millisecond, 97), of("local", "hit", time.Second, 3), of("files", "hit", time.Minute, 200), of("local", "filled", time.Hour, 1),
	}})
	for name, want := range map[string]struct {
		got      map[string]report.Latency
		outcome  string
		n        int64
		p50, p99 time.Duration
	}{
		"hits on one":    {got.Backends[0].Latencies, "hit", 100, 2 * time.Millisecond, time.Second},
		"fills on one":   {got.Backends[0].Latencies, "filled", 1, time.Hour, time.Hour},
		"hits elsewhere": {got.Backends[1].Latencies, "hit", 200, time.Minute, time.Minute},
		"all hits":       {got.Total.Latencies, "hit", 300, time.Minute, time.Minute},
	} {
		l := want.got[want.outcome]
		p50, p99 := l.P50MS/want.p50.Seconds()/1000, l.P99MS/want.p99.Seconds()/1000
		if l.Requests != want.n || p50 < 0.84 || p50 > 1.19 || p99 < 0.84 || p99 > 1.19 {
			t.Errorf("%s: got %+v, want %d, %v, %v", name, l, want.n, want.p50, want.p99)
		}
	}
	if len(got.Backends[1].Latencies) != 1 || len(got.Total.Latencies) != 2 {
		t.Errorf("outcomes that nobody had: %+v, %+v", got.Backends[1].Latencies, got.Total.Latencies)
	}
}

func TestImagesAreSortedByRequests(t *testing.T) {
	var requests []catalog.RequestStat
	for image, count := range map[string]int64{"lib:b": 2, "lib:c": 9, "lib:a": 2} {
		requests = append(requests, catalog.RequestStat{Backend: "local", ImageID: image, Outcome: "hit", Requests: count})
	}
	var order []string
	for _, image := range report.Build(report.Input{Requests: requests}).Total.Images {
		order = append(order, image.ImageID)
	}
	if want := []string{"lib:c", "lib:a", "lib:b"}; !slices.Equal(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
}

func TestAnEmptyReportIsWholeJSON(t *testing.T) {
	raw, err := json.Marshal(report.Build(report.Input{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"since":null`, `"backends":[]`, `"fallbacks":{}`, `"outcomes":{}`, `"latencies":{}`, `"hit_ratio":null`, `"images":[]`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is not in %s", want, raw)
		}
	}
}

func TestEvictionsAreCountedByCause(t *testing.T) {
	got := report.Build(report.Input{Evictions: []catalog.EvictionStat{
		{Store: "local", Cause: catalog.CauseSize, Count: 2}, {Store: "files", Cause: catalog.CauseSize, Count: 1}, {Store: "local", Cause: catalog.CauseAdmin, Count: 4},
	}}).Total
	if want := map[string]int64{"size": 3, "admin": 4}; got.Evictions != 7 || !maps.Equal(got.EvictionsBy, want) {
		t.Errorf("evictions = %d %v, want 7 %v", got.Evictions, got.EvictionsBy, want)
	}
}

// ratioOf is a hit ratio, and 0 where there is none.
func ratioOf(f report.Figures) float64 {
	if f.HitRatio == nil {
		return 0
	}
	return *f.HitRatio
}

// sums takes the figures that the total must be the sum of.
func sums(f report.Figures) map[string]int64 {
	all := map[string]int64{
		"hits": f.Hits, "misses": f.Misses, "entries": int64(f.Entries), "held": f.HeldBytes, "evictions": f.Evictions,
		"detached": f.DetachedBytes, "downloaded": f.DownloadedBytes, "saved": f.SavedBytes, "fills": f.Fills, "failed": f.FailedFills,
	}
	for prefix, counts := range map[string]map[string]int64{"outcome ": f.Outcomes, "cause ": f.EvictionsBy, "fallback ": f.Fallbacks} {
		for name, count := range counts {
			all[prefix+name] = count
		}
	}
	for outcome, l := range f.Latencies {
		all["timed "+outcome] = l.Requests
	}
	for _, image := range f.Images {
		all["requests "+image.ImageID] += image.Requests
		all["image hits "+image.ImageID] += image.Hits
		all["image misses "+image.ImageID] += image.Misses
		all["image downloaded "+image.ImageID] += image.DownloadedBytes
		all["image saved "+image.ImageID] += image.SavedBytes
	}
	maps.DeleteFunc(all, func(_ string, n int64) bool { return n == 0 })
	return all
}

func checkTotals(t interface{ Fatalf(string, ...any) }, r report.Report) {
	rows := map[string]int64{}
	for _, b := range r.Backends {
		for name, n := range sums(b.Figures) {
			rows[name] += n
		}
	}
	if total := sums(r.Total); !reflect.DeepEqual(total, rows) {
		t.Fatalf("total = %v, rows add up to %v", total, rows)
	}
	for _, f := range append([]report.Backend{{Figures: r.Total}}, r.Backends...) {
		if (f.HitRatio == nil) != (f.Hits+f.Misses == 0) || ratioOf(f.Figures) < 0 || ratioOf(f.Figures) > 1 || math.IsNaN(ratioOf(f.Figures)) || math.IsNaN(f.FillMeanMS) {
			t.Fatalf("%s: ratio %v, mean %v", f.Name, ratioOf(f.Figures), f.FillMeanMS)
		}
		var counted int64
		for _, o := range []string{"hit", "filled", "joined", "copied"} {
			counted += f.Outcomes[o]
		}
		if f.Hits+f.Misses != counted {
			t.Fatalf("%s: hits %d + misses %d, want %d requests", f.Name, f.Hits, f.Misses, counted)
		}
	}
}

func names() []backends.Name { return []backends.Name{"local", "files", "pool", "gone"} }
