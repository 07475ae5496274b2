package diskimage

import (
	"encoding/binary"
	"fmt"
)

// The qcow2 layout follows QEMU's docs/interop/qcow2.txt; all numbers are big endian.
const (
	qcowMagic        = "QFI\xfb"
	headerV2Bytes    = 72
	headerV3Bytes    = 104
	compressionAt    = 104
	minClusterBits   = 9
	maxClusterBits   = 21
	maxL1Bytes       = 32 << 20
	maxRefcountBytes = 8 << 20
)

// Incompatible features, at byte 72 of a version 3 header.
const (
	featureDirty       = 1 << 0
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureExtendedL2  = 1 << 4
)

const autoclearRawData = 1 << 1

// Header extensions that are refused.
const (
	extensionEnd        = 0
	extensionDataFile   = 0x44415441
	extensionBacking    = 0xE2792ACA
	extensionEncryption = 0x0537BE77
)

type compression uint8

const (
	zlib compression = 0
	zstd compression = 1
)

func (c compression) String() string {
	switch c {
	case zlib:
		return "zlib"
	case zstd:
		return "zstd"
	default:
		return fmt.Sprintf("compression(%d)", uint8(c))
	}
}

// qcow2Header is what decoding needs of a header that broke no rule.
type qcow2Header struct {
	version         int
	clusterBits     int
	size            int64 // of the disk
	l1Offset        int64
	l1Entries       int64 // those that the disk needs
	l1Size          int64 // those that the file has, never fewer
	refcountOffset  int64
	refcountBytes   int64
	compressionType compression
}

func (q *qcow2Header) cluster() int64 { return 1 << q.clusterBits }

// l2Span is how much of the disk one second-level table maps.
func (q *qcow2Header) l2Span() int64 { return q.cluster() * (q.cluster() / 8) }

func (q *qcow2Header) detail() string {
	return fmt.Sprintf("version %d, clusters of %d bytes, %s", q.version, q.cluster(), q.compressionType)
}

func isQCOW2(h *head) (bool, error) {
	b, _, err := h.at(0, 8)
	if err != nil || len(b) < 4 || string(b[:4]) != qcowMagic {
		return false, err
	}
	return len(b) < 8 || binary.BigEndian.Uint32(b[4:]) != 1, nil
}

func isQCOW1(h *head) (bool, error) { return h.has(0, qcowMagic+"\x00\x00\x00\x01") }

func judgeQCOW2(h *head) (Info, error) {
	q, err := readQCOW2Header(h)
	if err != nil {
		return Info{}, err
	}
	return Info{VirtualBytes: q.size, Detail: q.detail()}, nil
}

// readQCOW2Header applies every rule that the header and its extensions can break.
func readQCOW2Header(h *head) (*qcow2Header, error) {
	b, _, err := h.at(0, headerV3Bytes+8)
	if err != nil {
		return nil, err
	}
	if len(b) < headerV2Bytes {
		return nil, refuse(RuleTruncated, "header", fmt.Sprintf("%d bytes", len(b)))
	}
	q := &qcow2Header{version: int(binary.BigEndian.Uint32(b[4:]))}
	if q.version != 2 && q.version != 3 {
		return nil, refuse(RuleVersion, "version", binary.BigEndian.Uint32(b[4:]))
	}
	if err := q.readOutside(b); err != nil {
		return nil, err
	}
	length := int64(headerV2Bytes)
	if q.version == 3 {
		if len(b) < headerV3Bytes {
			return nil, refuse(RuleTruncated, "header", fmt.Sprintf("%d bytes", len(b)))
		}
		if length, err = q.readV3(b); err != nil {
			return nil, err
		}
	}
	if err := q.readExtensions(h, length); err != nil {
		return nil, err
	}
	return q, q.readGeometry(b, h.limit())
}

// readOutside refuses what points out of the image, and reads the cluster size.
func (q *qcow2Header) readOutside(b []byte) error {
	be := binary.BigEndian
	if v := be.Uint64(b[8:]); v != 0 {
		return refuse(RuleBackingFile, "backing_file_offset", hex(v))
	}
	if v := be.Uint32(b[16:]); v != 0 {
		return refuse(RuleBackingFile, "backing_file_size", v)
	}
	bits := be.Uint32(b[20:])
	if bits < minClusterBits || bits > maxClusterBits {
		return refuse(RuleClusterBits, "cluster_bits", bits)
	}
	q.clusterBits = int(bits)
	if v := be.Uint32(b[32:]); v != 0 {
		return refuse(RuleEncrypted, "crypt_method", v)
	}
	if v := be.Uint32(b[60:]); v != 0 {
		return refuse(RuleSnapshots, "nb_snapshots", v)
	}
	return nil
}

// readV3 applies the rules of version 3's further fields and returns the header's length.
func (q *qcow2Header) readV3(b []byte) (length int64, err error) {
	be := binary.BigEndian
	features := be.Uint64(b[72:])
	for _, f := range []struct {
		bits uint64
		rule string
	}{
		{featureDataFile, RuleDataFile}, {featureDirty, RuleDirty}, {featureCorrupt, RuleCorrupt},
		{featureExtendedL2, RuleExtendedL2}, {^uint64(featureCompression), RuleUnknownFeature},
	} {
		if features&f.bits != 0 {
			return 0, refuse(f.rule, "incompatible_features", hex(features))
		}
	}
	if v := be.Uint64(b[88:]); v&autoclearRawData != 0 {
		return 0, refuse(RuleDataFile, "autoclear_features", hex(v))
	}
	if v := be.Uint32(b[96:]); v > 6 {
		return 0, refuse(RuleRefcountOrder, "refcount_order", v)
	}
	length = int64(be.Uint32(b[100:]))
	if length < headerV3Bytes || length > q.cluster() || length%8 != 0 {
		return 0, refuse(RuleHeaderLength, "header_length", length)
	}
	return length, q.readCompression(b, length, features)
}

// readCompression: the type is a byte behind the fixed fields, and the feature bit is set exactly where
// it is not zlib.
func (q *qcow2Header) readCompression(b []byte, length int64, features uint64) error {
	flagged := features&featureCompression != 0
	if length <= compressionAt {
		if flagged {
			return refuse(RuleCompressionType, "header_length", length)
		}
		return nil
	}
	if len(b) <= compressionAt {
		return refuse(RuleTruncated, "header", fmt.Sprintf("%d bytes", len(b)))
	}
	q.compressionType = compression(b[compressionAt])
	if q.compressionType > zstd || flagged != (q.compressionType == zstd) {
		return refuse(RuleCompressionType, "compression_type", uint8(q.compressionType))
	}
	return nil
}

// readExtensions walks the extensions from the header's end to the first cluster's.
func (q *qcow2Header) readExtensions(h *head, off int64) error {
	be := binary.BigEndian
	for off+8 <= q.cluster() {
		b, _, err := h.at(off, 8)
		if err != nil {
			return err
		}
		if len(b) < 8 {
			return refuse(RuleTruncated, "header_extension", off)
		}
		kind, length := be.Uint32(b), int64(be.Uint32(b[4:]))
		switch kind {
		case extensionEnd:
			return nil
		case extensionDataFile:
			return refuse(RuleDataFile, "header_extension", hex(kind))
		case extensionBacking:
			return refuse(RuleBackingFile, "header_extension", hex(kind))
		case extensionEncryption:
			return refuse(RuleEncrypted, "header_extension", hex(kind))
		}
		if length > q.cluster()-off-8 {
			return refuse(RuleHeaderExtension, "header_extension length", length)
		}
		off += 8 + (length+7)&^7
	}
	return nil
}

// readGeometry reads the disk's size and where the tables are. limit is the file's size.
func (q *qcow2Header) readGeometry(b []byte, limit int64) error {
	be := binary.BigEndian
	size := be.Uint64(b[24:])
	switch {
	case size == 0:
		return refuse(RuleEmpty, "size", size)
	case size > maxVirtualBytes:
		return refuseSize("size", size)
	case size%512 != 0:
		return refuse(RuleVirtualSize, "size", size)
	}
	q.size = int64(size)
	q.l1Entries = (q.size + q.l2Span() - 1) / q.l2Span()
	q.l1Size = int64(be.Uint32(b[36:]))
	if q.l1Size*8 > maxL1Bytes || q.l1Size < q.l1Entries {
		return refuse(RuleL1Table, "l1_size", q.l1Size)
	}
	q.refcountBytes = int64(be.Uint32(b[56:])) << q.clusterBits
	if q.refcountBytes == 0 || q.refcountBytes > maxRefcountBytes {
		return refuse(RuleRefcountTable, "refcount_table_clusters", be.Uint32(b[56:]))
	}
	var err error
	if q.l1Offset, err = q.tableOffset(be.Uint64(b[40:]), q.l1Size*8, limit, RuleL1Table, "l1_table_offset"); err != nil {
		return err
	}
	q.refcountOffset, err = q.tableOffset(be.Uint64(b[48:]), q.refcountBytes, limit, RuleRefcountTable, "refcount_table_offset")
	return err
}

// tableOffset checks a table's place: aligned, behind the header and inside the file.
func (q *qcow2Header) tableOffset(off uint64, length, limit int64, rule, field string) (int64, error) {
	if off == 0 || off%uint64(q.cluster()) != 0 || off > maxHostOffset {
		return 0, refuse(rule, field, hex(off))
	}
	if int64(off) > limit-length {
		return 0, refuse(RuleTruncated, field, hex(off))
	}
	return int64(off), nil
}
