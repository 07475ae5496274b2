package cli

import (
	"slices"
	"strings"
)

const gap = 2 // blanks between columns

// block is some rows under each other. With heads it is a list: where it is wider than the terminal, what
// may be shortened is, and what may be left out goes. Without heads nothing is lost: cells are wrapped.
type block struct {
	heads []string
	rows  [][]string
	spare []string // heads of columns that may be left out, in this order
}

// soft are the heads of columns whose cells may be shortened, and to how much before other columns are left
// out: names and sentences, of which a part still says something. Half a number or a time does not.
var soft = map[string]int{"IMAGE": 16, "VOLUME": 10, "BACKEND": 8, "DETAIL": 20, "REMEDY": 20, "LOCATION": 12, "PATH": 12,
	"DEPENDS ON": 8, "FALLBACK": 6, "REASON": 12}

const leastSoft = 6 // columns that a shortened cell keeps where nothing is left to leave out

// column is one that is shown.
type column struct {
	index int
	width int
	least int
}

// columns are all of a block's, as wide as their cells.
func (b *block) columns() []column {
	var all []column
	for _, row := range b.all() {
		for i, cell := range row {
			if i == len(all) {
				all = append(all, column{index: i})
			}
			all[i].width = max(all[i].width, wide(cell))
		}
	}
	for i := range all {
		all[i].least = all[i].width
		switch {
		case b.heads == nil && i > 0:
			all[i].least = min(all[i].width, leastSoft)
		case i < len(b.heads) && soft[b.heads[i]] > 0:
			all[i].least = min(all[i].width, soft[b.heads[i]])
		}
	}
	return all
}

func (b *block) all() [][]string {
	if b.heads == nil {
		return b.rows
	}
	return append([][]string{b.heads}, b.rows...)
}

// fit makes columns fit into so many of the terminal's; 0 is no bound. leftOut are the heads of what is not shown.
func (b *block) fit(limit int) (shown []column, leftOut []string) {
	shown = b.columns()
	if limit <= 0 || total(shown, width) <= limit {
		return shown, nil
	}
	if b.heads != nil {
		shown = slices.DeleteFunc(shown, b.isEmpty)
	}
	for _, head := range b.spare {
		if total(shown, least) <= limit {
			break
		}
		at := slices.IndexFunc(shown, func(c column) bool { return b.heads[c.index] == head })
		if at >= 0 {
			shown, leftOut = slices.Delete(shown, at, at+1), append(leftOut, head)
		}
	}
	narrow(shown, limit)
	for i, c := range shown {
		if c.least < c.width || b.heads != nil && soft[b.heads[c.index]] > 0 {
			shown[i].least = min(c.width, leastSoft)
		}
	}
	narrow(shown, limit)
	return shown, leftOut
}

// isEmpty tells whether no row says anything in a column.
func (b *block) isEmpty(c column) bool {
	return len(b.rows) > 0 && !slices.ContainsFunc(b.rows, func(row []string) bool { return c.index < len(row) && row[c.index] != "-" })
}

// narrow takes from the widest columns first, as far as they may go.
func narrow(shown []column, limit int) {
	for total(shown, width) > limit {
		widest := -1
		for i, c := range shown {
			if c.width > c.least && (widest < 0 || c.width > shown[widest].width) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		shown[widest].width--
	}
}

func width(c column) int { return c.width }
func least(c column) int { return c.least }

func total(shown []column, of func(column) int) int {
	sum := gap * max(0, len(shown)-1)
	for _, c := range shown {
		sum += of(c)
	}
	return sum
}

// lines lays one row out: one line in a list, as many as it takes where cells are wrapped. No line is wider than
// limit, if that is not 0.
func (b *block) lines(row []string, shown []column, limit int) []string {
	cells := make([][]string, len(shown))
	height := 1
	for i, c := range shown {
		text := ""
		if c.index < len(row) {
			text = row[c.index]
		}
		switch {
		case limit <= 0:
			cells[i] = []string{text}
		case b.heads != nil:
			cells[i] = []string{elide(text, c.width)}
		default:
			cells[i] = wrapped(text, c.width)
		}
		height = max(height, len(cells[i]))
	}
	out := make([]string, height)
	for n := range out {
		out[n] = oneLine(cells, shown, n, len(row), limit)
	}
	return out
}

func oneLine(cells [][]string, shown []column, n, inRow, limit int) string {
	line := ""
	for i, c := range shown {
		if c.index >= inRow { // the row ends before
			break
		}
		text := ""
		if n < len(cells[i]) {
			text = cells[i][n]
		}
		if i < len(shown)-1 && c.index < inRow-1 {
			text = padded(text, c.width) + strings.Repeat(" ", gap)
		}
		line += text
	}
	if limit > 0 {
		line = elideLine(line, limit)
	}
	return line
}

// elideLine keeps a line that could not be made to fit from wrapping.
func elideLine(line string, limit int) string {
	if wide(line) <= limit {
		return line
	}
	return head(line, limit-1) + ellipsis
}
