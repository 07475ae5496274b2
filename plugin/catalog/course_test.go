package catalog

import (
	"slices"
	"testing"
	"time"
)

// Requests are summed by whiles, whatever their images and reasons are; the first while counts whole.
func TestACourseIsSummedByWhiles(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var requests []Request
	for _, minutes := range []int{1, 14, 15, 75} {
		for _, image := range []string{"a", "b"} {
			requests = append(requests, Request{At: noon.Add(time.Duration(minutes) * time.Minute), Backend: "local", ImageID: image, Outcome: "hit", SavedBytes: 10})
		}
	}
	requests = append(requests, Request{At: noon.Add(time.Minute), Backend: "local", Outcome: "copied", DownloadedBytes: 3})
	is(t, "record", c.Record(ctx, "a", 0, requests), nil)
	hits := func(at time.Time, n int64) SlotStat {
		return SlotStat{At: at, Outcome: "hit", Requests: n, SavedBytes: 10 * n}
	}
	copied := SlotStat{At: noon, Outcome: "copied", Requests: 1, Downloads: 1}
	for _, test := range []struct {
		name string
		in   Span
		step time.Duration
		want []SlotStat
	}{
		{"quarters", Span{Since: noon}, 15 * time.Minute, []SlotStat{copied, hits(noon, 4), hits(noon.Add(15*time.Minute), 2), hits(noon.Add(75*time.Minute), 2)}},
		{"hours", Span{Since: noon.Add(50 * time.Minute)}, time.Hour, []SlotStat{copied, hits(noon, 6), hits(noon.Add(time.Hour), 2)}},
		{"until", Span{Since: noon, Until: noon.Add(15 * time.Minute)}, 24 * time.Hour, []SlotStat{{At: noon.Add(-12 * time.Hour), Outcome: "copied", Requests: 1, Downloads: 1}, hits(noon.Add(-12*time.Hour), 4)}},
		{"none", Span{Since: noon.Add(2 * time.Hour)}, time.Minute, nil},
	} {
		if got, err := c.Course(ctx, test.in, test.step); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", test.name, err, got, test.want)
		}
	}
}
