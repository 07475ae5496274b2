package report_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
	"github.com/clonecache/clonecache/plugin/words"
)

func TestSharesAreNamedAndInOrder(t *testing.T) {
	in := report.Input{
		Requests: []catalog.RequestStat{request("hit", "ready", 9, 0), request("filled", "miss", 2, 2)},
		Fills:    []catalog.FillStat{{Store: "local", ImageID: "lib:a", Fills: 2, SourceBytes: 30}},
		Work: []catalog.WorkStat{
			{Host: "1", Project: "p", Outcome: "hit", Requests: 3, SavedBytes: 30, Took: 6 * time.Millisecond},
			{Host: "2", Project: catalog.Everybody, Outcome: "hit", Requests: 5, Took: 5 * time.Millisecond},
			{Host: "2", Project: "", Outcome: "filled", Requests: 1, Downloads: 1},
			{Host: "2", Project: "p", Fills: 1, SourceBytes: 20},
		},
		HostNames: map[catalog.InstanceID]string{"2": "storage-2"},
	}
	named := func(shares []report.Share) (all [][2]any) {
		for _, s := range shares {
			all = append(all, [2]any{s.Name, s.Requests})
		}
		return all
	}
	in.By = report.ByHost
	got := report.Build(in)
	if want := [][2]any{{"storage-2", int64(6)}, {"1", int64(3)}, {report.Unnoted, int64(2)}}; !reflect.DeepEqual(named(got.Hosts), want) || len(got.Projects) != 0 {
		t.Errorf("hosts: got %v, want %v", named(got.Hosts), want)
	}
	if s := got.Hosts[1]; s.MeanMS != 2 || s.SavedBytes != 30 || s.HitRatio == nil || *s.HitRatio != 1 {
		t.Errorf("got %+v", s)
	}
	in.By = report.ByProject
	got = report.Build(in)
	if want := [][2]any{{report.NoProject, int64(5)}, {"p", int64(3)}, {report.Unnoted, int64(3)}}; !reflect.DeepEqual(named(got.Projects), want) || len(got.Hosts) != 0 {
		t.Errorf("projects: got %v, want %v", named(got.Projects), want)
	}
	if s := got.Projects[1]; s.Fills != 1 || s.DownloadedBytes != 20 {
		t.Errorf("fills of p: got %+v", s)
	}
	if s := got.Projects[2]; s.DownloadedBytes != 10 || s.Fills != 1 || !reflect.DeepEqual(s.Outcomes, map[string]int64{"hit": 1, "filled": 2}) {
		t.Errorf("what was not noted: got %+v", s)
	}
	in.By = ""
	if got := report.Build(in); got.Hosts == nil || got.Projects == nil || len(got.Hosts)+len(got.Projects) != 0 {
		t.Errorf("shares that nobody asked for: %+v %+v", got.Hosts, got.Projects)
	}
}

// Whatever was noted of what the total counts, the shares add up to it.
func TestSharesAddUpToTheTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := report.Input{By: rapid.SampledFrom([]report.By{report.ByHost, report.ByProject}).Draw(t, "by")}
		for range rapid.IntRange(0, 12).Draw(t, "works") {
			w := catalog.WorkStat{
				Host: rapid.SampledFrom([]catalog.InstanceID{"", "1", "2"}).Draw(t, "host"), Project: rapid.SampledFrom([]string{"", "*", "p"}).Draw(t, "project"),
				Outcome: rapid.SampledFrom([]words.Outcome{"hit", "filled", "joined", "direct", "copied", "bypassed"}).Draw(t, "outcome"), Requests: rapid.Int64Range(0, 50).Draw(t, "requests"),
				SavedBytes: rapid.Int64Range(0, 1<<40).Draw(t, "saved"), Fills: rapid.Int64Range(0, 9).Draw(t, "fills"), SourceBytes: rapid.Int64Range(0, 1<<40).Draw(t, "source"),
			}
			w.Downloads = rapid.Int64Range(0, w.Requests).Draw(t, "downloads")
			in.Requests = append(in.Requests, catalog.RequestStat{Backend: "local", ImageID: "lib:a", Outcome: w.Outcome, Requests: w.Requests, Downloads: w.Downloads, SavedBytes: w.SavedBytes})
			in.Fills = append(in.Fills, catalog.FillStat{Store: "local", ImageID: "lib:a", Fills: w.Fills, SourceBytes: w.SourceBytes})
			if rapid.Bool().Draw(t, "noted") {
				in.Work = append(in.Work, w)
			}
		}
		got := report.Build(in)
		var sum report.Figures
		for _, s := range append(got.Hosts, got.Projects...) {
			sum.Hits, sum.Misses, sum.Fills = sum.Hits+s.Hits, sum.Misses+s.Misses, sum.Fills+s.Fills
			sum.SavedBytes, sum.DownloadedBytes = sum.SavedBytes+s.SavedBytes, sum.DownloadedBytes+s.DownloadedBytes
			if s.Requests < 0 || s.Hits < 0 || s.Misses < 0 {
				t.Fatalf("less than none: %+v", s)
			}
		}
		total := got.Total
		if sum.Hits != total.Hits || sum.Misses != total.Misses || sum.Fills != total.Fills || sum.SavedBytes != total.SavedBytes || sum.DownloadedBytes != total.DownloadedBytes {
			t.Fatalf("shares add up to %+v, the total is %+v", sum, total)
		}
	})
}
