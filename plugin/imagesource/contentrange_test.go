package imagesource

import (
	"fmt"
	"testing"
)

func TestParseContentRange(t *testing.T) {
	tests := []struct {
		header string
		want   ContentRange
		ok     bool
	}{
		{"bytes 0-99/200", ContentRange{0, 99, 200}, true},
		{"bytes 100-199/200", ContentRange{100, 199, 200}, true},
		{"bytes 5-5/*", ContentRange{5, 5, -1}, true},
		{"bytes 0-0/9223372036854775807", ContentRange{0, 0, 1<<63 - 1}, true},
		{"", ContentRange{}, false},
		{"bytes", ContentRange{}, false},
		{"bytes */200", ContentRange{}, false},
		{"bytes 0-99", ContentRange{}, false},
		{"bytes 0-99/", ContentRange{}, false},
		{"bytes -99/200", ContentRange{}, false},
		{"bytes +0-99/200", ContentRange{}, false},
		{"bytes 0--99/200", ContentRange{}, false},
		{"bytes 99-0/200", ContentRange{}, false},
		{"bytes 0-200/200", ContentRange{}, false},
		{"bytes 0-99/200 ", ContentRange{}, false},
		{"bytes  0-99/200", ContentRange{}, false},
		{"items 0-99/200", ContentRange{}, false},
		{"bytes 0-99/9223372036854775808", ContentRange{}, false},
	}
	for _, tt := range tests {
		got, err := ParseContentRange(tt.header)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%q = %+v, %v; want %+v, ok %v", tt.header, got, err, tt.want, tt.ok)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-99/200")
	f.Add("bytes 5-5/*")
	f.Add("bytes */200")
	f.Fuzz(func(t *testing.T, header string) {
		r, err := ParseContentRange(header)
		if err != nil {
			return
		}
		if r.First < 0 || r.Last < r.First || r.Total != -1 && r.Last >= r.Total {
			t.Errorf("%q = %+v", header, r)
		}
		total := "*"
		if r.Total >= 0 {
			total = fmt.Sprint(r.Total)
		}
		if again, err := ParseContentRange(fmt.Sprintf("bytes %d-%d/%s", r.First, r.Last, total)); err != nil || again != r {
			t.Errorf("%q = %+v, and once more %+v, %v", header, r, again, err)
		}
	})
}
