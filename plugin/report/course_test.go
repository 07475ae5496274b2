package report_test

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
)

func TestPointsLastAsLongAsThereAreNotTooMany(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 34, 56, 0, time.UTC)
	const day = 24 * time.Hour
	for span, want := range map[time.Duration]time.Duration{
		0: time.Minute, time.Hour: time.Minute, 3 * time.Hour: 5 * time.Minute, day: time.Hour, 7 * day: 6 * time.Hour, 30 * day: day, 90 * day: 2 * day, 36500 * day: 1024 * day,
	} {
		step := report.StepOf(now.Add(-span), now)
		points := len(report.CourseOf(nil, now.Add(-span), now, step).Points)
		if step != want || points > 61 || span > 0 && points < 24 {
			t.Errorf("%v: %d points of %v, want some of %v", span, points, step, want)
		}
	}
	var beginning time.Time
	step := report.StepOf(beginning, now)
	all := report.CourseOf(nil, beginning, now, step).Points
	if n := len(all); n > 61 || all[n-1].At.Add(step).Before(now) {
		t.Errorf("since the beginning: %d points of %v, the last one at %v", n, step, all[n-1].At)
	}
	if got := report.CourseOf(nil, now.Add(time.Hour), now, time.Minute).Points; len(got) != 0 {
		t.Errorf("a time to come has %d points", len(got))
	}
}

func TestACourseHasNoGaps(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	at := func(hour int) time.Time { return time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC) }
	got := report.CourseOf([]catalog.SlotStat{
		{At: at(9), Outcome: "hit", Requests: 3, SavedBytes: 30}, {At: at(9), Outcome: "copied", Requests: 2, Downloads: 1},
		{At: at(11), Outcome: "bypassed", Requests: 7}, {At: at(12), Outcome: "filled", Requests: 2},
		{At: at(3), Outcome: "hit", Requests: 9}, // it is not asked for
	}, now.Add(-4*time.Hour), now, time.Hour).Points
	want := []report.Point{{At: at(8)}, {At: at(9), Hits: 4, Misses: 1, Requests: 5, SavedBytes: 30}, {At: at(10)}, {At: at(11)}, {At: at(12), Misses: 2, Requests: 2}}
	ratios := []float64{-1, 0.8, -1, -1, 0}
	if len(got) != len(want) {
		t.Fatalf("%d points, want %d: %+v", len(got), len(want), got)
	}
	for i, p := range got {
		ratio := -1.0
		if p.HitRatio != nil {
			ratio = *p.HitRatio
		}
		p.HitRatio = nil
		if p != want[i] || ratio != ratios[i] {
			t.Errorf("point %d: %+v with a ratio of %v, want %+v with %v", i, p, ratio, want[i], ratios[i])
		}
	}
}
