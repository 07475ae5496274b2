package diskimagetest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"

	"github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

// Compress compresses an image as a whole; xz only stores it, in its own frame.
func Compress(c diskimage.Compression, image []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case diskimage.Gzip:
		w = gzip.NewWriter(&b)
	case diskimage.Zstd:
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	case diskimage.Bzip2:
		w, err = bzip2.NewWriter(&b, nil)
	case diskimage.XZ:
		return storedXZ(image, 0)
	default:
		panic("no compressor for " + c)
	}
	if err == nil {
		_, err = w.Write(image)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // writes go to memory
	}
	return b.Bytes()
}

// storedXZ is an xz stream of one block whose chunks are not compressed (The .xz File Format 1.1.0).
// dictionary is the code of its size: 0 is 4 KiB, 40 is 4 GiB.
func storedXZ(image []byte, dictionary byte) []byte {
	out := []byte("\xfd7zXZ\x00\x00\x01") // checked by CRC32
	out = append32(out, crc32.ChecksumIEEE(out[6:8]))
	block := []byte{2, 0, 0x21, 1, dictionary, 0, 0, 0}
	out = append32(append(out, block...), crc32.ChecksumIEEE(block))
	begin := len(out)
	for first, rest := byte(1), image; len(rest) > 0; first = 2 {
		n := min(len(rest), 64<<10)
		out = append(out, first, byte((n-1)>>8), byte(n-1))
		out, rest = append(out, rest[:n]...), rest[n:]
	}
	out = append(out, 0)
	unpadded := 12 + len(out) - begin + 4
	out = append32(padded(out), crc32.ChecksumIEEE(image))
	index := binary.AppendUvarint(binary.AppendUvarint([]byte{0, 1}, uint64(unpadded)), uint64(len(image)))
	index = padded(index)
	out = append32(append(out, index...), crc32.ChecksumIEEE(index))
	footer := append32(nil, uint32((len(index)+4)/4-1))
	footer = append(footer, 0, 1)
	return append(append(append32(out, crc32.ChecksumIEEE(footer)), footer...), "YZ"...)
}

// lzma begins as the format before xz does, with a dictionary of that size.
func lzma(dictionary uint32) []byte {
	header := append32([]byte{0x5d}, dictionary)
	return append(append(header, "\xff\xff\xff\xff\xff\xff\xff\xff\x00"...), content(4096)...)
}

func append32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }

func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// zstdOfZeroes is a frame of n MiB of zeroes, in a few bytes: blocks of one byte that is repeated.
func zstdOfZeroes(n int) []byte {
	out := []byte("\x28\xb5\x2f\xfd\x00\x50") // a window of 1 MiB
	for i := range n * 8 {
		block := uint32(128<<10)<<3 | 1<<1
		if i == n*8-1 {
			block |= 1
		}
		out = append(out, byte(block), byte(block>>8), byte(block>>16), 0)
	}
	return out
}

// Bomb is a compressed image of n MiB of zeroes, 32,768 for each byte.
func Bomb(n int) []byte { return zstdOfZeroes(n) }

func tarHeader(name string) []byte {
	b := make([]byte, 1024)
	copy(b, name)
	copy(b[100:], "0000644\x00")
	copy(b[124:], "00000000012\x00")
	b[156] = '0'
	sum := 8 * 32
	for _, c := range b[:512] {
		sum += int(c)
	}
	for i := 5; i >= 0; i, sum = i-1, sum/8 {
		b[148+i] = '0' + byte(sum%8)
	}
	b[155] = ' '
	return b
}

// compressed are images that are compressed as a whole, in each of the ways.
func compressed() []Case {
	disk := content(256 << 10)
	qcow2 := QCOW2{Content: disk}.Bytes()
	var cases []Case
	for _, c := range diskimage.Compressions() {
		good := Compress(c, disk)
		name := string(c) + ": "
		cases = append(cases,
			Case{Name: name + "not accepted", Bytes: good, Unpack: []diskimage.Compression{}, Rule: diskimage.RuleCompression},
			Case{Name: name + "cut off", Bytes: good[:len(good)-20], Rule: diskimage.RuleTruncated, Decoding: c != diskimage.Bzip2},
			Case{Name: name + "cut off at the beginning", Bytes: good[:14], Rule: diskimage.RuleTruncated},
			Case{Name: name + "bytes behind the end", Bytes: append(bytes.Clone(good), "behind the image"...), Rule: diskimage.RuleCompressedStream, Decoding: true},
			Case{Name: name + "zeroes and bytes behind the end", Bytes: append(append(bytes.Clone(good), make([]byte, 400)...), "behind the image"...), Rule: diskimage.RuleCompressedStream, Decoding: true},
			Case{Name: name + "cut off in a second member", Bytes: append(bytes.Clone(good), good[:len(good)/2]...), Rule: diskimage.RuleTruncated, Decoding: true},
			Case{Name: name + "twice", Bytes: Compress(diskimage.Gzip, good), Rule: diskimage.RuleNested},
			Case{Name: name + "declared qcow2", Bytes: good, Declared: diskimage.QCOW2, Rule: diskimage.RuleFormatMismatch},
			Case{Name: name + "qcow2 declared raw", Bytes: Compress(c, qcow2), Declared: diskimage.Raw, Rule: diskimage.RuleFormatMismatch},
			Case{Name: name + "vmdk", Bytes: Compress(c, vmdkImage(goodDescriptor)), Rule: diskimage.RuleFormatNotAccepted},
			Case{Name: name + "fixed vhd", Bytes: Compress(c, append(bytes.Clone(disk), vhdFooter(2, 256<<10)...)), Rule: diskimage.RuleFormatNotAccepted, Decoding: true},
			Case{Name: name + "larger than the volume", Bytes: good, Volume: 128 << 10, Rule: diskimage.RuleTooLarge, Decoding: true},
			Case{Name: name + "qcow2 larger than the volume", Bytes: Compress(c, qcow2), Volume: 64 << 10, Rule: diskimage.RuleTooLarge},
			Case{Name: name + "empty", Bytes: Compress(c, nil), Rule: diskimage.RuleEmpty},
		)
	}
	broken := func(c diskimage.Compression, at int) []byte {
		b := Compress(c, disk)
		b[len(b)-at] ^= 0x40
		return b
	}
	return slices.Concat(cases, []Case{
		{Name: "gzip: wrong checksum", Bytes: broken(diskimage.Gzip, 8), Rule: diskimage.RuleCompressedStream, Decoding: true},
		{Name: "gzip: wrong length", Bytes: broken(diskimage.Gzip, 1), Rule: diskimage.RuleCompressedStream, Decoding: true},
		{Name: "xz: wrong index", Bytes: broken(diskimage.XZ, 20), Rule: diskimage.RuleCompressedStream, Decoding: true},
		{Name: "zstd: wrong checksum", Bytes: broken(diskimage.Zstd, 1), Rule: diskimage.RuleCompressedStream, Decoding: true},
		{Name: "bzip2: wrong checksum", Bytes: broken(diskimage.Bzip2, 2), Rule: diskimage.RuleCompressedStream, Decoding: true},
		{Name: "xz: dictionary of 4 GiB", Bytes: storedXZ(disk, 40), Rule: diskimage.RuleWindow},
		{Name: "xz: dictionary of 96 MiB", Bytes: storedXZ(disk, 29), Rule: diskimage.RuleWindow},
		{Name: "zstd: window of 2 TiB", Bytes: []byte("\x28\xb5\x2f\xfd\x00\xf8\x03\x00\x00\x00"), Rule: diskimage.RuleWindow},
		{Name: "zstd: window of 256 MiB", Bytes: []byte("\x28\xb5\x2f\xfd\x00\x90\x03\x00\x00\x00"), Rule: diskimage.RuleWindow},
		{Name: "lz4", Bytes: append([]byte("\x04\x22\x4d\x18"), content(4096)...), Rule: diskimage.RuleCompression},
		{Name: "lz4, as it was", Bytes: append([]byte("\x02\x21\x4c\x18"), content(4096)...), Rule: diskimage.RuleCompression},
		{Name: "lrzip", Bytes: append([]byte("LRZI\x00\x06"), content(4096)...), Rule: diskimage.RuleCompression},
		{Name: "compress with 12 bits", Bytes: append([]byte("\x1f\x9d\x8c"), content(4096)...), Rule: diskimage.RuleCompression},
		{Name: "lzma -0", Bytes: lzma(256 << 10), Rule: diskimage.RuleCompression},
		{Name: "lzma -1", Bytes: lzma(1 << 20), Rule: diskimage.RuleCompression},
		{Name: "lzma -7", Bytes: lzma(16 << 20), Rule: diskimage.RuleCompression},
		{Name: "lzma with 96 MiB, declared raw", Bytes: lzma(96 << 20), Declared: diskimage.Raw, Rule: diskimage.RuleCompression},
		{Name: "lzip declared raw", Bytes: append([]byte("LZIP\x01"), content(4096)...), Declared: diskimage.Raw, Rule: diskimage.RuleCompression},
		{Name: "bomb for a volume", Bytes: zstdOfZeroes(256), Volume: 16 << 20, Rule: diskimage.RuleTooLarge, Decoding: true},
	})
}
