package diskimagetest

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

const goodDescriptor = `# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 2048 SPARSE "disk.vmdk"

# The Disk Data Base
ddb.virtualHWVersion = "4"
`

// vmdkImage is a sparse extent with a descriptor, without any grain.
func vmdkImage(descriptor string) []byte {
	b := make([]byte, 32<<10)
	le := binary.LittleEndian
	copy(b, "KDMV")
	le.PutUint32(b[4:], 1)
	le.PutUint64(b[12:], 2048) // capacity
	le.PutUint64(b[20:], 128)  // grain
	le.PutUint64(b[28:], 1)
	le.PutUint64(b[36:], 20)
	copy(b[512:], descriptor)
	return b
}

func vmdk() []Case {
	good := vmdkImage(goodDescriptor)
	replace := func(old, with string) []byte { return vmdkImage(strings.Replace(goodDescriptor, old, with, 1)) }
	little := func(at int, v uint64) []byte {
		return edit(good, func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) })
	}
	footer := edit(good, func(b []byte) {
		binary.LittleEndian.PutUint64(b[56:], math.MaxUint64)
		copy(b[len(b)-1024:], b[:512])
		binary.LittleEndian.PutUint64(b[len(b)-1024+28:], 2)
	})
	begins := func(magic string) []byte { return append([]byte(magic), make([]byte, 8<<10)...) }
	cases := []Case{
		{Name: "extent of ESX", Bytes: begins("COWD\x01\x00\x00\x00"), Rule: diskimage.RuleDiskType},
		{Name: "SE sparse extent", Bytes: begins("\xbe\xba\xfe\xca\x00\x00\x00\x00"), Rule: diskimage.RuleDiskType},
		{Name: "child by parentCID", Bytes: replace("ffffffff", "12345678"), Rule: diskimage.RuleParent},
		{Name: "no parentCID", Bytes: replace("parentCID=ffffffff\n", ""), Rule: diskimage.RuleParent},
		{Name: "parent's name", Bytes: replace("createType", "parentFileNameHint=\""+hostFile+"\"\ncreateType"), Rule: diskimage.RuleParent},
		{Name: "two parentCIDs", Bytes: replace("createType", "parentCID=00000001\ncreateType"), Rule: diskimage.RuleParent},
		{Name: "flat", Bytes: replace("monolithicSparse", "monolithicFlat"), Rule: diskimage.RuleDiskType},
		{Name: "two types", Bytes: replace("createType", "createType=\"monolithicFlat\"\ncreateType"), Rule: diskimage.RuleDiskType},
		{Name: "no type", Bytes: replace("createType=\"monolithicSparse\"\n", ""), Rule: diskimage.RuleDiskType},
		{Name: "extent names a host file", Bytes: replace("disk.vmdk", hostFile), Rule: diskimage.RuleExtentFile},
		{Name: "no extent", Bytes: replace("RW 2048 SPARSE \"disk.vmdk\"\n", ""), Rule: diskimage.RuleExtentFile},
		{Name: "two extents", Bytes: replace("RW 2048", "RW 1 SPARSE \"other\"\nRW 2048"), Rule: diskimage.RuleExtentFile},
		{Name: "odd line", Bytes: replace("version=1", "include other"), Rule: diskimage.RuleDescriptor},
		{Name: "not ASCII", Bytes: replace("version=1", "version=\xc3\xa4"), Rule: diskimage.RuleDescriptor},
		{Name: "descriptor elsewhere", Bytes: little(28, 2), Rule: diskimage.RuleDescriptor},
		{Name: "descriptor at 2^63", Bytes: little(28, 1<<63), Rule: diskimage.RuleDescriptor},
		{Name: "descriptor of 2^40 sectors", Bytes: little(36, 1<<40), Rule: diskimage.RuleDescriptor},
		{Name: "no descriptor", Bytes: little(36, 0), Rule: diskimage.RuleDescriptor},
		{Name: "capacity 2^60", Bytes: little(12, 1<<60), Rule: diskimage.RuleVirtualSize},
		{Name: "version 9", Bytes: edit(good, func(b []byte) { b[4] = 9 }), Rule: diskimage.RuleVersion},
		{Name: "footer differs", Bytes: footer, Rule: diskimage.RuleFooter},
		{Name: "descriptor alone", Bytes: []byte(strings.Replace(goodDescriptor, "disk.vmdk", hostFile, 1)), Rule: diskimage.RuleDiskType},
		{Name: "cut off in the header", Bytes: good[:100], Rule: diskimage.RuleTruncated},
		{Name: "cut off in the descriptor", Bytes: good[:700], Rule: diskimage.RuleTruncated},
	}
	return switchOn(cases, diskimage.VMDK)
}

// switchOn makes the cases ones of a format that has been accepted by name.
func switchOn(cases []Case, f diskimage.Format) []Case {
	for i := range cases {
		cases[i].Name = string(f) + ": " + cases[i].Name
		cases[i].Declared = f
		cases[i].Accept = []diskimage.Format{diskimage.Raw, diskimage.QCOW2, f}
	}
	return cases
}

func vhdFooter(kind uint32, size uint64) []byte {
	b := make([]byte, 512)
	copy(b, "conectix")
	binary.BigEndian.PutUint64(b[48:], size)
	binary.BigEndian.PutUint32(b[60:], kind)
	return b
}

// dmgFooter ends an image of Apple's.
func dmgFooter() []byte {
	return append([]byte("koly\x00\x00\x00\x04\x00\x00\x02\x00"), make([]byte, 500)...)
}

func vhd() []Case {
	dynamic := func(kind uint32, size uint64) []byte {
		return append(vhdFooter(kind, size), make([]byte, 4096)...)
	}
	fixed := append(content(4096), vhdFooter(2, 4096)...)
	large := append(content(256<<10), vhdFooter(2, 256<<10)...)
	return append(switchOn([]Case{
		{Name: "differencing", Bytes: dynamic(4, 1<<20), Rule: diskimage.RuleParent},
		{Name: "type 9", Bytes: dynamic(9, 1<<20), Rule: diskimage.RuleDiskType},
		{Name: "size 0", Bytes: dynamic(3, 0), Rule: diskimage.RuleEmpty},
		{Name: "size 2^62", Bytes: dynamic(3, 1<<62), Rule: diskimage.RuleVirtualSize},
		{Name: "good but not decoded", Bytes: dynamic(3, 1<<20), Rule: diskimage.RuleNoDecoder},
	}, diskimage.VHD),
		Case{Name: "vpc: fixed, declared raw", Bytes: fixed, Declared: diskimage.Raw, Rule: diskimage.RuleFormatMismatch},
		Case{Name: "vpc: fixed", Bytes: fixed, Rule: diskimage.RuleFormatNotAccepted},
		Case{Name: "vpc: fixed and large, declared raw", Bytes: large, Declared: diskimage.Raw, Rule: diskimage.RuleFormatMismatch, Decoding: true},
		Case{Name: "vpc: dynamic", Bytes: dynamic(3, 1<<20), Rule: diskimage.RuleFormatNotAccepted},
	)
}

// vhdxImage has a region table and a metadata table with the given items.
func vhdxImage(items ...[]byte) []byte {
	b := make([]byte, 1<<20)
	le := binary.LittleEndian
	copy(b, "vhdxfile")
	region := b[192<<10:]
	copy(region, "regi")
	le.PutUint32(region[8:], 1)
	copy(region[16:], "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e")
	le.PutUint64(region[32:], 512<<10)
	metadata := b[512<<10:]
	copy(metadata, "metadata")
	le.PutUint16(metadata[10:], uint16(len(items)))
	for i, item := range items {
		entry := metadata[32+i*32:]
		copy(entry, item[:16])
		le.PutUint32(entry[16:], uint32(64<<10+i*64))
		copy(metadata[64<<10+i*64:], item[16:])
	}
	return b
}

func vhdx() []Case {
	const (
		parameters = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
		size       = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
		parent     = "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c"
	)
	item := func(guid string, data ...byte) []byte {
		return append([]byte(guid), append(data, make([]byte, 16)...)...)
	}
	plain, hasParent := item(parameters, 0, 0, 32, 0, 0), item(parameters, 0, 0, 32, 0, 2)
	mebibyte := item(size, 0, 0, 16)
	good := vhdxImage(plain, mebibyte)
	return switchOn([]Case{
		{Name: "good but not decoded", Bytes: good, Rule: diskimage.RuleNoDecoder},
		{Name: "has a parent", Bytes: vhdxImage(hasParent, mebibyte), Rule: diskimage.RuleParent},
		{Name: "parent locator", Bytes: vhdxImage(plain, mebibyte, item(parent)), Rule: diskimage.RuleParent},
		{Name: "2048 regions", Bytes: edit(good, func(b []byte) { b[192<<10+9] = 8 }), Rule: diskimage.RuleTables},
		{Name: "2048 metadata items", Bytes: edit(good, func(b []byte) { b[512<<10+11] = 8 }), Rule: diskimage.RuleTables},
		{Name: "metadata far away", Bytes: edit(good, func(b []byte) { b[192<<10+37] = 1 }), Rule: diskimage.RuleTables},
		{Name: "no size", Bytes: vhdxImage(plain), Rule: diskimage.RuleTables},
		{Name: "size no multiple of 512", Bytes: vhdxImage(plain, item(size, 1)), Rule: diskimage.RuleVirtualSize},
		{Name: "cut off", Bytes: good[:100<<10], Rule: diskimage.RuleTables},
		{Name: "no region table", Bytes: edit(good, func(b []byte) { b[192<<10] = 0 }), Rule: diskimage.RuleTables},
	}, diskimage.VHDX)
}

func vdi() []Case {
	good := make([]byte, 8<<10)
	le := binary.LittleEndian
	copy(good, "<<< Oracle VM VirtualBox Disk Image >>>\n")
	copy(good[0x40:], "\x7f\x10\xda\xbe")
	le.PutUint32(good[0x44:], 0x00010001)
	le.PutUint32(good[0x4c:], 1)
	le.PutUint64(good[0x170:], 1<<20)
	set := func(at int, v byte) []byte { return edit(good, func(b []byte) { b[at] = v }) }
	return switchOn([]Case{
		{Name: "good but not decoded", Bytes: good, Rule: diskimage.RuleNoDecoder},
		{Name: "type 4, differencing", Bytes: set(0x4c, 4), Rule: diskimage.RuleDiskType},
		{Name: "linked to another", Bytes: set(0x1a8, 1), Rule: diskimage.RuleParent},
		{Name: "has a parent", Bytes: set(0x1b8, 1), Rule: diskimage.RuleParent},
		{Name: "version 0", Bytes: set(0x44, 0), Rule: diskimage.RuleVersion},
		{Name: "size 0", Bytes: set(0x172, 0), Rule: diskimage.RuleEmpty},
		{Name: "size 2^60", Bytes: set(0x177, 0x10), Rule: diskimage.RuleVirtualSize},
		{Name: "cut off", Bytes: bytes.Clone(good[:0x100]), Rule: diskimage.RuleTruncated},
	}, diskimage.VDI)
}
