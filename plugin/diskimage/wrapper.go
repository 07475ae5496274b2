package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
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
	switch {
	case isLZMA(b):
		return "lzma", nil
	case isCompress(b):
		return "compress", nil
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

// isLZMA: the format before xz has no mark. Its header is the usual properties, a dictionary of 2^n or 2^n +
// 2^(n-1) bytes, and a size that is unknown or below 256 GiB; liblzma knows such files by the same.
func isLZMA(b []byte) bool {
	if len(b) < 13 || b[0] != 0x5d {
		return false
	}
	dictionary, size := binary.LittleEndian.Uint32(b[1:]), binary.LittleEndian.Uint64(b[5:])
	ones := bits.OnesCount32(dictionary)
	plain := ones == 1 || ones == 2 && bits.Len32(dictionary)-bits.TrailingZeros32(dictionary) == 2
	return plain && dictionary >= 4<<10 && (size == math.MaxUint64 || size < 256<<30)
}

// isCompress: behind the mark stand flags, of which two are reserved, and how many bits a code may have.
func isCompress(b []byte) bool {
	return len(b) >= 3 && string(b[:2]) == "\x1f\x9d" && b[2]&0x60 == 0 && b[2]&0x1f >= 9 && b[2]&0x1f <= 16
}

// otherCompressions are recognised so that they can be refused by name.
var otherCompressions = []signature{
	{"lz4", 0, "\x04\x22\x4d\x18"},
	{"lz4", 0, "\x02\x21\x4c\x18"},
	{"lzip", 0, "LZIP\x01"},
	{"lzop", 0, "\x89LZO\x00\r\n\x1a\n"},
	{"snappy", 0, "\xff\x06\x00\x00sNaPpY"},
	{"lrzip", 0, "LRZI\x00"},
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
