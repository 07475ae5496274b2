package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. In the file, in flags and in the environment it is written "10GiB",
// "512MiB", "4KiB", "2TiB", or as plain bytes. Decimal units are refused, since "10GB" is read as
// either of two sizes, and so are fractions and signs.
type Size int64

// sizeUnits are the units that a Size is written in, largest first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"B", 1},
}

// ParseSize reads a size. The error says what would be accepted.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, "BKMGTPEbkmgtpei ")
	unit := strings.TrimSpace(s[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: write 10GiB, 512MiB or plain bytes", s)
	}
	if unit == "" {
		return Size(n), nil
	}
	for _, u := range sizeUnits {
		if unit != u.name {
			continue
		}
		if int64(n) > math.MaxInt64/u.bytes {
			return 0, fmt.Errorf("%q is more than this program can count", s)
		}
		return Size(int64(n) * u.bytes), nil
	}
	return 0, fmt.Errorf("%q has no known unit: use KiB, MiB, GiB or TiB (powers of 1024), or plain bytes", s)
}

// String writes the size in the largest unit that divides it, so that ParseSize reads it back.
func (s Size) String() string {
	for _, u := range sizeUnits[:len(sizeUnits)-1] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	if err == nil {
		*s = v
	}
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Set and Type make a Size a command-line flag.
func (s *Size) Set(text string) error { return s.UnmarshalText([]byte(text)) }

// Type names the flag's value in help texts.
func (*Size) Type() string { return "size" }
