package report

import (
	"slices"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// Point is what requests of a while came to.
type Point struct {
	At           time.Time // when it began
	Requests     int64     // but direct and bypassed ones, in which the cache takes no part
	Hits, Misses int64
	HitRatio     *float64 // nil: there were no hits and misses
	SavedBytes   int64
}

// Course is what the cache did over time.
type Course struct {
	Step   time.Duration // of each point
	Points []Point       // the oldest first, without gaps
}

// steps are how long a point may last, in UTC's own minutes, hours and days.
var steps = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

// mostPoints bounds a course: more are not seen apart.
const mostPoints = 61

// StepOf is how long the points of a course from since until now last: as short as there are not too many of them.
func StepOf(since, now time.Time) time.Duration {
	for _, step := range steps {
		if len(beginnings(since, now, step)) <= mostPoints {
			return step
		}
	}
	step := steps[len(steps)-1]
	for len(beginnings(since, now, step)) > mostPoints { // the time between may be longer than a duration can be
		step *= 2
	}
	return step
}

// beginnings are those of the points from since until now. Where they would be too many, some more than that.
func beginnings(since, now time.Time, step time.Duration) (all []time.Time) {
	for at := slotOf(since, step); at.Before(now) && len(all) < 2*mostPoints; at = at.Add(step) {
		all = append(all, at)
	}
	return all
}

// slotOf is the beginning of the point that a time is in, as the catalog counts.
func slotOf(at time.Time, step time.Duration) time.Time {
	s := int64(step / time.Second)
	return time.Unix(at.Unix()-at.Unix()%s, 0).UTC()
}

// CourseOf puts what the catalog counted in order. Of a while that nothing was counted in, there is a point that says so.
func CourseOf(counted []catalog.SlotStat, since, now time.Time, step time.Duration) Course {
	c := Course{Step: step}
	for _, at := range beginnings(since, now, step) {
		c.Points = append(c.Points, Point{At: at})
	}
	for _, s := range counted {
		i := slices.IndexFunc(c.Points, func(p Point) bool { return p.At.Equal(s.At) })
		if i < 0 {
			continue
		}
		hits, misses := served(catalog.RequestStat{Outcome: s.Outcome, Requests: s.Requests, Downloads: s.Downloads})
		p := &c.Points[i]
		p.Hits, p.Misses, p.SavedBytes = p.Hits+hits, p.Misses+misses, p.SavedBytes+s.SavedBytes
		p.Requests = p.Hits + p.Misses
	}
	for i := range c.Points {
		if p := &c.Points[i]; p.Requests > 0 {
			ratio := float64(p.Hits) / float64(p.Requests)
			p.HitRatio = &ratio
		}
	}
	return c
}
