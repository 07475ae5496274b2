package diskimage

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What people upload in place of a disk. Each is refused by name, since its bytes would make a volume that
// nobody can use; only an image service that declares raw itself is believed.

// archives are containers of files. Tar is recognised by its checksum too.
var archives = []signature{
	{"zip", 0, "PK\x03\x04"},
	{"zip", 0, "PK\x05\x06"},
	{"zip", 0, "PK\x07\x08"},
	{"7z", 0, "7z\xbc\xaf\x27\x1c"},
	{"rar", 0, "Rar!\x1a\x07"},
	{"cpio", 0, "070701"},
	{"cpio", 0, "070702"},
	{"cpio", 0, "070707"},
	{"ar", 0, "!<arch>\n"},
	{"rpm", 0, "\xed\xab\xee\xdb"},
	{"cab", 0, "MSCF\x00\x00\x00\x00"},
	{"xar", 0, "xar!\x00"},
	{"wim", 0, "MSWIM\x00\x00\x00"},
	{"vma", 0, "VMA\x00\x00\x00\x00\x01"},
	{"partclone", 0, "partclone-image"},
	{"fsarchiver", 0, "FsArCh_"},
	{"ewf", 0, "EVF\x09\x0d\x0a\xff\x00"},
	{"ewf", 0, "EVF2\x0d\x0a\x81\x00"},
	{"android sparse image", 0, "\x3a\xff\x26\xed\x01\x00"},
}

// otherFiles are what is mistaken for a disk image though it is no archive.
var otherFiles = []signature{
	{"an AppImage", 8, "AI\x01\x00"},
	{"an AppImage", 8, "AI\x02\x00"},
	{"a saved machine state", 0, "QEVM"},
	{"a saved machine state", 0, "LibvirtQemudSave"},
	{"a PDF document", 0, "%PDF-"},
	{"a torrent", 0, "d8:announce"},
	{"a torrent", 0, "d13:announce-list"},
	{"a torrent", 0, "d10:created by"},
	{"a torrent", 0, "d7:comment"},
}

// pages are what servers and version control hand out in place of a file, in lower case.
var pages = []signature{
	{"an HTML page", 0, "<!doctype html"},
	{"an HTML page", 0, "<html"},
	{"an HTML page", 0, "<head"},
	{"an HTML page", 0, "<body"},
	{"an HTML page", 0, "<script"},
	{"an HTML page", 0, "<!--"},
	{"an XML document", 0, "<?xml"},
	{"an XML document", 0, "<error>"},
	{"a signature or certificate", 0, "-----begin "},
	{"a Git LFS pointer", 0, "version https://git-lfs.github.com/spec/"},
	{"a Git LFS pointer", 0, "version https://hawser.github.com/spec/"},
	{"a git-annex pointer", 0, "/annex/objects/"},
}

// refuseNoDisk refuses what is recognised as no disk at all, and what has no sector.
func refuseNoDisk(h *head) error {
	b, _, err := h.at(0, sectorBytes)
	if err != nil {
		return err
	}
	if name := archiveOf(b); name != "" {
		return refuseArchive(name)
	}
	if name := otherFileOf(b); name != "" {
		return refuse(RuleNotADisk, "content", name)
	}
	if len(b) < sectorBytes {
		return refuse(RuleSector, "size", len(b))
	}
	return refuseText(h)
}

// otherFileOf is what a file is that begins with b and is neither a disk nor an archive; "": nothing known.
func otherFileOf(b []byte) string {
	for _, s := range otherFiles {
		if s.in(b) {
			return s.name
		}
	}
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n"))
	for _, s := range pages {
		if s.in(text) {
			return s.name
		}
	}
	if isJSON(text) && beginsAsText(text) {
		return "a JSON document"
	}
	return ""
}

// isJSON knows how objects begin, and lists of them.
func isJSON(text []byte) bool {
	text, list := bytes.CutPrefix(text, []byte("["))
	if list {
		text = bytes.TrimLeft(text, " \t\r\n")
	}
	text, object := bytes.CutPrefix(text, []byte("{"))
	return object && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(`"`))
}

// beginsAsText: what a disk's random bytes do not, though the first two of them may look like anything.
func beginsAsText(b []byte) bool {
	b, _, _ = bytes.Cut(b[:min(16, len(b))], []byte{0})
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && utf8.FullRune(b) || isControl(r) {
			return false
		}
		b = b[n:]
	}
	return true
}

// mostText is the longest file that is looked at whether all of it is text.
const mostText = 64 << 10

// refuseText refuses a short file that is text to its end, as what servers say in place of a file and lists of
// digests are. Whole sectors of text may be a disk that somebody filled with it.
func refuseText(h *head) error {
	if h.size < 0 || h.size > mostText || h.size%sectorBytes == 0 {
		return nil
	}
	b, _, err := h.at(0, int(h.size))
	if err != nil || !isText(b) {
		return err
	}
	return refuse(RuleNotADisk, "content", "text")
}

// isText: lines of UTF-8, without control characters.
func isText(b []byte) bool {
	return utf8.Valid(b) && bytes.ContainsRune(b, '\n') && !bytes.ContainsFunc(b, isControl)
}

// isControl tells what stands in no text.
func isControl(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n\f", r) }

const sectorBytes = 512

func refuseArchive(name string) *Refusal {
	r := refuse(RuleArchive, "archive", name)
	if name == "ova" {
		r.Remedy = "Unpack it with tar -xf, convert the disk in it with qemu-img convert -f vmdk -O qcow2 and upload the result"
	}
	return r
}

// archiveOf is the name of the archive whose first sector b is; "": it is none.
func archiveOf(b []byte) string {
	for _, s := range archives {
		if s.in(b) {
			return s.name
		}
	}
	switch {
	case !isTar(b):
		return ""
	case strings.HasSuffix(strings.ToLower(cString(b[:100])), ".ovf"):
		return "ova"
	}
	return "tar"
}

// isTar knows the mark of POSIX and GNU, and the older archives that have none by their header's checksum:
// the sum of its bytes, with spaces in place of the checksum itself.
func isTar(b []byte) bool {
	if len(b) < sectorBytes {
		return false
	}
	if string(b[257:262]) == "ustar" {
		return true
	}
	want, err := strconv.ParseInt(strings.Trim(string(b[148:156]), " \x00"), 8, 64)
	if err != nil || b[0] == 0 {
		return false
	}
	sum := int64(8 * ' ')
	for i, c := range b[:sectorBytes] {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	return sum == want
}

// cString is what stands before the first NUL.
func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
