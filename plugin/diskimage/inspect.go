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
	{Parallels, isParallels, judgeNothing},
	{Bochs, magicAt(0, "Bochs Virtual HD Image"), judgeNothing},
	{Cloop, magicAt(0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"), judgeNothing},
	{DMG, isDMG, judgeNothing},
}

func magicAt(off int64, magic string) func(*head) (bool, error) {
	return func(h *head) (bool, error) { return h.has(off, magic) }
}

// judgeNothing is for formats that are recognised so that they can be refused by name.
func judgeNothing(*head) (Info, error) { return Info{VirtualBytes: -1}, nil }

// decodable are the formats that Decode knows.
var decodable = []Format{Raw, QCOW2, ISO}

// isISO: a volume descriptor of ISO 9660, or of UDF alone, in the sector behind the system area.
func isISO(h *head) bool {
	iso, _ := h.has(0x8001, "CD001")
	udf, _ := h.has(0x8001, "BEA01")
	return iso || udf
}

// inspect runs every detector, whatever was declared, and judges what they find.
func inspect(h *head, opts Options) (Info, error) {
	if h.size == 0 {
		return Info{}, refuse(RuleEmpty, "size", 0)
	}
	found, err := detect(h)
	if err != nil {
		return Info{}, err
	}
	if len(found) == 0 && !opts.rawForSure() {
		if err := refuseNoDisk(h); err != nil {
			return Info{}, err
		}
	}
	format, err := settle(found, isISO(h), opts)
	if err != nil {
		return Info{}, err
	}
	info := Info{Format: Raw, VirtualBytes: h.size, Detail: rawDetail(h)}
	for _, d := range found {
		if info, err = d.judge(h); err != nil {
			return Info{}, forFormat(err, d.format)
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

// settle compares what was found with what was declared and with what is switched on. iso: without a
// container, the disk is an ISO as well as raw.
func settle(found []detector, iso bool, opts Options) (Format, error) {
	format := Raw
	switch len(found) {
	case 0:
		if iso && (opts.declared() == ISO || opts.declared() == "" && !slices.Contains(opts.accepted(), Raw)) {
			format = ISO
		}
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
		return "", mismatch(declared, format, opts)
	}
	if !slices.Contains(opts.accepted(), format) {
		return "", notAccepted(format)
	}
	return format, nil
}

// mismatch refuses what is not what it is said to be. Saying it right helps where that would be accepted.
func mismatch(declared, found Format, opts Options) *Refusal {
	r := refuse(RuleFormatMismatch, "disk_format", fmt.Sprintf("%s, but the image is %s", declared, found))
	if !slices.Contains(opts.accepted(), found) {
		r.Remedy = notAccepted(found).Remedy
	}
	return r
}

// notAccepted refuses a format that is not switched on.
func notAccepted(f Format) *Refusal {
	r := refuse(RuleFormatNotAccepted, "disk_format", f)
	if f == LUKS {
		r.Remedy = refuse(RuleEncrypted, "", nil).Remedy
	}
	_ = forFormat(r, f)
	return r
}

// rawForSure: the bytes are the disk, whatever they look like.
func (o Options) rawForSure() bool { return o.declared() == Raw && o.DeclaredBy == ByService }

// ratio is the bound of what unpacking gives for each byte.
func (o Options) ratio() int64 {
	if o.MaxRatio == 0 {
		return defaultRatio
	}
	return o.MaxRatio
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

// refuseSize refuses a disk beyond the built-in bound, which converting it does not make smaller.
func refuseSize(field string, size any) *Refusal {
	r := refuse(RuleVirtualSize, field, size)
	r.Remedy = "Make the disk 64 TiB or smaller, or see that the file or its server says its right size"
	return r
}

// checkVirtual applies the bounds to a disk's size; negative is unknown.
func checkVirtual(size int64, opts Options) error {
	if size > maxVirtualBytes {
		return refuseSize("size", size)
	}
	if size > opts.maxVirtual() {
		return refuse(RuleTooLarge, "size", fmt.Sprintf("%d, but the volume has %d bytes", size, opts.MaxVirtualBytes))
	}
	return nil
}

// InspectFile applies every rule to a whole file, tables included, and decodes nothing: compressed
// clusters are located but not decompressed. opts.SourceBytes and opts.Scratch are not used. An image that is
// compressed as a whole is decoded, to nowhere, and may need opts.Scratch.
func InspectFile(ctx context.Context, file io.ReaderAt, size int64, opts Options) (Info, error) {
	opts.SourceBytes = size
	h := fileHead(file, size)
	wrapper, err := wrapperIn(h, opts)
	if err != nil {
		return Info{}, err
	}
	if wrapper != "" {
		return inspectStream(ctx, io.NewSectionReader(file, 0, size), opts)
	}
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

// inspectStream decodes an image to nowhere.
func inspectStream(ctx context.Context, stream io.Reader, opts Options) (Info, error) {
	r, err := Open(ctx, stream, opts)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = r.Close() }() // nothing was written
	stats, err := r.Decode(ctx, nowhere{}, nil)
	info := r.Info()
	info.VirtualBytes = stats.VirtualBytes
	return info, err
}

// nowhere is a target that keeps nothing.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

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
	if isISO(h) {
		return "ISO 9660"
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
