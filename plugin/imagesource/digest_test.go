package imagesource

import (
	"strings"
	"testing"
)

func TestParseDigest(t *testing.T) {
	hex256, hex512 := strings.Repeat("0f", 32), strings.Repeat("a1", 64)
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"sha256", "sha256:" + hex256, true},
		{"sha512", "sha512:" + hex512, true},
		{"empty", "", false},
		{"no algorithm", hex256, false},
		{"empty algorithm", ":" + hex256, false},
		{"no digits", "sha256:", false},
		{"md5", "md5:" + hex256[:32], false},
		{"upper case", "sha256:" + strings.ToUpper(hex256), false},
		{"upper-case algorithm", "SHA256:" + hex256, false},
		{"too short", "sha256:" + hex256[1:], false},
		{"too long", "sha256:" + hex256 + "0", false},
		{"length of the other", "sha256:" + hex512, false},
		{"not hex", "sha256:" + hex256[:63] + "g", false},
		{"space", "sha256: " + hex256[1:], false},
		{"line end", "sha256:" + hex256 + "\n", false},
		{"twice", "sha256:sha256:" + hex256[7:], false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ParseDigest(tt.text)
			if (err == nil) != tt.ok {
				t.Fatalf("error = %v, want ok = %v", err, tt.ok)
			}
			if tt.ok && d.String() != tt.text || !tt.ok && !d.IsZero() {
				t.Errorf("digest = %q", d)
			}
		})
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("0f", 32))
	f.Add("sha512:" + strings.Repeat("a1", 64))
	f.Add("md5:")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDigest(text)
		switch {
		case err == nil && d.String() != text:
			t.Errorf("digest of %q is written %q", text, d)
		case err != nil && len(err.Error()) > 2000:
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
