package diskimage

import (
	"encoding/binary"
	"fmt"
)

// VHDX, by Microsoft's [MS-VHDX]: a region table names the metadata region, whose table names items.
// Little endian.
const (
	vhdxRegionTable   = 192 << 10
	vhdxTableBytes    = 64 << 10
	vhdxMaxEntries    = 2047
	vhdxEntryBytes    = 32
	vhdxFileParamsLen = 8
)

// The GUIDs, as they stand in the file.
var (
	vhdxMetadataRegion = [16]byte{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}
	vhdxFileParams     = [16]byte{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}
	vhdxVirtualSize    = [16]byte{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}
	vhdxParentLocator  = [16]byte{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c}
)

const vhdxHasParent = 1 << 1 // in the file parameters' flags

func judgeVHDX(h *head) (Info, error) {
	at, err := vhdxMetadataAt(h)
	if err != nil {
		return Info{}, err
	}
	table, err := vhdxTable(h, at, "metadata", "metadata table")
	if err != nil {
		return Info{}, err
	}
	count := int(binary.LittleEndian.Uint16(table[10:]))
	if count > vhdxMaxEntries {
		return Info{}, refuse(RuleTables, "metadata entries", count)
	}
	info := Info{VirtualBytes: -1}
	for entry := range entries(table[32:], count) {
		if err := info.vhdxItem(h, at, entry); err != nil {
			return Info{}, err
		}
	}
	if info.VirtualBytes < 0 {
		return Info{}, refuse(RuleTables, "virtual_disk_size", "absent")
	}
	return info, nil
}

// vhdxMetadataAt finds the metadata region in the region table.
func vhdxMetadataAt(h *head) (int64, error) {
	table, err := vhdxTable(h, vhdxRegionTable, "regi", "region table")
	if err != nil {
		return 0, err
	}
	count := binary.LittleEndian.Uint32(table[8:])
	if count > vhdxMaxEntries {
		return 0, refuse(RuleTables, "region entries", count)
	}
	for entry := range entries(table[16:], int(count)) {
		if [16]byte(entry) != vhdxMetadataRegion {
			continue
		}
		if at := binary.LittleEndian.Uint64(entry[16:]); at < maxVirtualBytes {
			return int64(at), nil
		}
	}
	return 0, refuse(RuleTables, "metadata region", "absent")
}

func vhdxTable(h *head, at int64, signature, field string) ([]byte, error) {
	b, ok, err := h.at(at, vhdxTableBytes)
	switch {
	case err != nil:
		return nil, err
	case !ok || len(b) < vhdxTableBytes:
		return nil, refuse(RuleTables, field, fmt.Sprintf("at %d", at))
	case string(b[:len(signature)]) != signature:
		return nil, refuse(RuleTables, field+" signature", fmt.Sprintf("%q", b[:len(signature)]))
	}
	return append([]byte(nil), b...), nil // at's result is overwritten by the next call
}

// entries yields the table's entries that are inside it.
func entries(table []byte, count int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i := 0; i < count && (i+1)*vhdxEntryBytes <= len(table); i++ {
			if !yield(table[i*vhdxEntryBytes : (i+1)*vhdxEntryBytes]) {
				return
			}
		}
	}
}

// vhdxItem reads one metadata item as far as a rule or the size depends on it.
func (info *Info) vhdxItem(h *head, region int64, entry []byte) error {
	le := binary.LittleEndian
	guid, off := [16]byte(entry), int64(le.Uint32(entry[16:]))
	switch guid {
	case vhdxParentLocator:
		return refuse(RuleParent, "parent_locator", "present")
	case vhdxFileParams, vhdxVirtualSize:
	default:
		return nil
	}
	b, ok, err := h.at(region+off, vhdxFileParamsLen)
	if err != nil {
		return err
	}
	if !ok || len(b) < vhdxFileParamsLen {
		return refuse(RuleTables, "metadata item", off)
	}
	if guid == vhdxFileParams {
		if flags := le.Uint32(b[4:]); flags&vhdxHasParent != 0 {
			return refuse(RuleParent, "file_parameters", hex(flags))
		}
		return nil
	}
	size := le.Uint64(b)
	if size == 0 || size%512 != 0 || size > maxVirtualBytes {
		return refuse(RuleVirtualSize, "virtual_disk_size", size)
	}
	info.VirtualBytes = int64(size)
	return nil
}
