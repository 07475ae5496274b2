package catalog

import (
	"slices"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

func TestRecordCountsEachRequestOnce(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := mustReady(t, c, spec("k"), 100)
	used := at.now().Add(10 * time.Minute)
	hit := Request{
		At: used, Backend: "local", ImageID: "i", Entry: e.ID, Outcome: "hit", Reason: "ready",
		Took: 3 * time.Millisecond, SavedBytes: 50, Clones: 1,
	}
	with := func(seq int64, outcome words.Outcome, at time.Time) Request {
		r := hit
		r.Seq, r.Outcome, r.At = seq, outcome, at
		return r
	}
	is(t, "record", c.Record(ctx, "a", 4, []Request{
		with(1, "filled", used.Add(-time.Minute)), with(2, "hit", used), with(4, "joined", used.Add(-time.Hour)),
	}), nil)
	is(t, "overlapping", c.Record(ctx, "a", 6, []Request{
		with(2, "hit", used.Add(time.Hour)), with(4, "joined", used), with(6, "copied", used),
	}), nil)
	is(t, "another host", c.Record(ctx, "b", 2, []Request{with(2, "hit", used)}), nil)
	is(t, "without a journal", c.Record(ctx, "a", 0, []Request{with(0, "direct", time.Time{})}), nil)
	gone := with(7, "hit", used)
	gone.Entry = "gone"
	is(t, "an entry that is gone", c.Record(ctx, "a", 9, []Request{gone}), nil)
	is(t, "nothing, lower", c.Record(ctx, "a", 3, nil), nil)

	want := e
	want.Hits, want.Clones = 4, 6
	want.LastUsedAt = used.Add(time.Microsecond) // the one without a time is the last that came
	same(t, "entry", mustGet(t, c, e.ID), want)
	for host, want := range map[string]int64{"a": 9, "b": 2, "c": 0} {
		if got, err := c.Applied(ctx, InstanceID(host)); err != nil || got != want {
			t.Errorf("applied of %s: %d, %v, want %d", host, got, err, want)
		}
	}
	stat := func(outcome words.Outcome, n int64) RequestStat {
		return RequestStat{
			Backend: "local", ImageID: "i", Outcome: outcome, Reason: "ready", Requests: n,
			SavedBytes: 50 * n, Took: time.Duration(n) * 3 * time.Millisecond,
		}
	}
	tests := []struct {
		name  string
		since time.Time
		want  []RequestStat
	}{
		{"all", time.Time{}, []RequestStat{stat("copied", 1), stat("direct", 1), stat("filled", 1), stat("hit", 3), stat("joined", 1)}},
		{"that minute", used.Add(30 * time.Second), []RequestStat{stat("copied", 1), stat("hit", 3)}},
		{"later", used.Add(time.Minute), nil},
	}
	check := func(t *testing.T) {
		for _, test := range tests {
			if got, err := c.Requests(ctx, test.since); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%s: %v\n%+v\nwant\n%+v", test.name, err, got, test.want)
			}
		}
	}
	check(t)
	if err := c.Record(ctx, "a", 10, []Request{with(11, "hit", used)}); err == nil {
		t.Error("a sequence above the last one was taken")
	}
	check(t)
	is(t, "prune", c.Prune(ctx, used), nil)
	tests[0].want = tests[1].want
	check(t)
}

// A catalog that was not pruned for years is pruned to the minute, day by day.
func TestYearsOfSumsArePrunedToTheMinute(t *testing.T) {
	c, at := fresh(t)
	ctx, now := t.Context(), at.now()
	var requests []Request
	for _, age := range []time.Duration{3 * 365 * 24 * time.Hour, 400 * 24 * time.Hour, 49 * time.Hour, 25 * time.Hour, 24*time.Hour + time.Minute, 24 * time.Hour, time.Minute, 0} {
		requests = append(requests, Request{At: now.Add(-age), Backend: "local", ImageID: "i", Outcome: "hit"})
	}
	is(t, "record", c.Record(ctx, "a", 0, requests), nil)
	is(t, "prune", c.Prune(ctx, now.Add(-24*time.Hour)), nil)
	if got, err := c.Requests(ctx, time.Time{}); err != nil || len(got) != 1 || got[0].Requests != 3 {
		t.Errorf("got %+v, %v, want the 3 requests of the last 24 hours", got, err)
	}
	is(t, "prune again", c.Prune(ctx, now.Add(-24*time.Hour)), nil)
}

func TestRequestsThatDownloadedAreCounted(t *testing.T) {
	c, at := fresh(t)
	var requests []Request
	for _, bytes := range []int64{0, 10, 0, 5} {
		requests = append(requests, Request{At: at.now(), Backend: "local", ImageID: "i", Outcome: "copied", DownloadedBytes: bytes})
	}
	is(t, "record", c.Record(t.Context(), "a", 0, requests), nil)
	want := RequestStat{Backend: "local", ImageID: "i", Outcome: "copied", Requests: 4, Downloads: 2, DownloadedBytes: 15}
	if got, err := c.Requests(t.Context(), time.Time{}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
}

// One that stands for several counts as they would.
func TestRequestsThatWereAddedUp(t *testing.T) {
	c, at := fresh(t)
	e := mustReady(t, c, spec("k"), 100)
	r := Request{At: at.now(), Backend: "local", ImageID: "i", Entry: e.ID, Outcome: "hit", Times: 5, Clones: 5, SavedBytes: 50}
	down := Request{At: at.now(), Backend: "local", ImageID: "i", Entry: e.ID, Outcome: "hit", Times: 2, DownloadedBytes: 8}
	is(t, "record", c.Record(t.Context(), "a", 0, []Request{r, down}), nil)
	if got := mustGet(t, c, e.ID); got.Hits != 5 || got.Clones != 5 {
		t.Errorf("%d hits, %d clones, want 5 and 5", got.Hits, got.Clones)
	}
	want := RequestStat{Backend: "local", ImageID: "i", Outcome: "hit", Requests: 7, Downloads: 2, DownloadedBytes: 8, SavedBytes: 50}
	if got, err := c.Requests(t.Context(), time.Time{}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
}

func TestFillsAreSummed(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	since := at.now()
	for _, f := range []FillRecord{
		{At: since, Store: "local", ImageID: "a", Took: 2 * time.Second, SourceBytes: 10, WrittenBytes: 5},
		{At: since, Store: "local", ImageID: "a", Took: 5 * time.Second, SourceBytes: 10, WrittenBytes: 5},
		{At: since, Store: "local", ImageID: "a", Took: 3 * time.Second, SourceBytes: 10, WrittenBytes: 5},
		{At: since.Add(time.Hour), Store: "local", ImageID: "a", Took: 9 * time.Second, SourceBytes: 1, Error: "broke off"},
		{At: since.Add(time.Hour), Store: "files", ImageID: "a", Took: time.Second},
	} {
		is(t, "record", c.RecordFill(ctx, f), nil)
	}
	want := []FillStat{
		{Store: "files", ImageID: "a", Fills: 1, Took: time.Second, Longest: time.Second},
		{Store: "local", ImageID: "a", Fills: 4, Failed: 1, Took: 10 * time.Second, Longest: 5 * time.Second, SourceBytes: 31, WrittenBytes: 15},
	}
	if got, err := c.Fills(ctx, time.Time{}); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	want[1] = FillStat{Store: "local", ImageID: "a", Fills: 1, Failed: 1, SourceBytes: 1}
	if got, err := c.Fills(ctx, since.Add(time.Minute)); err != nil || !slices.Equal(got, want) {
		t.Errorf("later: %v\n%+v\nwant\n%+v", err, got, want)
	}
}
