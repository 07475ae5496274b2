package diskimage

import (
	"encoding/binary"
	"fmt"
)

// VDI's header as VirtualBox writes it (version 1.1); little endian.
const (
	vdiSignature   = "\x7f\x10\xda\xbe"
	vdiSignatureAt = 0x40
	vdiHeaderBytes = 0x1c8
	vdiVersion     = 0x00010001
	vdiDynamic     = 1
	vdiStatic      = 2
)

func judgeVDI(h *head) (Info, error) {
	b, _, err := h.at(0, vdiHeaderBytes)
	if err != nil {
		return Info{}, err
	}
	if len(b) < vdiHeaderBytes {
		return Info{}, refuse(RuleTruncated, "header", len(b))
	}
	le := binary.LittleEndian
	size := le.Uint64(b[0x170:])
	if v := le.Uint32(b[0x44:]); v != vdiVersion {
		return Info{}, refuse(RuleVersion, "version", hex(v))
	}
	if kind := le.Uint32(b[0x4c:]); kind != vdiDynamic && kind != vdiStatic {
		return Info{}, refuse(RuleDiskType, "image_type", kind)
	}
	// The UUIDs of the image that this one was linked to, and of its parent.
	for _, at := range []int{0x1a8, 0x1b8} {
		if parent := [16]byte(b[at:]); parent != [16]byte{} {
			return Info{}, refuse(RuleParent, "parent_uuid", fmt.Sprintf("%x", parent))
		}
	}
	switch {
	case size == 0:
		return Info{}, refuse(RuleEmpty, "disk_size", size)
	case size%512 != 0 || size > maxVirtualBytes:
		return Info{}, refuse(RuleVirtualSize, "disk_size", size)
	}
	return Info{VirtualBytes: int64(size)}, nil
}
