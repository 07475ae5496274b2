package diskimage

import (
	"errors"
	"fmt"
	"strings"
)

// The rules, by the stable words that Refusal.Rule carries.
const (
	RuleEmpty             = "empty"
	RuleSeveralFormats    = "several-formats"
	RuleArchive           = "archive"
	RuleNotADisk          = "not-a-disk"
	RuleSector            = "under-a-sector"
	RuleCompression       = "compression-not-accepted"
	RuleNested            = "nested-compression"
	RuleRatio             = "compression-ratio"
	RuleWindow            = "compression-window"
	RuleCompressedStream  = "compressed-stream"
	RuleFormatMismatch    = "format-mismatch"
	RuleFormatNotAccepted = "format-not-accepted"
	RuleNoDecoder         = "no-decoder"
	RuleTooLarge          = "too-large-for-volume"
	RuleTruncated         = "truncated"
	RuleVersion           = "version"
	RuleBackingFile       = "backing-file"
	RuleDataFile          = "data-file"
	RuleParent            = "parent"
	RuleExtentFile        = "extent-file"
	RuleDescriptor        = "descriptor"
	RuleDiskType          = "disk-type"
	RuleFooter            = "footer"
	RuleClusterBits       = "cluster-bits"
	RuleVirtualSize       = "virtual-size"
	RuleEncrypted         = "encrypted"
	RuleSnapshots         = "snapshots"
	RuleDirty             = "dirty"
	RuleCorrupt           = "corrupt"
	RuleExtendedL2        = "extended-l2"
	RuleUnknownFeature    = "unknown-feature"
	RuleCompressionType   = "compression-type"
	RuleHeaderLength      = "header-length"
	RuleHeaderExtension   = "header-extension"
	RuleRefcountOrder     = "refcount-order"
	RuleRefcountTable     = "refcount-table"
	RuleL1Table           = "l1-table"
	RuleL2Table           = "l2-table"
	RuleCluster           = "cluster"
	RuleOverlap           = "overlap"
	RuleTooManyClusters   = "too-many-clusters"
	RuleCompressedData    = "compressed-data"
	RuleTables            = "tables"
)

// RuleDoc explains one rule.
type RuleDoc struct {
	Rule   string
	Says   string // what an image must be
	Remedy string // what its owner can do; part of the Refusal
}

const (
	remedyRepair  = "Run qemu-img check -r all on the image, or make it again with qemu-img convert, and upload it again"
	remedyConvert = "Convert it with qemu-img convert -f qcow2 -O qcow2 and upload the result"
	remedyFlatten = "Flatten it into one file with qemu-img convert -f qcow2 -O qcow2 and upload the result"
	remedyUpload  = "Upload the image again"
)

// Rules lists every rule, in the order in which an image meets them.
var Rules = []RuleDoc{
	{RuleEmpty, "an image has at least one byte, and a disk at least one sector", remedyUpload},
	{RuleCompression, "an image is compressed, if at all, in a way that is unpacked here", "Unpack it and upload the result"},
	{RuleWindow, "unpacking needs at most 64 MiB of dictionary for xz, or 128 MiB of window for zstd", "Compress it again with xz -9 or zstd -19, or less, and upload the result"},
	{RuleCompressedStream, "the compressed data is whole, its checksums are right, and nothing follows it", remedyUpload},
	{RuleRatio, "what a compressed image becomes is in proportion to it", "Ask for a volume of a given size, raise max_compression_ratio, or upload the image as qcow2"},
	{RuleNested, "an image is compressed once", "Unpack it and upload the result, compressed once at most"},
	{RuleSeveralFormats, "at most one container format matches the bytes", "Upload the disk as plain raw or as qcow2 made by qemu-img convert"},
	{RuleArchive, "an image is one disk, not files in an archive", "Unpack the archive and upload the disk image in it"},
	{RuleNotADisk, "an image is a disk, not a page or a pointer that stands in for it", "Fetch the image itself, see that it is the file that was meant, and upload that"},
	{RuleSector, "a disk has at least one sector of 512 bytes", "Upload the image again, whole"},
	{RuleFormatMismatch, "the bytes are of the format that the image declares", "Upload the image with the disk format that it really has"},
	{RuleFormatNotAccepted, "the format is among those switched on", remedyConvert},
	{RuleNoDecoder, "the format can be decoded here, not only inspected", remedyConvert},
	{RuleTooLarge, "the disk is no larger than the volume", "Ask for a larger volume"},
	{RuleTruncated, "everything that the image refers to is inside the file", remedyUpload},
	{RuleVersion, "the format's version is a known one", remedyConvert},
	{RuleVirtualSize, "the disk's size is a multiple of 512 bytes and below 64 TiB", remedyConvert},
	{RuleBackingFile, "the image needs no other image below it", remedyFlatten},
	{RuleDataFile, "the disk's content is inside the image file", remedyFlatten},
	{RuleParent, "the image has no parent", remedyFlatten},
	{RuleExtentFile, "the image names no other file as an extent", remedyFlatten},
	{RuleDescriptor, "the descriptor is text of the known form, at its usual place, and small", remedyConvert},
	{RuleDiskType, "the kind of disk keeps everything in one file", remedyFlatten},
	{RuleFooter, "the footer repeats the header", remedyConvert},
	{RuleClusterBits, "clusters are 512 bytes to 2 MiB", remedyConvert},
	{RuleEncrypted, "the image is not encrypted", "Decrypt it with qemu-img convert, which needs its secret, and upload the result"},
	{RuleSnapshots, "the image has no internal snapshots", remedyFlatten},
	{RuleDirty, "the image was closed cleanly", remedyRepair},
	{RuleCorrupt, "the image is not marked as corrupt", remedyRepair},
	{RuleExtendedL2, "the image has no subclusters", "Convert it with qemu-img convert -f qcow2 -O qcow2 -o extended_l2=off and upload the result"},
	{RuleUnknownFeature, "the image needs no feature that is unknown here", remedyConvert},
	{RuleCompressionType, "clusters are compressed with zlib or zstd", remedyConvert},
	{RuleHeaderLength, "the header has a length that its version allows", remedyConvert},
	{RuleHeaderExtension, "header extensions lie inside the first cluster", remedyConvert},
	{RuleRefcountOrder, "reference counts have at most 64 bits", remedyConvert},
	{RuleRefcountTable, "the reference count table is aligned, inside the file and at most 8 MiB", remedyRepair},
	{RuleL1Table, "the first-level table is aligned, inside the file, at most 32 MiB and covers the disk", remedyRepair},
	{RuleL2Table, "entries of second-level tables have no reserved bits set", remedyRepair},
	{RuleCluster, "clusters are aligned, and compressed ones no larger than a cluster", remedyRepair},
	{RuleOverlap, "no two tables or clusters share bytes of the file", remedyRepair},
	{RuleTooManyClusters, "the file has few enough clusters to keep account of", "Convert it with qemu-img convert -f qcow2 -O qcow2 -o cluster_size=64k and upload the result"},
	{RuleCompressedData, "a compressed cluster decompresses to exactly one cluster", remedyRepair},
	{RuleTables, "the container's own tables are of sane size and inside the file", remedyConvert},
}

// refuse makes the Refusal of a rule, with the rule's remedy.
func refuse(rule, field string, value any) *Refusal {
	r := &Refusal{Rule: rule, Field: field}
	if value != nil {
		r.Value = fmt.Sprint(value)
	}
	for _, d := range Rules {
		if d.Rule == rule {
			r.Remedy = d.Remedy
		}
	}
	return r
}

// forFormat puts the format that a refused image has into its remedy, which speaks of qcow2 unless told.
// qemu-img must not guess it: it takes a fixed VHD for raw.
func forFormat(err error, f Format) error {
	var r *Refusal
	if errors.As(err, &r) {
		r.Remedy = strings.Replace(r.Remedy, "convert -f qcow2 ", "convert -f "+string(f)+" ", 1)
	}
	return err
}

// insideOf makes the remedy of an image that is compressed begin with unpacking it.
func insideOf(err error, c Compression) error {
	var r *Refusal
	if c != "" && errors.As(err, &r) && strings.Contains(r.Remedy, "qemu-img") {
		r.Remedy = "Unpack it with " + unpackCommand(c) + ". " + r.Remedy
	}
	return err
}

// hex prints offsets and bit sets the way that tools show them.
type hex uint64

func (h hex) String() string { return fmt.Sprintf("%#x", uint64(h)) }
