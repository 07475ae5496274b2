package report_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
	"github.com/clonecache/clonecache/plugin/words"
)

func drawStore(t *rapid.T) report.Store {
	return report.Store{
		Name: rapid.SampledFrom(names()[:3]).Draw(t, "store"), Kind: "file",
		Entries: rapid.IntRange(0, 9).Draw(t, "entries"), HeldBytes: rapid.Int64Range(0, 1<<40).Draw(t, "held"),
		DetachedBytes: rapid.Int64Range(0, 1<<40).Draw(t, "detached"), MaxSizeBytes: rapid.Int64Range(0, 1<<40).Draw(t, "max"),
	}
}

func drawRequest(t *rapid.T) catalog.RequestStat {
	count := rapid.Int64Range(0, 1000).Draw(t, "requests")
	return catalog.RequestStat{
		Backend:         rapid.SampledFrom(names()).Draw(t, "backend"),
		ImageID:         rapid.SampledFrom([]string{"lib:a", "lib:b", "web:c"}).Draw(t, "image"),
		Outcome:         rapid.SampledFrom([]words.Outcome{"hit", "filled", "joined", "direct", "copied", "bypassed"}).Draw(t, "outcome"),
		Reason:          rapid.SampledFrom([]words.Reason{"ready", "no_room", "over_quota"}).Draw(t, "reason"),
		Requests:        count,
		Downloads:       rapid.Int64Range(0, count).Draw(t, "downloads"),
		DownloadedBytes: rapid.Int64Range(0, 1<<40).Draw(t, "downloaded"),
		SavedBytes:      rapid.Int64Range(0, 1<<40).Draw(t, "saved"),
	}
}

func drawFill(t *rapid.T) catalog.FillStat {
	count := rapid.Int64Range(0, 100).Draw(t, "fills")
	return catalog.FillStat{
		Store: rapid.SampledFrom(names()).Draw(t, "store"), ImageID: rapid.SampledFrom([]string{"lib:a", "web:c"}).Draw(t, "image"),
		Fills: count, Failed: rapid.Int64Range(0, count).Draw(t, "failed"), SourceBytes: rapid.Int64Range(0, 1<<40).Draw(t, "source"), Took: time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "took")),
	}
}

func drawLatency(t *rapid.T) catalog.LatencyStat {
	return catalog.LatencyStat{
		Backend: rapid.SampledFrom(names()).Draw(t, "backend"), Outcome: rapid.SampledFrom([]words.Outcome{"hit", "filled"}).Draw(t, "outcome"),
		Bucket: catalog.BucketOf(time.Duration(rapid.Int64().Draw(t, "took"))), Requests: rapid.Int64Range(1, 1000).Draw(t, "count"),
	}
}

func drawEviction(t *rapid.T) catalog.EvictionStat {
	return catalog.EvictionStat{
		Store: rapid.SampledFrom(names()).Draw(t, "store"), Cause: rapid.SampledFrom([]catalog.EvictCause{"size", "admin"}).Draw(t, "cause"),
		Count: rapid.Int64Range(0, 100).Draw(t, "count"),
	}
}

func TestTheTotalIsTheSumOfTheRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := report.Input{
			Stores:    rapid.SliceOfNDistinct(rapid.Custom(drawStore), 0, 3, func(s report.Store) backends.Name { return s.Name }).Draw(t, "stores"),
			Requests:  rapid.SliceOfN(rapid.Custom(drawRequest), 0, 30).Draw(t, "requests"),
			Evictions: rapid.SliceOfN(rapid.Custom(drawEviction), 0, 10).Draw(t, "evictions"),
			Fills:     rapid.SliceOfN(rapid.Custom(drawFill), 0, 10).Draw(t, "fills"),
			Latencies: rapid.SliceOfN(rapid.Custom(drawLatency), 0, 20).Draw(t, "latencies"),
		}
		got := report.Build(in)
		checkTotals(t, got)
		if again := report.Build(in); !reflect.DeepEqual(got, again) {
			t.Fatalf("the same input gave %+v, then %+v", got, again)
		}
	})
}
