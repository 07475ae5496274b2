package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want Size
		err  string // part of the error; "": none
	}{
		{"0", 0, ""},
		{"1048576", 1 << 20, ""},
		{"512MiB", 512 << 20, ""},
		{"10GiB", 10 << 30, ""},
		{"10 GiB", 10 << 30, ""},
		{"2TiB", 2 << 40, ""},
		{"7B", 7, ""},
		{"10GB", 0, "no known unit"},
		{"10G", 0, "no known unit"},
		{"1.5GiB", 0, "not a size"},
		{"-1", 0, "not a size"},
		{"+1", 0, "not a size"},
		{"", 0, "not a size"},
		{"GiB", 0, "not a size"},
		{"ten", 0, "not a size"},
		{"9223372036854775808", 0, "not a size"},
		{"8388608TiB", 0, "more than"},
	} {
		got, err := ParseSize(c.text)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, %q", c.text, got, err, c.want, c.err)
		}
		if err != nil {
			continue
		}
		if back, err := ParseSize(got.String()); back != got || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d back", got.String(), back, err, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		bad  string
	}{
		{"30s", 30 * time.Second, ""},
		{"24h", day, ""},
		{"7d", 7 * day, ""},
		{"1d12h", 36 * time.Hour, ""},
		{"0s", 0, ""},
		{"30", 0, "not a duration"},
		{"-1h", 0, "not a duration"},
		{"1d-1h", 0, "not a duration"},
		{"d", 0, "not a duration"},
		{"", 0, "not a duration"},
		{"200000d", 0, "longer"},
		{"106751d24h", 0, "longer"},
	} {
		got, err := ParseDuration(c.text)
		if time.Duration(got) != c.want || (err == nil) != (c.bad == "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v, %q", c.text, time.Duration(got), err, c.want, c.bad)
		}
		if err != nil {
			continue
		}
		if back, err := ParseDuration(got.String()); back != got || err != nil {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v back", got.String(), back, err, got)
		}
	}
}
