package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin"
)

const (
	showAfter = time.Second            // a command that is quicker shows no progress
	lineEvery = 3 * time.Second        // between lines where nobody watches
	drawEvery = 100 * time.Millisecond // between two looks of one line on a terminal
)

// Progress on a terminal is one line, drawn again and again, which is always shorter than the terminal is wide:
// one that fills it would wrap, and the next look would scroll.
const (
	homeAndErase = "\r\x1b[K"
	narrowest    = 20 // columns; below these, progress does not try to fit
)

// meter shows how far something has come, on standard error: one line that changes on a terminal, else a line
// every few seconds. It is used from one goroutine.
type meter struct {
	out     io.Writer
	kind    meterKind
	columns func() int
	now     func() time.Time
	label   string

	began time.Time // of this command
	phase string
	since time.Time // of this phase
	first int64     // bytes done when the phase was first heard of
	drawn bool      // a line is on the terminal
	wrote time.Time // the last line, or look
}

// meterKind is how a meter shows.
type meterKind int

const (
	silent meterKind = iota
	onTerminal
	asLines
)

func (a *app) meter(label string) *meter {
	m := &meter{out: a.Err, columns: a.Columns, now: a.Now, label: clean(cell(label)), began: a.Now()}
	switch {
	case a.progress == progressNever:
	case a.watched():
		m.kind = onTerminal
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
		m.phase, m.since, m.first, m.wrote = phase, now, done, time.Time{}
	}
	if m.kind == silent || now.Sub(m.began) < showAfter {
		return
	}
	if m.kind == asLines && now.Sub(m.wrote) >= lineEvery {
		m.wrote = now
		fmt.Fprintln(m.out, m.text(now, done, total))
	}
	if m.kind == onTerminal && (now.Sub(m.wrote) >= drawEvery || done == total) {
		m.wrote, m.drawn = now, true
		fmt.Fprint(m.out, homeAndErase+m.fitted(now, done, total, max(m.columns(), narrowest)-1))
	}
}

// text is a line such as "filling library:x: 120 MiB of 690 MiB (17%), 95 MiB/s, 6s left".
func (m *meter) text(now time.Time, done, total int64) string {
	s := m.phase + " " + m.label
	if said := m.measures(now, done, total).most(); said != "" {
		s += ": " + said
	}
	return s
}

// fitted is such a line in at most so many columns, with a bar where there is room for one. Where it is narrow,
// it says less, and of the label as much as fits.
func (m *meter) fitted(now time.Time, done, total int64, columns int) string {
	const (
		least    = 16 // columns of the label that are worth saying less
		barMost  = 20
		barLeast = 8
	)
	f := m.measures(now, done, total)
	said, left := "", 0
	for _, said = range f.ways() {
		left = columns - wide(m.phase) - 1
		if said != "" {
			left -= 2 + wide(said)
		}
		if left >= min(least, wide(m.label)) {
			break
		}
	}
	line := m.phase + " " + elide(m.label, max(0, left))
	if room := left - wide(m.label) - 3; f.share >= 0 && room >= barLeast {
		line += " " + bar(f.share, min(room, barMost))
	}
	if said != "" {
		line += ": " + said
	}
	return head(line, columns)
}

// bar is share, 0 to 1, as a bar so many columns wide, with its two ends.
func bar(share float64, columns int) string {
	full := int(share * float64(columns))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", columns-full) + "]"
}

// measures are what there is to say of a phase; "" where it is not known.
type measures struct {
	amount  string  // "120 MiB of 690 MiB"
	share   float64 // 0 to 1; below 0: unknown
	percent string
	rate    string
	left    string
}

func (m *meter) measures(now time.Time, done, total int64) measures {
	f := measures{share: -1}
	if done <= 0 && total <= 0 {
		return f
	}
	f.amount = size(done)
	if total > 0 {
		f.amount += " of " + size(total)
		f.share = min(1, max(0, float64(done)/float64(total)))
		f.percent = fmt.Sprintf("%d%%", done*100/total)
	}
	elapsed := now.Sub(m.since).Seconds()
	if elapsed < 0.1 || done <= m.first {
		return f
	}
	rate := float64(done-m.first) / elapsed
	f.rate = size(int64(rate)) + "/s"
	if total > done {
		f.left = short(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
	}
	return f
}

// most says all of them.
func (f measures) most() string {
	amount := f.amount
	if f.percent != "" {
		amount += " (" + f.percent + ")"
	}
	return joined(amount, f.rate, f.left)
}

// ways are how the figures can be said, the longest first.
func (f measures) ways() []string {
	brief := f.percent
	if brief == "" {
		brief = f.amount
	}
	return []string{f.most(), joined(f.amount, f.left), joined(brief, f.left), brief}
}

func joined(parts ...string) string {
	var known []string
	for _, p := range parts {
		if p != "" {
			known = append(known, p)
		}
	}
	return strings.Join(known, ", ")
}

// finish removes the line, so that what is printed next stands alone.
func (m *meter) finish() {
	if m.drawn {
		fmt.Fprint(m.out, homeAndErase)
	}
	m.drawn = false
}

// request shows a volume request's progress.
func (m *meter) request(p plugin.Progress) {
	phase := p.Phase
	if p.WaitsFor != "" {
		phase += " (" + string(p.WaitsFor) + ")"
	}
	m.update(phase, p.ReadBytes, p.TotalBytes)
}

// waiting shows, on a terminal, that a call which reports no progress is still going on. The function
// that it returns ends that, and returns once nothing more is shown.
func (a *app) waiting(what string) (stop func()) {
	if !a.watched() || a.progress == progressNever {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		a.countSeconds(what, done)
	}()
	return func() { close(done); <-gone }
}

// countSeconds shows how long what has been going on, until done.
func (a *app) countSeconds(what string, done <-chan struct{}) {
	began := time.Now()
	tick := time.NewTicker(showAfter)
	defer tick.Stop()
	for drawn := false; ; drawn = true {
		select {
		case <-done:
			if drawn {
				fmt.Fprint(a.Err, homeAndErase)
			}
			return
		case now := <-tick.C:
			line := fmt.Sprintf("%s: %s", what, short(now.Sub(began)))
			fmt.Fprint(a.Err, homeAndErase+head(line, max(a.Columns(), narrowest)-1))
		}
	}
}
