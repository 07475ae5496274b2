package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/clonecache/clonecache/plugin"
)

const (
	showAfter = time.Second     // a command that is quicker shows no progress
	lineEvery = 3 * time.Second // between lines where nobody watches
)

// meter shows how far something has come, on standard error: a bar on a terminal, else a line every
// few seconds. It is used from one goroutine.
type meter struct {
	out   io.Writer
	kind  meterKind
	now   func() time.Time
	label string

	began time.Time // of this command
	phase string
	since time.Time // of this phase
	first int64     // bytes done when the phase was first heard of
	bar   *progressbar.ProgressBar
	drawn bool      // the bar is on the terminal
	wrote time.Time // the last line
}

// meterKind is how a meter shows.
type meterKind int

const (
	silent meterKind = iota
	asBar
	asLines
)

func (a *app) meter(label string) *meter {
	m := &meter{out: a.Err, now: a.Now, label: label, began: a.Now()}
	switch {
	case a.progress == progressNever:
	case bool(a.Terminal):
		m.kind = asBar
	default:
		m.kind = asLines
	}
	if a.progress == progressAlways {
		m.began = time.Time{}
	}
	return m
}

// update shows that done of total bytes are done; total -1 is unknown.
func (m *meter) update(phase string, done, total int64) {
	now := m.now()
	if phase != m.phase {
		m.finish()
		m.phase, m.since, m.first, m.wrote = phase, now, done, now.Add(-lineEvery)
		if m.kind == asBar {
			m.bar = m.newBar(total)
			m.bar.StartWithoutRender() // its rate counts from here on
		}
	}
	if m.kind == silent || now.Sub(m.began) < showAfter {
		return
	}
	if m.kind == asBar {
		m.drawn = true
		_ = m.bar.Set64(done) // a bar that cannot be drawn harms nothing
		return
	}
	if now.Sub(m.wrote) >= lineEvery {
		m.wrote = now
		fmt.Fprintln(m.out, m.text(now, done, total))
	}
}

func (m *meter) newBar(total int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(m.out),
		progressbar.OptionSetDescription(m.phase+" "+clean(cell(m.label))),
		progressbar.OptionSetRenderBlankState(false),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}

// text is a line such as "filling library:x: 120 MiB of 690 MiB (17%), 95 MiB/s, 6s left".
func (m *meter) text(now time.Time, done, total int64) string {
	s := m.phase + " " + clean(cell(m.label))
	if done <= 0 && total <= 0 {
		return s
	}
	s += ": " + size(done)
	if total > 0 {
		s += fmt.Sprintf(" of %s (%d%%)", size(total), done*100/total)
	}
	elapsed := now.Sub(m.since).Seconds()
	if elapsed < 0.1 || done <= m.first {
		return s
	}
	rate := float64(done-m.first) / elapsed
	s += ", " + size(int64(rate)) + "/s"
	if total > done {
		s += ", " + short(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
	}
	return s
}

// finish removes the bar, so that what is printed next stands alone.
func (m *meter) finish() {
	if m.drawn {
		_ = m.bar.Clear()
	}
	m.bar, m.drawn = nil, false
}

// request shows a volume request's progress.
func (m *meter) request(p plugin.Progress) { m.update(p.Phase, p.ReadBytes, p.TotalBytes) }

// waiting shows, on a terminal, that a call which reports no progress is still going on. The function
// that it returns ends that, and returns once nothing more is shown.
func (a *app) waiting(what string) (stop func()) {
	if !a.Terminal || a.progress == progressNever {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		timer := time.NewTimer(showAfter)
		defer timer.Stop()
		select {
		case <-done:
			return
		case <-timer.C:
		}
		bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(a.Err), progressbar.OptionSetDescription(what),
			progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish())
		<-done
		_ = bar.Finish()
	}()
	return func() { close(done); <-gone }
}
