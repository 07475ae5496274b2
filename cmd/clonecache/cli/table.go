package cli

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// table writes aligned columns for people, which fit the terminal.
type table struct {
	out io.Writer
	now time.Time // also says which time zone is shown
	look
	block block
	err   error
}

// look is how tables are written.
type look struct {
	columns int  // of the terminal; 0: none, and no bound
	exact   bool // sizes in bytes
	bare    bool // no heads
}

func newTable(out io.Writer, now time.Time, l look) *table {
	return &table{out: out, now: now, look: l}
}

// blank is a cell that is meant to be empty.
const blank = " "

// head begins a list of these columns.
func (t *table) head(cells ...string) {
	t.endColumns()
	t.block.heads = cells
}

// spare says which columns of the list may be left out where it is too wide, in this order.
func (t *table) spare(heads ...string) { t.block.spare = heads }

// row writes one line of cells; one without a value is shown as "-".
func (t *table) row(cells ...string) {
	shown := make([]string, len(cells))
	for i, c := range cells {
		shown[i] = clean(cell(c))
	}
	t.block.rows = append(t.block.rows, shown)
}

// line writes text that belongs to no column. If it has several lines, the others are indented.
func (t *table) line(format string, args ...any) {
	t.endColumns()
	t.text(indented(fmt.Sprintf(format, args...)) + "\n")
}

// endColumns writes the rows so far, and lets the next row start new columns.
func (t *table) endColumns() {
	b := t.block
	t.block = block{}
	shown, leftOut := b.fit(t.columns)
	rows := b.all()
	if b.heads != nil && t.bare {
		rows = b.rows
	}
	for _, row := range rows {
		for _, line := range b.lines(row, shown, t.columns) {
			t.text(line + "\n")
		}
	}
	if len(leftOut) > 0 {
		note := "(no room for " + strings.Join(leftOut, ", ") + "; -o json has all)"
		t.text(strings.Join(wrapped(note, t.columns), "\n") + "\n")
	}
}

func (t *table) text(s string) {
	if _, err := io.WriteString(t.out, clean(s)); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) flush() error {
	t.endColumns()
	if t.err != nil {
		return fmt.Errorf("write the result: %w", t.err)
	}
	return nil
}

// size is a number of bytes: "10 GiB", or the number itself.
func (l look) size(n int64) string {
	if l.exact && n >= 0 {
		return count(n)
	}
	return size(n)
}

// ago is a time relative to now: "3m ago".
func (t *table) ago(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	d := t.now.Sub(at)
	if d < time.Second && d > -time.Second {
		return "now"
	}
	if d < 0 {
		return "in " + short(-d)
	}
	return short(d) + " ago"
}

// moment is a time as people note it, with how long ago that was.
func (t *table) moment(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.In(t.now.Location()).Format("2006-01-02 15:04:05") + " (" + t.ago(at) + ")"
}

// clean replaces what names from elsewhere could steer a terminal with: control characters, and those that turn the
// direction of writing. Ends of lines and tabs stay; see cell and indented.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// cell is a text as one cell of one line, whatever is in it: a name with an end of line in it adds no line. One
// without a value is shown as "-".
func cell(s string) string {
	if s == "" {
		return "-"
	}
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(s)
}

// sentence is what may have several lines, since several things went wrong, in one.
func sentence(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }), "; ")
}

// indented is a text of which only the first line begins where lines begin.
func indented(s string) string { return strings.ReplaceAll(s, "\n", "\n  ") }

// short is a duration in its largest unit: "3m", "2h", "5d".
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// took is a measured time: "1.2 ms", "340 ms", "12.3 s".
func took(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 60_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return (time.Duration(ms) * time.Millisecond).Round(time.Second).String()
}

// size is a number of bytes: "10 GiB".
func size(n int64) string {
	if n < 0 {
		return "unknown"
	}
	return strings.Replace(humanize.IBytes(uint64(n)), ".0 ", " ", 1)
}

// bound is a size or a count that may be absent.
func bound(n int64, text string) string {
	if n == 0 {
		return "unlimited"
	}
	return text
}

func count[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }

func percent(ratio float64) string {
	return strconv.FormatFloat(math.Round(ratio*1000)/10, 'f', -1, 64) + "%"
}

func yesNo[T ~bool](v T) string {
	if v {
		return "yes"
	}
	return "no"
}

// few is the first of some texts and how many more there are.
func few(texts []string) string {
	switch len(texts) {
	case 0:
		return ""
	case 1:
		return texts[0]
	}
	return fmt.Sprintf("%s (+%d)", texts[0], len(texts)-1)
}

// shortIDs shortens the IDs of one list to what tells them apart, and no less than shortID leaves.
func shortIDs[T any](list []T, id func(T) string) func(string) string {
	const whole = 36 // characters of an UUID
	length := enoughID
	for length < whole && !distinct(list, id, length) {
		length++
	}
	return func(s string) string { return s[:min(len(s), length)] }
}

// distinct tells whether the first length characters tell different IDs apart.
func distinct[T any](list []T, id func(T) string, length int) bool {
	all := make(map[string]string, len(list))
	for _, item := range list {
		whole := id(item)
		begins := whole[:min(len(whole), length)]
		if other, known := all[begins]; known && other != whole {
			return false
		}
		all[begins] = whole
	}
	return true
}

// enoughID is how much of an ID is shown: of a version 7 UUID, when it was made, to the millisecond.
const enoughID = 13

// shortID is as much of an entry's ID as is worth typing.
func shortID(id string) string {
	return id[:min(len(id), enoughID)]
}
