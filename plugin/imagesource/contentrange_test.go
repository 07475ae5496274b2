package imagesource

import (
	"fmt"
	"testing"
)

func TestParseContentRange(t *testing.T) {
	tests := []struct {
		header string
		want   contentRange
		ok     bool
	}{
		{"bytes 0-99/200", contentRange{0, 99, 200}, true},
		{"bytes 100-199/200", contentRange{100, 199, 200}, true},
		{"bytes 5-5/*", contentRange{5, 5, -1}, true},
		{"bytes 0-0/9223372036854775807", contentRange{0, 0, 1<<63 - 1}, true},
		{"", contentRange{}, false},
		{"bytes", contentRange{}, false},
		{"bytes */200", contentRange{}, false},
		{"bytes 0-99", contentRange{}, false},
		{"bytes 0-99/", contentRange{}, false},
		{"bytes -99/200", contentRange{}, false},
		{"bytes +0-99/200", contentRange{}, false},
		{"bytes 0--99/200", contentRange{}, false},
		{"bytes 99-0/200", contentRange{}, false},
		{"bytes 0-200/200", contentRange{}, false},
		{"bytes 0-99/200 ", contentRange{}, false},
		{"bytes  0-99/200", contentRange{}, false},
		{"items 0-99/200", contentRange{}, false},
		{"bytes 0-99/9223372036854775808", contentRange{}, false},
	}
	for _, tt := range tests {
		got, err := parseContentRange(tt.header)
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
		r, err := parseContentRange(header)
		if err != nil {
			return
		}
		if r.first < 0 || r.last < r.first || r.total != -1 && r.last >= r.total {
			t.Errorf("%q = %+v", header, r)
		}
		total := "*"
		if r.total >= 0 {
			total = fmt.Sprint(r.total)
		}
		if again, err := parseContentRange(fmt.Sprintf("bytes %d-%d/%s", r.first, r.last, total)); err != nil || again != r {
			t.Errorf("%q = %+v, and once more %+v, %v", header, r, again, err)
		}
	})
}
