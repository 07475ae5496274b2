package imagesource

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

const (
	maxSumsBytes = 1 << 20
	maxSumsLine  = 4 << 10
)

// sumsFiles are the names that a list of digests beside an image has, in the order in which they are
// asked.
var sumsFiles = []struct {
	name      string
	algorithm Algorithm
}{{"SHA256SUMS", SHA256}, {"SHA512SUMS", SHA512}}

// sums maps the names of files to their digests.
type sums map[string]Digest

// bsdLine is "SHA256 (name) = hex", as the BSD tools and `sha256sum --tag` write it.
var bsdLine = regexp.MustCompile(`^([A-Za-z0-9/-]+) \((.+)\) = ([0-9A-Fa-f]+)$`)

// parseSums reads a list of digests: lines as `sha256sum` writes them ("<hex>  name", "<hex> *name")
// or with --tag, empty lines, and comments after '#'. Lines of --tag for another algorithm are passed
// over. Anything else is an error, since a list that cannot be read must not look like one that does
// not name the image; so is a name with two digests. Lists are bounded: 1 MiB, 4 KiB a line.
//
// Source: GNU coreutils manual, "cksum output modes" and "md5sum invocation".
func parseSums(r io.Reader, a Algorithm) (sums, error) {
	limited := &io.LimitedReader{R: r, N: maxSumsBytes + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxSumsLine)
	found := sums{}
	n := 0
	for lines.Scan() {
		n++
		if err := found.add(lines.Bytes(), a); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("more than %d bytes", maxSumsBytes)
	}
	return found, nil
}

func (s sums) add(line []byte, a Algorithm) error {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 || line[0] == '#' {
		return nil
	}
	text := string(line)
	if m := bsdLine.FindStringSubmatch(text); m != nil {
		if strings.ToLower(m[1]) != string(a) {
			return nil
		}
		return s.put(m[2], a, m[3])
	}
	// GNU: the digest, a space, and a space or '*' for how the file was read, which says nothing here.
	digits := a.hexLength()
	if len(text) < digits+3 || text[digits] != ' ' || text[digits+1] != ' ' && text[digits+1] != '*' {
		return errors.New("neither a digest with a name, nor a comment")
	}
	return s.put(text[digits+2:], a, text[:digits])
}

func (s sums) put(name string, a Algorithm, digits string) error {
	d := Digest{Algorithm: a, Hex: strings.ToLower(digits)}
	if err := d.check(); err != nil {
		return err
	}
	name = strings.TrimPrefix(name, "./")
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("a control character in a name")
	}
	if other, found := s[name]; found && other != d {
		return fmt.Errorf("%q has two digests", name)
	}
	s[name] = d
	return nil
}
