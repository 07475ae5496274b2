package imagesource

import (
	"maps"
	"strings"
	"testing"
)

func TestParseSums(t *testing.T) {
	one, two := strings.Repeat("0f", 32), strings.Repeat("a1", 32)
	d1, d2 := Digest{SHA256, one}, Digest{SHA256, two}
	tests := []struct {
		name, text string
		want       sums // nil: an error
	}{
		{"empty", "", sums{}},
		{"text and binary", one + "  a.raw\n" + two + " *b.raw\n", sums{"a.raw": d1, "b.raw": d2}},
		{"no line end at the end", one + "  a.raw", sums{"a.raw": d1}},
		{"carriage returns", one + "  a.raw\r\n" + two + "  b.raw\r\n", sums{"a.raw": d1, "b.raw": d2}},
		{"comments and empty lines", "# made today\n\n" + one + "  a.raw\n", sums{"a.raw": d1}},
		{"upper-case digits", strings.ToUpper(one) + "  a.raw\n", sums{"a.raw": d1}},
		{"leading ./", one + "  ./a.raw\n", sums{"a.raw": d1}},
		{"spaces in a name", one + "  a b  c.raw\n", sums{"a b  c.raw": d1}},
		{"BSD", "SHA256 (a (1).raw) = " + one + "\n", sums{"a (1).raw": d1}},
		{"BSD, other algorithms are passed over", "MD5 (a.raw) = 00\nSHA512/256 (a.raw) = 00\nSHA256 (a.raw) = " + one, sums{"a.raw": d1}},
		{"a name twice, same digest", one + "  a.raw\n" + one + " *a.raw\n", sums{"a.raw": d1}},
		{"a name twice, other digest", one + "  a.raw\n" + two + "  a.raw\n", nil},
		{"a page", "<!DOCTYPE html><html></html>\n", nil},
		{"a digest alone", one + "\n", nil},
		{"no name", one + "  \n", nil},
		{"one space", one + " a.raw\n", nil},
		{"a tab", one + "\ta.raw\n", nil},
		{"too short", one[1:] + "  a.raw\n", nil},
		{"another algorithm's length", one + one + "  a.raw\n", nil},
		{"not hex", "g" + one[1:] + "  a.raw\n", nil},
		{"escaped name", "\\" + one + "  a\\nb.raw\n", nil},
		{"control character", one + "  a\x00.raw\n", nil},
		{"BSD, too short", "SHA256 (a.raw) = 0f\n", nil},
		{"a long line", one + "  " + strings.Repeat("a", maxSumsLine) + "\n", nil},
		{"too large", strings.Repeat("#"+strings.Repeat(" ", 1022)+"\n", 1025), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSums(strings.NewReader(tt.text), SHA256)
			if (err != nil) != (tt.want == nil) {
				t.Fatalf("error = %v, want one: %v", err, tt.want == nil)
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("sums = %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzSums(f *testing.F) {
	hex := strings.Repeat("0f", 32)
	for _, seed := range []string{
		hex + "  a.raw\n", hex + " *a.raw\r\n", "SHA256 (a.raw) = " + hex, "SHA512 (a) = " + hex + hex, "#\n\n", hex + hex + "  ./x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, a := range []Algorithm{SHA256, SHA512} {
			got, err := parseSums(strings.NewReader(string(text)), a)
			if err != nil && len(got) > 0 {
				t.Errorf("an error and sums: %v, %v", err, got)
			}
			for name, d := range got {
				if d.Algorithm != a || d.check() != nil || strings.ContainsAny(name, "\n\x00") {
					t.Errorf("%q has %v", name, d)
				}
			}
		}
	})
}
