package api

import (
	"strconv"
	"time"

	"github.com/clonecache/clonecache/plugin/report"
)

// plot is a picture of a course as bars, drawn by the server: it needs no script.
type plot struct {
	ID, What string // What: in words, for those who do not see it
	Top      string // what a bar of full height is
	Bars     []bar
	Width    int // of all bars
}

// bar is one of a plot, in units of which a bar is plotUnit wide and a full one plotHeight high.
type bar struct{ X, Y, Width, Height string }

const (
	plotUnit   = 10
	plotGap    = 2
	plotHeight = 100
)

// plotOf draws values of 0 to top, one a point; a negative one is not there.
func plotOf(id, what, topShown string, values []float64, top float64) plot {
	p := plot{ID: id, What: what, Top: topShown, Width: max(len(values), 1) * plotUnit}
	for i, v := range values {
		if v < 0 || top <= 0 {
			continue
		}
		const least = 1 // so that 0 is seen to be something else than none
		height := max(v/top*plotHeight, least)
		p.Bars = append(p.Bars, bar{decimals(float64(i*plotUnit) + plotGap/2), decimals(plotHeight - height), strconv.Itoa(plotUnit - plotGap), decimals(height)})
	}
	return p
}

func decimals(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) }

// courseData is what the overview shows of a course.
type courseData struct {
	Plots      []plot
	From, To   string
	Each       string // how long a bar is
	Rows       []courseRow
	AnyRequest bool
}

// courseRow is a point as text.
type courseRow struct {
	At, Ratio    string
	Hits, Misses int64
	Saved        string
}

// shownCourse draws the hit ratio and the bytes saved, and lists the points in which there was something.
func shownCourse(c report.Course) courseData {
	d := courseData{Each: shownStep(c.Step)}
	var ratios, saved []float64
	var most int64
	for _, p := range c.Points {
		ratio := -1.0
		if p.HitRatio != nil {
			ratio, d.AnyRequest = *p.HitRatio, true
			d.Rows = append(d.Rows, courseRow{shownSlot(p.At), shownPercent(ratio), p.Hits, p.Misses, shownSize(p.SavedBytes)})
		}
		of := float64(p.SavedBytes)
		if p.SavedBytes == 0 {
			of = -1
		}
		ratios, saved, most = append(ratios, ratio), append(saved, of), max(most, p.SavedBytes)
	}
	if n := len(c.Points); n > 0 {
		d.From, d.To = shownSlot(c.Points[0].At), shownSlot(c.Points[n-1].At.Add(c.Step))
	}
	d.Plots = []plot{
		plotOf("ratio", "Hit ratio, "+d.Each, "100 %", ratios, 1),
		plotOf("saved", "Bytes saved, "+d.Each, shownSize(most), saved, float64(most)),
	}
	return d
}

func shownSlot(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }

// shownStep says how long each bar is.
func shownStep(step time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case step == day:
		return "by day"
	case step > day:
		return "by " + strconv.Itoa(int(step/day)) + " days"
	case step == time.Hour:
		return "by hour"
	case step > time.Hour:
		return "by " + strconv.Itoa(int(step/time.Hour)) + " hours"
	case step == time.Minute:
		return "by minute"
	}
	return "by " + strconv.Itoa(int(step/time.Minute)) + " minutes"
}
