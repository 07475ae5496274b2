package diskimage

import (
	"bytes"
	"strconv"
	"strings"
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
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n"))
	for _, s := range pages {
		if s.in(text) {
			return refuse(RuleNotADisk, "content", s.name)
		}
	}
	if len(b) < sectorBytes {
		return refuse(RuleSector, "size", len(b))
	}
	return nil
}

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
