package diskimage

import (
	"bytes"
	"fmt"
	"slices"
)

// Compression is how an image file is compressed as a whole, by the names that the configuration uses. It is
// a wrapper around an image, not a format: every rule holds for what is inside.
type Compression string

// The compressions that are unpacked, all of them by default.
const (
	Gzip  Compression = "gzip"
	XZ    Compression = "xz"
	Zstd  Compression = "zstd"
	Bzip2 Compression = "bzip2"
)

// Compressions lists them.
func Compressions() []Compression { return []Compression{Gzip, XZ, Zstd, Bzip2} }

// Suffix is what a file's name ends in, with its dot; empty for no compression.
func (c Compression) Suffix() string {
	switch c {
	case "":
		return ""
	case Gzip:
		return ".gz"
	case XZ:
		return ".xz"
	case Zstd:
		return ".zst"
	case Bzip2:
		return ".bz2"
	default:
		return "." + string(c)
	}
}

// signature is a file format's, by bytes at one place.
type signature struct {
	name  string
	off   int
	magic string
}

func (s signature) in(b []byte) bool {
	return len(b) >= s.off && bytes.HasPrefix(b[s.off:], []byte(s.magic))
}

// wrapperBytes is how much of an image's beginning shows how it is compressed.
const wrapperBytes = 16

// wrapperOf tells how the image is compressed as a whole; "": it is not.
func wrapperOf(h *head) (Compression, error) {
	b, _, err := h.at(0, wrapperBytes)
	if err != nil {
		return "", err
	}
	switch {
	case isGzip(b):
		return Gzip, nil
	case bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")):
		return XZ, nil
	case isZstd(b):
		return Zstd, nil
	case isBzip2(b):
		return Bzip2, nil
	}
	for _, s := range otherCompressions {
		if s.in(b) {
			return Compression(s.name), nil
		}
	}
	return "", nil
}

// isGzip: RFC 1952. The one method is DEFLATE, and three flags are reserved.
func isGzip(b []byte) bool {
	return len(b) >= 4 && string(b[:3]) == "\x1f\x8b\x08" && b[3]&0xe0 == 0
}

// isZstd: RFC 8878. The first frame may be one to be skipped.
func isZstd(b []byte) bool {
	return len(b) >= 4 && (string(b[:4]) == "\x28\xb5\x2f\xfd" || b[0]&0xf0 == 0x50 && string(b[1:4]) == "\x2a\x4d\x18")
}

// isBzip2: behind the level stands a block's mark, or the stream's end's.
func isBzip2(b []byte) bool {
	return len(b) >= 10 && string(b[:3]) == "BZh" && b[3] >= '1' && b[3] <= '9' &&
		(string(b[4:10]) == "1AY&SY" || string(b[4:10]) == "\x17\x72\x45\x38\x50\x90")
}

// otherCompressions are recognised so that they can be refused by name.
var otherCompressions = []signature{
	{"lz4", 0, "\x04\x22\x4d\x18"},
	{"lzip", 0, "LZIP\x01"},
	{"lzop", 0, "\x89LZO\x00\r\n\x1a\n"},
	{"lzma", 0, "\x5d\x00\x00\x80\x00"},
	{"lzma", 0, "\x5d\x00\x00\x00\x04"},
	{"snappy", 0, "\xff\x06\x00\x00sNaPpY"},
	{"compress", 0, "\x1f\x9d\x90"},
}

// checkWrapper refuses a compression that is not unpacked here or not switched on.
func checkWrapper(c Compression, opts Options) error {
	accepted := opts.AcceptCompression
	if accepted == nil {
		accepted = Compressions()
	}
	if slices.Contains(accepted, c) {
		return nil
	}
	r := refuse(RuleCompression, "compression", c)
	r.Remedy = fmt.Sprintf("Unpack it with %s and upload the result", unpackCommand(c))
	return r
}

// unpackCommand is what people type.
func unpackCommand(c Compression) string {
	switch c {
	case "lzma":
		return "xz --format=lzma -d"
	case "compress":
		return "gzip -d"
	default:
		return string(c) + " -d"
	}
}
