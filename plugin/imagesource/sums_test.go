package imagesource

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// listCase is a list of digests and what it says of d.qcow2.
type listCase struct {
	name, text string
	own        bool
	want       Digest
	err        error
}

func listCases() []listCase {
	one, two, long := strings.Repeat("0f", 32), strings.Repeat("a1", 32), strings.Repeat("b2", 64)
	md5 := strings.Repeat("0f", 16)
	d, l, none := Digest{SHA256, one}, Digest{SHA512, long}, Digest{}
	return []listCase{
		{"empty", "", false, none, nil},
		{"text", one + "  d.qcow2\n", false, d, nil},
		{"binary, no line end", two + " *b.raw\n" + one + " *d.qcow2", false, d, nil},
		{"carriage returns", two + "  a.raw\r\n" + one + "  d.qcow2\r\n", false, d, nil},
		{"byte order mark", "\xef\xbb\xbf" + one + "  d.qcow2\n", false, d, nil},
		{"one space", one + " d.qcow2\n", false, d, nil},
		{"a tab", one + "\td.qcow2\n", false, d, nil},
		{"upper-case digits", strings.ToUpper(one) + "  d.qcow2\n", false, d, nil},
		{"a title and comments", "Release 12.5\n# today\n\n   \n" + one + "  d.qcow2\n", false, d, nil},
		{"leading ./", one + "  ./d.qcow2\n", false, d, nil},
		{"a path", one + "  images/d.qcow2\n", false, d, nil},
		{"an absolute path", one + "  /srv/build/out/d.qcow2\n", false, d, nil},
		{"the name itself goes before a path", two + "  old/d.qcow2\n" + one + "  d.qcow2\n", false, d, nil},
		{"the image's own path goes before another", two + "  old/d.qcow2\n" + one + "  s/d.qcow2\n", false, d, nil},
		{"two paths that differ", two + "  a/d.qcow2\n" + one + "  b/d.qcow2\n", false, none, ErrBadList},
		{"blanks before", "  " + one + "  d.qcow2\n\t" + two + " *e.qcow2\n", false, d, nil},
		{"BSD", "SHA256 (d.qcow2) = " + one + "\n", false, d, nil},
		{"OpenSSL", "SHA2-256(d.qcow2)= " + one + "\n", false, d, nil},
		{"BSD, Fedora", "# d.qcow2: 4653056 bytes\nSHA256 (d.qcow2) = " + one + "\n", false, d, nil},
		{"BSD, all algorithms", "SHA512 (d.qcow2) = " + long + "\nMD5 (d.qcow2) = " + md5 + "\nSHA256 (d.qcow2) = " + one, false, d, nil},
		{"SHA-512", long + "  d.qcow2\n", false, l, nil},
		{"an OpenPGP message", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + one + "  d.qcow2\n" +
			"-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCgAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n", false, d, nil},
		{"MD5 lines", md5 + "  other.iso\n" + md5 + "  d.qcow2\n" + one + "  d.qcow2\n", false, d, nil},
		{"MD5 alone", md5 + "  d.qcow2\n", false, none, nil},
		{"another file twice", one + "  other.img\n" + two + "  other.img\n" + one + "  d.qcow2\n", false, d, nil},
		{"another file's line is bad", "SHA256 (other.img) = 0f\n" + one + "  d.qcow2\n", false, d, nil},
		{"another file's name is escaped", `\` + two + `  we\\ird.img` + "\n" + one + "  d.qcow2\n", false, d, nil},
		{"a control character in another's name", two + "  a\x00.raw\n" + one + "  d.qcow2\n", false, d, nil},
		{"a long line before", two + "  " + strings.Repeat("a", 2*maxSumsLine) + "\n" + one + "  d.qcow2\n", false, d, nil},
		{"same digest twice", one + "  d.qcow2\n" + one + " *d.qcow2\n", false, d, nil},
		{"two digests", one + "  d.qcow2\n" + two + "  d.qcow2\n", false, none, ErrBadList},
		{"too short", one[1:] + "  d.qcow2\n", false, none, ErrBadList},
		{"not hex", "g" + one[1:] + "  d.qcow2\n", false, none, ErrBadList},
		{"BSD, too short", "SHA256 (d.qcow2) = 0f\n", false, none, ErrBadList},
		{"a page", "<!DOCTYPE html><html>d.qcow2</html>\n", false, none, nil},
		{"text", "Not Found\n", false, none, nil},
		{"JSON", `{"errors":[{"status":404}]}`, false, none, nil},
		{"a digest alone says nothing in a folder's list", one + "\n", false, none, nil},
		{"a digest alone in the image's list", one + "\n", true, d, nil},
		{"another name in the image's list", one + "  d-Build16.21.qcow2\n", true, d, nil},
		{"several in the image's list", one + "  a\n" + two + "  b\n", true, none, nil},
	}
}

func TestSumsOf(t *testing.T) {
	for _, tt := range listCases() {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseSums(strings.NewReader(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.of("pool/s/d.qcow2", tt.own)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("digest = %s, %v; want %s, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestSumsOfLargeLists(t *testing.T) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "%064x  f%d.img\n", i, i)
	}
	s, err := parseSums(strings.NewReader(text.String()))
	if err != nil || s.cut || s.complaint() != "" {
		t.Fatalf("%v, cut %v, %q", err, s.cut, s.complaint())
	}
	if got, err := s.of("f19999.img", false); err != nil || got.Hex != fmt.Sprintf("%064x", 19_999) {
		t.Errorf("digest = %s, %v", got, err)
	}
	s, err = parseSums(strings.NewReader(strings.Repeat("#"+strings.Repeat(" ", 1022)+"\n", maxSumsBytes>>10+1)))
	if err != nil || !s.cut || s.complaint() == "" {
		t.Errorf("%v, cut %v, %q; want a complaint", err, s.cut, s.complaint())
	}
}

func TestSumsComplain(t *testing.T) {
	hex := strings.Repeat("0f", 32)
	for text, want := range map[string]string{
		hex + "  a\n": "", "": "", "# x\n": "", "nothing\n": "no line", "title\n" + hex + "  a\n": "1 lines",
		"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\n" + hex + "  a\n-----BEGIN PGP SIGNATURE-----\nxx\n-----END PGP SIGNATURE-----\n": "",
	} {
		s, err := parseSums(strings.NewReader(text))
		if got := s.complaint(); err != nil || !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: complaint = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestListNames(t *testing.T) {
	for base, want := range map[string]string{
		"Fedora-Cloud-Base-Generic-41-1.4.x86_64.qcow2":               "Fedora-Cloud-41-1.4-x86_64-CHECKSUM",
		"Fedora-Cloud-Base-Generic.x86_64-40-1.14.qcow2":              "Fedora-Cloud-40-1.14-x86_64-CHECKSUM",
		"Fedora-Cloud-Base-39-1.5.aarch64.raw.xz":                     "Fedora-Cloud-39-1.5-aarch64-CHECKSUM",
		"Fedora-Cloud-Base-Generic-Rawhide-20250101.n.0.x86_64.qcow2": "Fedora-Cloud-Rawhide-20250101.n.0-x86_64-CHECKSUM",
		"Fedora-IoT-raw-41-20241027.0.x86_64.raw.xz":                  "Fedora-IoT-41-20241027.0-x86_64-CHECKSUM",
		"Fedora-thing.qcow2":                                          "", "debian-12-generic-amd64.qcow2": "",
	} {
		if got := fedoraList(base); got != want {
			t.Errorf("%s: %q, want %q", base, got, want)
		}
	}
}

func FuzzSums(f *testing.F) {
	for _, tt := range listCases() {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSums(strings.NewReader(string(text)))
		if err != nil {
			t.Fatalf("text from memory: %v", err)
		}
		for base := range s.byBase {
			d, err := s.of("x/"+base, true)
			if err != nil && !d.IsZero() || !d.IsZero() && d.check() != nil || err != nil && !errors.Is(err, ErrBadList) {
				t.Errorf("%q has %v, %v", base, d, err)
			}
		}
	})
}
