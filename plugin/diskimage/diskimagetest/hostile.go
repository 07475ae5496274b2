package diskimagetest

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

// Case is an image that must be refused.
type Case struct {
	Name     string
	Bytes    []byte
	Declared diskimage.Format
	Accept   []diskimage.Format      // nil: the default; else the case needs these switched on
	Unpack   []diskimage.Compression // nil: the default
	Volume   int64                   // bytes of the volume; 0: any
	Rule     string                  // that the Refusal must name
	Decoding bool                    // shows only while decoding; everything else before the target is touched
	Stream   bool                    // shows only when all bytes have been decompressed: InspectFile passes it
}

// Hostile returns an image for every rule.
func Hostile() []Case {
	return slices.Concat(general(), replacements(), compressed(), headers(), tables(), vmdk(), vhd(), vhdx(), vdi())
}

const hostFile = "/etc/hostname" // what images name that try to have a host file read

// content is a small disk with something in each of its clusters.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i*7) | 1
	}
	return b
}

// edit returns a copy of an image after f has been at it.
func edit(image []byte, f func(b []byte)) []byte {
	b := bytes.Clone(image)
	f(b)
	return b
}

func put32(at int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
}

func put64(at int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) }
}

func general() []Case {
	good := QCOW2{Content: content(256 << 10)}.Bytes()
	iso := make([]byte, 64<<10)
	copy(iso[0x8001:], "CD001")
	luks := append([]byte("LUKS\xba\xbe\x00\x01"), make([]byte, 8<<10)...)
	qed := append([]byte("QED\x00"), make([]byte, 8<<10)...)
	qcow1 := append([]byte("QFI\xfb\x00\x00\x00\x01"), make([]byte, 8<<10)...)
	polyglot := edit(QCOW2{Content: content(256 << 10)}.Bytes(), func(b []byte) { copy(b[0x40:], "\x7f\x10\xda\xbe") })
	trailer := append(bytes.Clone(good), vhdFooter(2, 1<<20)...)
	return []Case{
		{Name: "empty", Bytes: nil, Rule: diskimage.RuleEmpty},
		{Name: "qcow2 declared raw", Bytes: good, Declared: diskimage.Raw, Rule: diskimage.RuleFormatMismatch},
		{Name: "raw declared qcow2", Bytes: content(4096), Declared: diskimage.QCOW2, Rule: diskimage.RuleFormatMismatch},
		{Name: "qcow2 declared vmdk", Bytes: good, Declared: diskimage.VMDK, Rule: diskimage.RuleFormatMismatch},
		{Name: "unknown declared format", Bytes: content(4096), Declared: "ploop", Rule: diskimage.RuleFormatMismatch},
		{Name: "vmdk declared qcow2", Bytes: vmdkImage(goodDescriptor), Declared: diskimage.QCOW2, Rule: diskimage.RuleFormatMismatch},
		{Name: "qcow2 and vdi at once", Bytes: polyglot, Declared: diskimage.QCOW2, Rule: diskimage.RuleSeveralFormats},
		{Name: "qcow2 with a vhd footer", Bytes: trailer, Declared: diskimage.QCOW2, Rule: diskimage.RuleSeveralFormats, Decoding: true},
		{Name: "iso is not accepted", Bytes: iso, Declared: diskimage.ISO, Accept: []diskimage.Format{diskimage.Raw}, Rule: diskimage.RuleFormatNotAccepted},
		{Name: "raw declared iso", Bytes: content(64 << 10), Declared: diskimage.ISO, Rule: diskimage.RuleFormatMismatch},
		{Name: "qcow2 declared iso", Bytes: good, Declared: diskimage.ISO, Rule: diskimage.RuleFormatMismatch},
		{Name: "luks", Bytes: luks, Rule: diskimage.RuleFormatNotAccepted},
		{Name: "luks declared raw", Bytes: luks, Declared: diskimage.Raw, Rule: diskimage.RuleFormatMismatch},
		{Name: "parallels", Bytes: append([]byte("WithoutFreeSpace\x02\x00\x00\x00"), make([]byte, 8<<10)...), Rule: diskimage.RuleFormatNotAccepted},
		{Name: "parallels, extended, declared raw", Bytes: append([]byte("WithouFreSpacExt\x02\x00\x00\x00"), make([]byte, 8<<10)...), Declared: diskimage.Raw, Rule: diskimage.RuleFormatMismatch},
		{Name: "bochs", Bytes: append([]byte("Bochs Virtual HD Image\x00"), make([]byte, 8<<10)...), Rule: diskimage.RuleFormatNotAccepted},
		{Name: "cloop", Bytes: append([]byte("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0"), make([]byte, 8<<10)...), Rule: diskimage.RuleFormatNotAccepted},
		{Name: "dmg", Bytes: append(content(256<<10), dmgFooter()...), Rule: diskimage.RuleFormatNotAccepted, Decoding: true},
		{Name: "qed", Bytes: qed, Rule: diskimage.RuleFormatNotAccepted},
		{Name: "qcow version 1", Bytes: qcow1, Rule: diskimage.RuleFormatNotAccepted},
		{Name: "qcow version 1 declared qcow2", Bytes: qcow1, Declared: diskimage.QCOW2, Rule: diskimage.RuleFormatMismatch},
		{Name: "vmdk", Bytes: vmdkImage(goodDescriptor), Rule: diskimage.RuleFormatNotAccepted},
		{Name: "raw, larger than the volume", Bytes: content(4096), Volume: 2048, Rule: diskimage.RuleTooLarge},
		{Name: "qcow2, larger than the volume", Bytes: good, Volume: 64 << 10, Rule: diskimage.RuleTooLarge},
		{Name: "raw is not accepted", Bytes: content(4096), Accept: []diskimage.Format{diskimage.QCOW2}, Rule: diskimage.RuleFormatNotAccepted},
	}
}

// headers are valid qcow2 images but for one field of the header.
func headers() []Case {
	v3 := QCOW2{Content: content(256 << 10)}.Bytes()
	v2 := QCOW2{Version: 2, Content: content(256 << 10)}.Bytes()
	extension := func(kind uint32, data string) func([]byte) {
		return func(b []byte) {
			put32(112, kind)(b)
			put32(116, uint32(len(data)))(b)
			copy(b[120:], data)
		}
	}
	var cases []Case
	for _, c := range []struct {
		name string
		rule string
		edit func([]byte)
	}{
		{"version 0", diskimage.RuleVersion, put32(4, 0)},
		{"version 4", diskimage.RuleVersion, put32(4, 4)},
		{"backing file", diskimage.RuleBackingFile, func(b []byte) {
			put64(8, 0x400)(b)
			put32(16, uint32(len(hostFile)))(b)
			copy(b[0x400:], hostFile)
		}},
		{"backing file without a length", diskimage.RuleBackingFile, put64(8, 0x400)},
		{"backing length without an offset", diskimage.RuleBackingFile, put32(16, 12)},
		{"cluster bits 0", diskimage.RuleClusterBits, put32(20, 0)},
		{"cluster bits 8", diskimage.RuleClusterBits, put32(20, 8)},
		{"cluster bits 22", diskimage.RuleClusterBits, put32(20, 22)},
		{"cluster bits 40", diskimage.RuleClusterBits, put32(20, 40)},
		{"cluster bits 63", diskimage.RuleClusterBits, put32(20, 63)},
		{"size 0", diskimage.RuleEmpty, put64(24, 0)},
		{"size no multiple of 512", diskimage.RuleVirtualSize, put64(24, 1000)},
		{"size 2^62", diskimage.RuleVirtualSize, put64(24, 1<<62)},
		{"size 2^63", diskimage.RuleVirtualSize, put64(24, 1<<63)},
		{"aes", diskimage.RuleEncrypted, put32(32, 1)},
		{"luks inside", diskimage.RuleEncrypted, put32(32, 2)},
		{"l1 of 2^28 entries", diskimage.RuleL1Table, put32(36, 1<<28)},
		{"l1 of 2^32-1 entries", diskimage.RuleL1Table, put32(36, 1<<32-1)},
		{"l1 too short for the size", diskimage.RuleL1Table, put32(36, 0)},
		{"l1 not aligned", diskimage.RuleL1Table, put64(40, 0x20008)},
		{"l1 at 0", diskimage.RuleL1Table, put64(40, 0)},
		{"l1 beyond the file", diskimage.RuleTruncated, put64(40, 1<<40)},
		{"l1 at 2^63", diskimage.RuleL1Table, put64(40, 1<<63)},
		{"l1 over the header's neighbour", diskimage.RuleOverlap, put64(40, 1<<16)},
		{"refcount table not aligned", diskimage.RuleRefcountTable, put64(48, 0x10001)},
		{"refcount table beyond the file", diskimage.RuleTruncated, put64(48, 1<<40)},
		{"refcount table of no clusters", diskimage.RuleRefcountTable, put32(56, 0)},
		{"refcount table of 2^31 clusters", diskimage.RuleRefcountTable, put32(56, 1<<31)},
		{"internal snapshot", diskimage.RuleSnapshots, put32(60, 1)},
		{"dirty", diskimage.RuleDirty, put64(72, 1)},
		{"corrupt", diskimage.RuleCorrupt, put64(72, 2)},
		{"external data file", diskimage.RuleDataFile, put64(72, 4)},
		{"extended l2", diskimage.RuleExtendedL2, put64(72, 16)},
		{"unknown feature 5", diskimage.RuleUnknownFeature, put64(72, 32)},
		{"unknown feature 63", diskimage.RuleUnknownFeature, put64(72, 1<<63)},
		{"raw external data", diskimage.RuleDataFile, put64(88, 2)},
		{"refcount order 7", diskimage.RuleRefcountOrder, put32(96, 7)},
		{"header length 96", diskimage.RuleHeaderLength, put32(100, 96)},
		{"header length 105", diskimage.RuleHeaderLength, put32(100, 105)},
		{"header length of two clusters", diskimage.RuleHeaderLength, put32(100, 128<<10)},
		{"compression type 2", diskimage.RuleCompressionType, func(b []byte) { put64(72, 8)(b); b[104] = 2 }},
		{"compression type without its bit", diskimage.RuleCompressionType, func(b []byte) { b[104] = 1 }},
		{"compression bit in a short header", diskimage.RuleCompressionType, func(b []byte) { put64(72, 8)(b); put32(100, 104)(b) }},
		{"data file extension", diskimage.RuleDataFile, extension(0x44415441, hostFile)},
		{"backing format extension", diskimage.RuleBackingFile, extension(0xE2792ACA, "raw")},
		{"encryption extension", diskimage.RuleEncrypted, extension(0x0537BE77, "0123456789abcdef")},
		{"extension beyond the cluster", diskimage.RuleHeaderExtension, func(b []byte) { put32(112, 0x6803f857)(b); put32(116, 1<<16)(b) }},
		{"extension of 2^32-1 bytes", diskimage.RuleHeaderExtension, func(b []byte) { put32(112, 0x6803f857)(b); put32(116, 1<<32-1)(b) }},
		{"data file behind an unknown extension", diskimage.RuleDataFile, func(b []byte) {
			extension(0x12345678, "12345")(b)
			put32(128, 0x44415441)(b)
		}},
	} {
		cases = append(cases, Case{Name: "qcow2: " + c.name, Bytes: edit(v3, c.edit), Declared: diskimage.QCOW2, Rule: c.rule})
	}
	extended := func(b []byte) { put32(72, 0xE2792ACA)(b); put32(76, 3)(b); copy(b[80:], "raw") }
	return append(cases,
		Case{Name: "qcow2 v2: backing file", Bytes: edit(v2, put64(8, 0x400)), Rule: diskimage.RuleBackingFile},
		Case{Name: "qcow2 v2: backing format extension", Bytes: edit(v2, extended), Rule: diskimage.RuleBackingFile},
		Case{Name: "qcow2: cut off in the header", Bytes: v3[:50], Rule: diskimage.RuleTruncated},
		Case{Name: "qcow2: cut off in version 3's header", Bytes: v3[:80], Rule: diskimage.RuleTruncated},
		Case{Name: "qcow2: magic alone", Bytes: v3[:4], Rule: diskimage.RuleTruncated},
	)
}

// tables are qcow2 images whose header is fine.
func tables() []Case {
	plain, lay := QCOW2{ClusterBits: 12, Content: content(256 << 10)}.Build()
	packed, packedLay := QCOW2{ClusterBits: 12, Content: content(256 << 10), Storage: Zlib}.Build()
	zstd, zstdLay := QCOW2{ClusterBits: 12, Content: content(256 << 10), Storage: Zstd}.Build()
	v2, v2Lay := QCOW2{Version: 2, ClusterBits: 12, Content: content(256 << 10)}.Build()
	last, lastLay := QCOW2{ClusterBits: 12, Content: content(256 << 10), Order: TablesLast}.Build()
	l1, l2 := int(lay.L1), int(lay.L2[0])
	be := binary.BigEndian
	firstPacked := be.Uint64(packed[packedLay.L2[0]:])
	garbage := func(at int64) func([]byte) {
		return func(b []byte) {
			for i := range 64 {
				b[at+int64(i)] = 0xff
			}
		}
	}
	cases := []Case{
		{Name: "l1 entry not aligned", Bytes: edit(plain, put64(l1, uint64(l2+512))), Rule: diskimage.RuleL1Table},
		{Name: "l1 entry with reserved bits", Bytes: edit(plain, put64(l1, uint64(l2)|1)), Rule: diskimage.RuleL1Table},
		{Name: "l1 entry at the header", Bytes: edit(plain, put64(l1, 1<<63)), Rule: diskimage.RuleL1Table},
		{Name: "l1 entry beyond the file", Bytes: edit(plain, put64(l1, 1<<40)), Rule: diskimage.RuleTruncated},
		{Name: "l1 entry names the l1 table", Bytes: edit(plain, put64(l1, uint64(l1))), Rule: diskimage.RuleOverlap},
		{Name: "refcount block beyond the file", Bytes: edit(plain, put64(int(lay.RefcountTable), 1<<40)), Rule: diskimage.RuleTruncated},
		{Name: "refcount block not aligned", Bytes: edit(plain, put64(int(lay.RefcountTable), 0x7001)), Rule: diskimage.RuleRefcountTable},
		{Name: "refcount block is a data cluster", Bytes: edit(plain, put64(int(lay.RefcountTable), uint64(lay.Data[9]))), Rule: diskimage.RuleOverlap},
		{Name: "cluster not aligned", Bytes: edit(plain, put64(l2, uint64(lay.Data[0]+512))), Rule: diskimage.RuleCluster},
		{Name: "cluster beyond the file", Bytes: edit(plain, put64(l2, 1<<40)), Rule: diskimage.RuleTruncated},
		{Name: "cluster right behind the file", Bytes: edit(plain, put64(l2, uint64(len(plain)))), Rule: diskimage.RuleTruncated},
		{Name: "cluster twice", Bytes: edit(plain, put64(l2, uint64(lay.Data[3]))), Rule: diskimage.RuleOverlap},
		{Name: "cluster is the l2 table", Bytes: edit(plain, put64(l2, uint64(l2))), Rule: diskimage.RuleOverlap},
		{Name: "cluster is the l1 table", Bytes: edit(plain, put64(l2, uint64(l1))), Rule: diskimage.RuleOverlap},
		{Name: "cluster is the refcount table", Bytes: edit(plain, put64(l2, uint64(lay.RefcountTable))), Rule: diskimage.RuleOverlap},
		{Name: "cluster is the header", Bytes: edit(plain, put64(l2, 1<<63)), Rule: diskimage.RuleL2Table},
		{Name: "zero cluster over another", Bytes: edit(plain, put64(l2, uint64(lay.Data[3])|1)), Rule: diskimage.RuleOverlap},
		{Name: "zero flag in version 2", Bytes: edit(v2, put64(int(v2Lay.L2[0]), uint64(v2Lay.Data[0])|1)), Rule: diskimage.RuleL2Table},
		{Name: "l2 entry with reserved bits", Bytes: edit(plain, put64(l2, uint64(lay.Data[0])|2)), Rule: diskimage.RuleL2Table},
		{Name: "l2 entry with high reserved bits", Bytes: edit(plain, put64(l2, uint64(lay.Data[0])|1<<60)), Rule: diskimage.RuleL2Table},
		{Name: "cluster twice, tables last", Bytes: edit(last, put64(int(lastLay.L2[0]), uint64(lastLay.Data[3]))), Rule: diskimage.RuleOverlap},
		{Name: "cluster not aligned, tables last", Bytes: edit(last, put64(int(lastLay.L2[0]), uint64(lastLay.Data[3])+512)), Rule: diskimage.RuleCluster},
		{Name: "compressed cluster beyond the file", Bytes: edit(packed, put64(int(packedLay.L2[0]), 1<<62|1<<40)), Rule: diskimage.RuleTruncated},
		{Name: "compressed cluster too long", Bytes: edit(packed, put64(int(packedLay.L2[0]), firstPacked|0xf<<58)), Rule: diskimage.RuleCluster},
		{Name: "compressed cluster in the header", Bytes: edit(packed, put64(int(packedLay.L2[0]), 1<<62|0x100)), Rule: diskimage.RuleOverlap},
		{Name: "compressed cluster in its table", Bytes: edit(packed, put64(int(packedLay.L2[0]), 1<<62|uint64(packedLay.L2[0]))), Rule: diskimage.RuleOverlap},
		{Name: "compressed cluster twice", Bytes: edit(packed, put64(int(packedLay.L2[0])+8, firstPacked)), Rule: diskimage.RuleOverlap},
		{Name: "compressed cluster marked as in use once", Bytes: edit(packed, put64(int(packedLay.L2[0]), firstPacked|1<<63)), Rule: diskimage.RuleL2Table},
		{Name: "zlib garbage", Bytes: edit(packed, garbage(packedLay.Data[5])), Rule: diskimage.RuleCompressedData, Stream: true},
		{Name: "zlib zeroes", Bytes: edit(packed, func(b []byte) { clear(b[packedLay.Data[5]:packedLay.Data[6]]) }), Rule: diskimage.RuleCompressedData, Stream: true},
		{Name: "zlib, less than a cluster", Bytes: shortCluster(packed, packedLay), Rule: diskimage.RuleCompressedData, Stream: true},
		{Name: "zlib, clusters inside each other", Bytes: nested(), Rule: diskimage.RuleCompressedData, Stream: true},
		{Name: "zstd garbage", Bytes: edit(zstd, garbage(zstdLay.Data[5])), Rule: diskimage.RuleCompressedData, Stream: true},
		{Name: "zstd bomb", Bytes: bomb(zstd, zstdLay), Rule: diskimage.RuleCompressedData, Stream: true},
		{Name: "cut off in the data", Bytes: plain[:lay.Data[20]], Rule: diskimage.RuleTruncated},
		{Name: "cut off in the l2 table", Bytes: plain[:l2+100], Rule: diskimage.RuleTruncated},
		{Name: "cut off before the tables", Bytes: last[:lastLay.L2[0]], Rule: diskimage.RuleTruncated},
	}
	for i := range cases {
		cases[i].Name = "qcow2: " + cases[i].Name
		cases[i].Declared = diskimage.QCOW2
		cases[i].Decoding = true
	}
	cases[len(cases)-1].Decoding = false // the header says that the l1 table is beyond the file's end
	return cases
}

// shortCluster makes one cluster decompress to less than it should.
func shortCluster(image []byte, lay Layout) []byte {
	small := (&builder{}).deflate(make([]byte, 512))
	return edit(image, func(b []byte) { copy(b[lay.Data[5]:], small) })
}

// nested is an image whose many compressed clusters are the ends of one stream: each begins with an empty
// stored block, and what is behind all of them makes a cluster.
func nested() []byte {
	stream := append(bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 40), (&builder{}).deflate(make([]byte, 4096))...)
	image, lay := QCOW2{ClusterBits: 12, Content: content(160 << 10), Storage: Zlib}.Build()
	at := int64(len(image))
	image = append(image, append(stream, make([]byte, 4096-len(stream))...)...)
	for i := range int64(40) {
		put64(int(lay.L2[0]+i*8), uint64(at+i*5)|1<<62)(image)
	}
	return image
}

// bomb makes one cluster decompress to 64 MiB.
func bomb(image []byte, lay Layout) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 4} // single segment, content size 2^26
	for i := range 512 {
		last := byte(0)
		if i == 511 {
			last = 1
		}
		size := uint32(128<<10)<<3 | 1<<1 | uint32(last)
		frame = append(frame, byte(size), byte(size>>8), byte(size>>16), 'x')
	}
	return edit(image, func(b []byte) { copy(b[lay.Data[5]:], frame) })
}
