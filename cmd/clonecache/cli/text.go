package cli

import (
	"os"
	"strings"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// wide is how many columns of a terminal a text takes.
func wide(s string) int { return uniseg.StringWidth(s) }

const ellipsis = "…"

// elide is s in at most so many columns: names keep both ends, sentences their beginning.
func elide(s string, columns int) string {
	if wide(s) <= columns {
		return s
	}
	if columns < 2 {
		return head(s, columns)
	}
	if strings.Contains(s, " ") || columns < 8 {
		return head(s, columns-1) + ellipsis
	}
	front := columns / 2
	return head(s, front) + ellipsis + tail(s, columns-front-1)
}

// head is the longest beginning of s that takes at most so many columns.
func head(s string, columns int) string {
	rest, state, taken, end := s, -1, 0, 0
	for rest != "" {
		var cluster string
		var width int
		cluster, rest, width, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if taken+width > columns {
			break
		}
		taken += width
		end += len(cluster)
	}
	return s[:end]
}

// tail is the longest end of s that takes at most so many columns.
func tail(s string, columns int) string {
	rest, state, left := s, -1, wide(s)
	for rest != "" && left > columns {
		var width int
		_, rest, width, state = uniseg.FirstGraphemeClusterInString(rest, state)
		left -= width
	}
	return rest
}

// wrapped breaks s between words into lines of at most so many columns; a longer word is broken itself.
func wrapped(s string, columns int) []string {
	if wide(s) <= columns {
		return []string{s}
	}
	var lines []string
	line := ""
	for _, word := range strings.Split(s, " ") {
		if line != "" && wide(line)+1+wide(word) <= columns {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for line = word; wide(line) > columns; line = line[len(head(line, columns)):] {
			if head(line, columns) == "" { // not even one character fits
				return append(lines, line)
			}
			lines = append(lines, head(line, columns))
		}
	}
	return append(lines, line)
}

func padded(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-wide(s)))
}

// ColumnsOf tells how wide the terminal is that a file is, asking anew each time; 0 where it is none.
func ColumnsOf(f *os.File) func() int {
	return func() int {
		columns, _, err := term.GetSize(int(f.Fd()))
		switch {
		case err != nil:
			return 0
		case columns == 0: // a terminal that does not know its size, such as a serial console
			return 80
		}
		return columns
	}
}

// plural is how many there are, with the word for one or for several.
func plural(n int64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + several
}
