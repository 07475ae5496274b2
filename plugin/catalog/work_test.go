package catalog

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

// What each daemon did for each project is summed with the same requests, once, and goes with them.
func TestWorkIsSummedByHostAndProject(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	since := at.now()
	request := func(seq int64, project string, outcome words.Outcome) Request {
		return Request{Seq: seq, At: since, Backend: "local", ImageID: "i", Project: project, Outcome: outcome, Took: time.Millisecond, SavedBytes: 10}
	}
	added := request(3, "p", "hit")
	added.Times, added.Took, added.SavedBytes = 4, 4*time.Millisecond, 40
	down := request(4, Everybody, "copied")
	down.DownloadedBytes, down.SavedBytes = 7, 0
	is(t, "record", c.Record(ctx, "a", 4, []Request{request(1, "p", "hit"), request(2, "", "hit"), added, down}), nil)
	is(t, "once more", c.Record(ctx, "a", 4, []Request{request(1, "p", "hit")}), nil)
	is(t, "another host", c.Record(ctx, "b", 1, []Request{request(1, "p", "hit")}), nil)
	fill := FillRecord{At: since, Store: "local", ImageID: "i", Host: "b", Project: "p", SourceBytes: 7}
	is(t, "fill", c.RecordFill(ctx, fill), nil)
	fill.At, fill.Error = since.Add(time.Hour), "broke off"
	is(t, "failed fill", c.RecordFill(ctx, fill), nil)

	want := []WorkStat{
		{Host: "a", Outcome: "hit", Requests: 1, SavedBytes: 10, Took: time.Millisecond},
		{Host: "a", Project: Everybody, Outcome: "copied", Requests: 1, Downloads: 1, Took: time.Millisecond},
		{Host: "a", Project: "p", Outcome: "hit", Requests: 5, SavedBytes: 50, Took: 5 * time.Millisecond},
		{Host: "b", Project: "p", Fills: 2, Failed: 1, SourceBytes: 14},
		{Host: "b", Project: "p", Outcome: "hit", Requests: 1, SavedBytes: 10, Took: time.Millisecond},
	}
	check := func(name string, in Span, want []WorkStat) {
		t.Helper()
		if got, err := c.SumsIn(ctx, in); err != nil || !slices.Equal(got.Work, want) {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", name, err, got.Work, want)
		}
	}
	check("all", Span{}, want)
	late := []WorkStat{{Host: "b", Project: "p", Fills: 1, Failed: 1, SourceBytes: 7}}
	check("later", Span{Since: since.Add(time.Hour)}, late)
	is(t, "prune", c.Prune(ctx, since.Add(time.Hour)), nil)
	check("pruned", Span{}, late)
}

func TestALongNameOfAProjectIsCut(t *testing.T) {
	c, at := fresh(t)
	long := strings.Repeat("ä", 200)
	is(t, "record", c.Record(t.Context(), "a", 1, []Request{{Seq: 1, At: at.now(), Backend: "local", Project: long, Outcome: "hit"}}), nil)
	got, err := c.SumsIn(t.Context(), Span{})
	if want := strings.Repeat("ä", 127); err != nil || len(got.Work) != 1 || got.Work[0].Project != want {
		t.Errorf("got %+v, %v, want %s", got.Work, err, want)
	}
}
