package imagesource

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

const (
	maxSumsBytes = 16 << 20 // what stands behind is not read
	maxSumsLine  = 4 << 10  // longer lines name nothing
	linesAList   = 8 << 10  // lists with more count as several
)

// listName is the name of a list of digests that an image may have beside it.
type listName struct {
	name string
	own  bool // it is of that image alone, so that its only digest needs no name, or has another one's
}

// listsFor are the lists that may name an image, in the order in which they are believed: those of a whole
// folder as Debian, Ubuntu, FreeBSD, CentOS, Talos and others publish them, then those of the image alone.
func listsFor(base string) []listName {
	lists := []listName{{name: "SHA256SUMS"}, {name: "SHA512SUMS"}}
	for _, suffix := range []string{".sha256", ".sha512", ".SHA256SUM", ".SHA512SUM", ".sha256sum", ".SHA256", ".CHECKSUM", ".DIGESTS"} {
		lists = append(lists, listName{base + suffix, true})
	}
	lists = append(lists, listName{name: base + "-CHECKSUM"})
	if stem := strings.TrimSuffix(base, path.Ext(base)); stem != base && stem != "" {
		lists = append(lists, listName{name: stem + "-CHECKSUM"})
	}
	for _, name := range []string{fedoraList(base), freeBSDList(base)} {
		if name != "" {
			lists = append(lists, listName{name: name})
		}
	}
	for _, name := range []string{"CHECKSUM", "CHECKSUM.SHA256", "CHECKSUM.SHA512", "sha256sum.txt", "sha512sum.txt", "SHA256", "SHA512"} {
		lists = append(lists, listName{name: name})
	}
	return lists
}

var (
	fedoraRelease = regexp.MustCompile(`[-.](\d+|Rawhide)-(\d{8}\.[nt]\.\d+|\d+\.\d+(?:\.\d+)?)(?:[.-]|$)`)
	fedoraArch    = regexp.MustCompile(`[-.](x86_64|aarch64|ppc64le|s390x|riscv64)(?:[-.]|$)`)
)

// fedoraList is the list that Fedora publishes with an image: "Fedora-Cloud-41-1.4-x86_64-CHECKSUM" with
// "Fedora-Cloud-Base-Generic-41-1.4.x86_64.qcow2". "" with what is not Fedora's.
func fedoraList(base string) string {
	parts := strings.SplitN(base, "-", 3)
	if len(parts) < 3 || parts[0] != "Fedora" {
		return ""
	}
	release, arch := fedoraRelease.FindStringSubmatch(base), fedoraArch.FindStringSubmatch(base)
	if release == nil || arch == nil {
		return ""
	}
	return fmt.Sprintf("Fedora-%s-%s-%s-%s-CHECKSUM", parts[1], release[1], release[2], arch[1])
}

var freeBSDRelease = regexp.MustCompile(`^FreeBSD-[0-9.]+-[A-Z]+\d*-(?:amd64|i386|arm64-aarch64|riscv-riscv64|powerpc(?:-powerpc64(?:le)?)?)`)

// freeBSDList is the list that FreeBSD publishes with its ISOs: "CHECKSUM.SHA256-FreeBSD-14.1-RELEASE-amd64" with
// "FreeBSD-14.1-RELEASE-amd64-disc1.iso". "" with what is not FreeBSD's.
func freeBSDList(base string) string {
	if release := freeBSDRelease.FindString(base); release != "" {
		return "CHECKSUM.SHA256-" + release
	}
	return ""
}

// sums are the digests of a list, by the last part of the names that they are of.
type sums struct {
	byBase map[string][]listedDigest
	// sole is the only digest of its algorithm in the list; zero where it has several.
	sole    map[Algorithm]Digest
	lines   int  // in byBase
	strange int  // lines that are neither a digest with a name nor usual around one
	cut     bool // the list is larger than maxSumsBytes
	armor   bool // the line is within an OpenPGP signature
}

// size is as how many lists this one counts where lists are kept: a line takes about 200 bytes of memory.
func (s *sums) size() int {
	if s == nil {
		return 1
	}
	return 1 + s.lines/linesAList
}

// listedDigest is a line that names a file.
type listedDigest struct {
	name   string // as the list has it, with its path
	digest Digest
	bad    string // why there is no digest; "" where there is one
}

// of returns the digest of the image at that path, which is beside the list. A line with just that name
// goes before one with a path, and one whose path is the image's before others. Zero: the list does not
// tell. ErrBadList: the image's line has no digest, or there are two that differ.
func (s *sums) of(image string, own bool) (Digest, error) {
	if s == nil {
		return Digest{}, nil
	}
	lines := closest(s.byBase[path.Base(image)], image)
	found := map[Algorithm]Digest{}
	for _, line := range lines {
		if line.bad != "" {
			return Digest{}, fmt.Errorf("%w: its line for %s has %s", ErrBadList, line.name, line.bad)
		}
		if other, known := found[line.digest.Algorithm]; known && other != line.digest {
			return Digest{}, fmt.Errorf("%w: it has two digests for %s", ErrBadList, line.name)
		}
		found[line.digest.Algorithm] = line.digest
	}
	if len(lines) == 0 && own {
		found = s.sole
	}
	if d, known := found[SHA256]; known && !d.IsZero() {
		return d, nil
	}
	return found[SHA512], nil
}

// closest keeps the lines whose name is most surely the image's.
func closest(lines []listedDigest, image string) []listedDigest {
	var best []listedDigest
	most := -1
	for _, line := range lines {
		rank := 0
		switch {
		case line.name == path.Base(image):
			rank = 2
		case strings.HasSuffix("/"+image, "/"+strings.TrimPrefix(line.name, "/")):
			rank = 1
		}
		if rank > most {
			best, most = nil, rank
		}
		if rank == most {
			best = append(best, line)
		}
	}
	return best
}

// parseSums reads a list of digests and takes from it what names a file: lines as `sha256sum` writes them
// ("<hex>  name", "<hex> *name", escaped ones too), with one space or a tab in between, with --tag, and as
// OpenSSL writes them. It is not an error where other lines are in between, such as a signature around them,
// titles, or digests of other algorithms: `sha256sum -c` passes over them too. A signature is not verified.
//
// Source: GNU coreutils manual, "cksum output modes" and "md5sum invocation"; RFC 9580, section 7.
func parseSums(r io.Reader) (*sums, error) {
	limited := &io.LimitedReader{R: r, N: maxSumsBytes}
	lines := bufio.NewReaderSize(limited, maxSumsLine)
	s := &sums{byBase: map[string][]listedDigest{}, sole: map[Algorithm]Digest{}}
	for first := true; ; first = false {
		line, more, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			s.cut = limited.N <= 0
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		if first {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if !more {
			s.add(string(bytes.TrimRight(line, "\r")))
			continue
		}
		for s.strange++; more && err == nil; {
			_, more, err = lines.ReadLine()
		}
	}
}

var (
	// taggedLine is "SHA256 (name) = hex", as the BSD tools and `sha256sum --tag` write it, or
	// "SHA2-256(name)= hex", as OpenSSL does.
	taggedLine = regexp.MustCompile(`^\\?([A-Za-z0-9/-]+) ?\((.+)\) ?= ?(\S*)$`)
	plainLine  = regexp.MustCompile(`^\\?([0-9A-Za-z]{32,})(?: [ *]|[ \t]+\*?)(.+)$`)
	bareLine   = regexp.MustCompile(`^\s*([0-9A-Fa-f]{64}|[0-9A-Fa-f]{128})\s*$`)
)

func (s *sums) add(line string) {
	if strings.HasPrefix(line, "-----") || s.armor || strings.HasPrefix(line, "Hash: ") {
		s.armor = strings.HasPrefix(line, "-----BEGIN PGP SIGNATURE") || s.armor && !strings.HasPrefix(line, "-----END")
		return
	}
	line = strings.TrimLeft(line, " \t") // as sha256sum -c does
	escaped := strings.HasPrefix(line, `\`)
	switch m, t := plainLine.FindStringSubmatch(line), taggedLine.FindStringSubmatch(line); {
	case t != nil:
		if a := taggedAlgorithm(t[1]); a != "" {
			s.put(unescape(t[2], escaped), a, t[3])
		}
	case m != nil:
		s.put(unescape(m[2], escaped), algorithmOf(len(m[1])), m[1])
	case bareLine.MatchString(line):
		digits := strings.ToLower(strings.TrimSpace(line))
		s.alone(Digest{Algorithm: algorithmOf(len(digits)), Hex: digits})
	case strings.TrimSpace(line) != "" && line[0] != '#':
		s.strange++
	}
}

// taggedAlgorithm is "" for an algorithm that is not accepted.
func taggedAlgorithm(tag string) Algorithm {
	switch strings.ToUpper(tag) {
	case "SHA256", "SHA2-256", "SHA-256":
		return SHA256
	case "SHA512", "SHA2-512", "SHA-512":
		return SHA512
	default:
		return ""
	}
}

// algorithmOf is the algorithm whose digests have so many hex digits; "other" for one that is not accepted,
// "" where there is none.
func algorithmOf(digits int) Algorithm {
	switch digits {
	case SHA256.hexLength():
		return SHA256
	case SHA512.hexLength():
		return SHA512
	case 32, 40, 56, 96: // MD5, SHA-1, SHA-224, SHA-384
		return "other"
	default:
		return ""
	}
}

// put notes a line that names a file. What has no digest in it is noted too: it counts if the image is that.
func (s *sums) put(name string, a Algorithm, digits string) {
	line := listedDigest{name: strings.TrimPrefix(name, "./"), digest: Digest{Algorithm: a, Hex: strings.ToLower(digits)}}
	if a == "other" || strings.ContainsFunc(line.name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return
	}
	if err := line.digest.check(); err != nil {
		line.digest, line.bad = Digest{}, fmt.Sprintf("%d characters that are no SHA-256 or SHA-512", len(digits))
	} else {
		s.alone(line.digest)
	}
	base := path.Base(line.name)
	s.byBase[base] = append(s.byBase[base], line)
	s.lines++
}

// alone notes whether a digest is the only one of its algorithm.
func (s *sums) alone(d Digest) {
	if other, known := s.sole[d.Algorithm]; known && other != d {
		s.sole[d.Algorithm] = Digest{}
		return
	}
	s.sole[d.Algorithm] = d
}

// unescape undoes what GNU tools do to names with a backslash or a line end in them.
func unescape(name string, escaped bool) string {
	if !escaped {
		return name
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(name)
}

// complaint says what of a list is not used; "" where nothing is worth saying.
func (s *sums) complaint() string {
	switch {
	case s.cut:
		return fmt.Sprintf(" is larger than %d bytes; what stands behind is not used", maxSumsBytes)
	case s.strange > 0 && len(s.byBase) == 0 && len(s.sole) == 0:
		return " has no line with a SHA-256 or SHA-512 and is not used"
	case s.strange > 0:
		return fmt.Sprintf(" has %d lines without a digest and a name; they are passed over", s.strange)
	default:
		return ""
	}
}
