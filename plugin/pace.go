package plugin

import (
	"sync"
	"time"
)

// A pace goes by the last quarter of the time that the reading has taken, within these bounds. What is shown goes by seconds.
// An estimate goes by minutes where there are any: a source whose rate goes up and down is as fast as it was on the
// whole, and one that has become slower, or faster, for good is believed once that has lasted for a third of the time before.
const (
	paceEvery       = 100 * time.Millisecond
	shortestPace    = 2 * time.Second // a pause between two buffers is no pace
	longestPace     = 15 * time.Second
	longestEstimate = 5 * time.Minute
	// readingsKept is how many readings of the time that counts are kept, by and large.
	readingsKept = 128
)

// reading is how much had been read at a time.
type reading struct {
	at   time.Time
	read int64
}

// pace is how fast something is read, and when it will have been. The zero value knows nothing. It may be used from
// several goroutines.
type pace struct {
	mu    sync.Mutex
	begun time.Time
	seen  []reading // those that count, the oldest first
}

// note says how much has been read by now. What is less than before begins anew.
func (p *pace) note(now time.Time, read int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.seen) - 1
	switch {
	case last < 0, read < p.seen[last].read:
		p.begun, p.seen = now, append(p.seen[:0], reading{now, read})
		return
	case last > 0 && p.seen[last].at.Sub(p.seen[last-1].at) < max(paceEvery, p.counts(longestEstimate)/readingsKept):
		p.seen[last] = reading{now, read} // the newest always counts
		return
	}
	p.seen = append(p.seen, reading{now, read})
	p.seen = append(p.seen[:0], p.seen[p.oldest(longestEstimate):]...)
}

// hear is note of what is told from time to time, as by another host: what was told before is no reading.
func (p *pace) hear(now time.Time, read int64) {
	p.mu.Lock()
	told := len(p.seen) > 0 && p.seen[len(p.seen)-1].read == read
	p.mu.Unlock()
	if !told {
		p.note(now, read)
	}
}

// counts is the time that a pace goes by, of which no more than most counts. Something has been read.
func (p *pace) counts(most time.Duration) time.Duration {
	lasts := p.seen[len(p.seen)-1].at.Sub(p.begun)
	return min(max(lasts/4, shortestPace), most)
}

// oldest is the first of the readings that count.
func (p *pace) oldest(most time.Duration) int {
	since := p.seen[len(p.seen)-1].at.Add(-p.counts(most))
	old := 0
	for old+2 < len(p.seen) && !p.seen[old+1].at.After(since) {
		old++
	}
	return old
}

// forget begins anew.
func (p *pace) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

// rate is bytes a second in the last seconds; 0: not known. A source that gives nothing is slower by the moment.
func (p *pace) rate(now time.Time) int64 { return p.rateOver(now, longestPace) }

// rateOver is rate in the time that counts, of which no more than most does.
func (p *pace) rateOver(now time.Time, most time.Duration) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) < 2 {
		return 0
	}
	first, last := p.seen[p.oldest(most)], p.seen[len(p.seen)-1]
	until := last.at
	if now.Sub(until) > p.quiet() {
		until = now
	}
	took := until.Sub(first.at)
	if took <= 0 {
		return 0
	}
	return int64(float64(last.read-first.read) / took.Seconds())
}

// quiet is how long nothing may come: what is read a block at a time comes in pushes, which are far apart where the source is
// slow. Something has been read.
func (p *pace) quiet() time.Duration {
	first, last := p.seen[0], p.seen[len(p.seen)-1]
	return max(shortestPace, 2*last.at.Sub(first.at)/time.Duration(max(len(p.seen)-1, 1)))
}

// since is when something came last; false: nothing has, for a while.
func (p *pace) since(now time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == 0 {
		return now, true
	}
	last := p.seen[len(p.seen)-1].at
	return last, now.Sub(last) <= p.quiet()
}

// lasts is how long it has been read.
func (p *pace) lasts() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == 0 {
		return 0
	}
	return p.seen[len(p.seen)-1].at.Sub(p.begun)
}

// eta is when all of total bytes will have been read, if so many are by now; nil: nobody can tell, also since nothing
// more has come for a while.
func (p *pace) eta(now time.Time, read, total int64) *time.Time {
	rate := p.rateOver(now, longestEstimate)
	from, comes := p.since(now)
	if rate <= 0 || !comes || total < 0 || read > total {
		return nil
	}
	left := float64(total-read) / float64(rate)
	const longest = 30 * 24 * 3600 // seconds; beyond that it stands still
	if left > longest {
		return nil
	}
	at := from.Add(time.Duration(left * float64(time.Second)))
	if at.Before(now) {
		at = now
	}
	at = at.UTC().Round(time.Millisecond)
	return &at
}

// An estimate is believed from a quarter of the image on, once that was read for shortestPace, and where it is beyond the
// deadline by more than a fifth of what is left to wait. A source that stands still gives none: its fill ends with the last
// who waits for it.
const (
	believedFrom = 4 // the share of the image that has been read
	estimateErrs = 5 // the share of the time that is left
)

// missesAll tells that the fill, which has read for so long, will end too late for the waiter, as far as anybody can tell.
func (w *waiter) missesAll(so Progress, lasts time.Duration, now time.Time) bool {
	if w.deadline.IsZero() || so.ETA == nil || lasts < shortestPace || so.ReadBytes < so.TotalBytes/believedFrom {
		return false
	}
	latest := w.deadline.Add(-deadlineMargin)
	return so.ETA.Add(-so.ETA.Sub(now) / estimateErrs).After(latest)
}
