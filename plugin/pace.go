package plugin

import (
	"sync"
	"time"
)

// A pace goes by the last quarter of the time that the reading has taken, within these bounds: a source that has become
// slower, or faster, is believed soon, and a pause between two buffers is no pace.
const (
	paceEvery    = 100 * time.Millisecond
	shortestPace = 2 * time.Second
	longestPace  = 15 * time.Second
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
	case last > 0 && p.seen[last].at.Sub(p.seen[last-1].at) < paceEvery:
		p.seen[last] = reading{now, read} // the newest always counts
		return
	}
	p.seen = append(p.seen, reading{now, read})
	since := now.Add(-min(max(now.Sub(p.begun)/4, shortestPace), longestPace))
	old := 0
	for old+2 < len(p.seen) && !p.seen[old+1].at.After(since) {
		old++
	}
	p.seen = append(p.seen[:0], p.seen[old:]...)
}

// forget begins anew.
func (p *pace) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

// rate is bytes a second by now; 0: not known. A source that gives nothing is slower by the moment.
func (p *pace) rate(now time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) < 2 {
		return 0
	}
	first, last := p.seen[0], p.seen[len(p.seen)-1]
	until := last.at
	if now.Sub(until) > shortestPace {
		until = now
	}
	took := until.Sub(first.at)
	if took <= 0 {
		return 0
	}
	return int64(float64(last.read-first.read) / took.Seconds())
}

// stands tells that nothing has come for a while.
func (p *pace) stands(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.seen) - 1
	return last >= 0 && now.Sub(p.seen[last].at) > shortestPace
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
	rate := p.rate(now)
	if rate <= 0 || p.stands(now) || total < 0 || read > total {
		return nil
	}
	left := float64(total-read) / float64(rate)
	const longest = 30 * 24 * 3600 // seconds; beyond that it stands still
	if left > longest {
		return nil
	}
	at := now.Add(time.Duration(left * float64(time.Second))).UTC().Round(time.Millisecond)
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
