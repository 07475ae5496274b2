package diskimage

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxVirtualBytes is the built-in bound of a disk's size.
const maxVirtualBytes = 64 << 40

// detector recognises one container format and judges it.
type detector struct {
	format Format
	match  func(h *head) (bool, error)
	judge  func(h *head) (Info, error) // every rule that the headers can break
}

var detectors = []detector{
	{QCOW2, isQCOW2, judgeQCOW2},
	{QCOW1, isQCOW1, judgeNothing},
	{QED, magicAt(0, "QED\x00"), judgeNothing},
	{LUKS, magicAt(0, "LUKS\xba\xbe"), judgeNothing},
	{VMDK, isVMDK, judgeVMDK},
	{VHD, isVHD, judgeVHD},
	{VHDX, magicAt(0, "vhdxfile"), judgeVHDX},
	{VDI, magicAt(vdiSignatureAt, vdiSignature), judgeVDI},
	{ISO, magicAt(0x8001, "CD001"), judgeNothing},
}

func magicAt(off int64, magic string) func(*head) (bool, error) {
	return func(h *head) (bool, error) { return h.has(off, magic) }
}

// judgeNothing is for formats that are recognised so that they can be refused by name.
func judgeNothing(*head) (Info, error) { return Info{VirtualBytes: -1}, nil }

// decodable are the formats that Decode knows.
var decodable = []Format{Raw, QCOW2}

// inspect runs every detector, whatever was declared, and judges what they find.
func inspect(h *head, opts Options) (Info, error) {
	if h.size == 0 {
		return Info{}, refuse(RuleEmpty, "size", 0)
	}
	found, err := detect(h)
	if err != nil {
		return Info{}, err
	}
	format, err := settle(found, opts)
	if err != nil {
		return Info{}, err
	}
	info := Info{Format: Raw, VirtualBytes: h.size, Detail: rawDetail(h)}
	for _, d := range found {
		if info, err = d.judge(h); err != nil {
			return Info{}, err
		}
		info.Format = d.format
	}
	if err := checkVirtual(info.VirtualBytes, opts); err != nil {
		return Info{}, err
	}
	info.Format = format
	return info, nil
}

func detect(h *head) ([]detector, error) {
	var found []detector
	for _, d := range detectors {
		ok, err := d.match(h)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, d)
		}
	}
	return found, nil
}

// settle compares what was found with what was declared and with what is switched on.
func settle(found []detector, opts Options) (Format, error) {
	format := Raw
	switch len(found) {
	case 0:
	case 1:
		format = found[0].format
	default:
		names := make([]string, len(found))
		for i, d := range found {
			names[i] = string(d.format)
		}
		return "", refuse(RuleSeveralFormats, "format", strings.Join(names, " and "))
	}
	if declared := opts.declared(); declared != "" && declared != format {
		return "", refuse(RuleFormatMismatch, "disk_format", fmt.Sprintf("%s, but the image is %s", declared, format))
	}
	if !slices.Contains(opts.accepted(), format) {
		return "", refuse(RuleFormatNotAccepted, "disk_format", format)
	}
	return format, nil
}

// declared is the claimed format; image services know VHD by two names.
func (o Options) declared() Format {
	if o.Declared == "vhd" {
		return VHD
	}
	return o.Declared
}

func (o Options) accepted() []Format {
	if o.Accept == nil {
		return decodable
	}
	return o.Accept
}

// maxVirtual is the bound of the disk's size that applies.
func (o Options) maxVirtual() int64 {
	if o.MaxVirtualBytes > 0 {
		return min(o.MaxVirtualBytes, maxVirtualBytes)
	}
	return maxVirtualBytes
}

// checkVirtual applies the bounds to a disk's size; negative is unknown.
func checkVirtual(size int64, opts Options) error {
	if size > maxVirtualBytes {
		return refuse(RuleVirtualSize, "size", size)
	}
	if size > opts.maxVirtual() {
		return refuse(RuleTooLarge, "size", fmt.Sprintf("%d, but the volume has %d bytes", size, opts.MaxVirtualBytes))
	}
	return nil
}

// InspectFile applies every rule to a whole file, tables included, and decodes nothing: compressed
// clusters are located but not decompressed. opts.SourceBytes and opts.Scratch are not used.
func InspectFile(ctx context.Context, file io.ReaderAt, size int64, opts Options) (Info, error) {
	opts.SourceBytes = size
	h := fileHead(file, size)
	info, err := inspect(h, opts)
	if err != nil || info.Format != QCOW2 {
		return info, err
	}
	header, err := readQCOW2Header(h)
	if err != nil {
		return Info{}, err
	}
	if err := inspectTables(ctx, file, size, header); err != nil {
		return Info{}, err
	}
	return info, nil
}

// rawDetail says, for people, what a raw disk begins with. Nothing depends on it.
func rawDetail(h *head) string {
	if ok, _ := h.has(512, "EFI PART"); ok {
		return "GPT"
	}
	if ok, _ := h.has(0x438, "\x53\xef"); ok {
		return "ext2, ext3 or ext4"
	}
	if ok, _ := h.has(0, "XFSB"); ok {
		return "XFS"
	}
	if ok, _ := h.has(510, "\x55\xaa"); !ok {
		return ""
	}
	if isFATBootSector(h) {
		return "FAT or NTFS"
	}
	return "MBR"
}

// isFATBootSector tells a file system's boot sector from a partition table; both end in 0xAA55. A boot
// sector says its sector size at 11, and a partition table has only 0x00 or 0x80 at the four states.
func isFATBootSector(h *head) bool {
	b, _, err := h.at(0, 512)
	if err != nil || len(b) < 512 {
		return false
	}
	size := int(b[11]) | int(b[12])<<8
	return (b[0] == 0xeb || b[0] == 0xe9) && size >= 512 && size <= 4096 && size&(size-1) == 0 && b[16] >= 1 && b[16] <= 2 || string(b[3:7]) == "NTFS"
}
