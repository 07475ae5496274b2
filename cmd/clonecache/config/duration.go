package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Duration is a length of time, written "30s", "15m", "24h", "7d" or "1d12h". A day is 24 hours. Plain
// numbers are refused, for want of a unit, and so are negative ones.
type Duration time.Duration

// ParseDuration reads a duration. The error says what would be accepted.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q is not a duration: write 30s, 15m, 24h or 7d", s)
	var total time.Duration
	rest := s
	if days, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 63)
		if err != nil {
			return 0, bad
		}
		if n > uint64(math.MaxInt64/day) {
			return 0, fmt.Errorf("%q is longer than this program can count", s)
		}
		total, rest = time.Duration(n)*day, after
		if rest == "" {
			return Duration(total), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.ContainsAny(rest, "+-") {
		return 0, bad
	}
	if total > math.MaxInt64-d {
		return 0, fmt.Errorf("%q is longer than this program can count", s)
	}
	return Duration(total + d), nil
}

// String writes the duration so that ParseDuration reads it back: "1d12h", "1h30m".
func (d Duration) String() string {
	days, rest := time.Duration(d)/day, time.Duration(d)%day
	text := rest.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	switch {
	case days == 0:
		return text
	case rest == 0:
		return strconv.FormatInt(int64(days), 10) + "d"
	}
	return strconv.FormatInt(int64(days), 10) + "d" + text
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Set and Type make a Duration a command-line flag.
func (d *Duration) Set(text string) error { return d.UnmarshalText([]byte(text)) }

// Type names the flag's value in help texts.
func (*Duration) Type() string { return "duration" }
