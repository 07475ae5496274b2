package diskimage

import "encoding/binary"

// VHD's footer is 512 bytes: of a fixed disk only the file's last, of others a copy is at the beginning
// too (Microsoft's Virtual Hard Disk Image Format Specification). Big endian.
const (
	vhdCookie    = "conectix"
	footerBytes  = 512
	vhdFixed     = 2
	vhdDynamic   = 3
	vhdDiffering = 4
)

// isVHD looks at both ends, as far as the end is known.
func isVHD(h *head) (bool, error) {
	if ok, err := h.has(0, vhdCookie); ok || err != nil {
		return ok, err
	}
	tail, err := h.tail(footerBytes)
	return isVHDFooter(tail), err
}

// isVHDFooter also knows the footer of 511 bytes that early programs wrote.
func isVHDFooter(tail []byte) bool {
	n := len(tail)
	return n >= footerBytes && (string(tail[n-512:n-504]) == vhdCookie || string(tail[n-511:n-503]) == vhdCookie)
}

func judgeVHD(h *head) (Info, error) {
	b, _, err := h.at(0, footerBytes)
	if err != nil {
		return Info{}, err
	}
	if len(b) < len(vhdCookie) || string(b[:len(vhdCookie)]) != vhdCookie {
		if b, err = h.tail(footerBytes); err != nil {
			return Info{}, err
		}
	}
	if len(b) < footerBytes {
		return Info{}, refuse(RuleTruncated, "footer", len(b))
	}
	size := binary.BigEndian.Uint64(b[48:])
	switch kind := binary.BigEndian.Uint32(b[60:]); {
	case kind == vhdDiffering:
		return Info{}, refuse(RuleParent, "disk_type", kind)
	case kind != vhdFixed && kind != vhdDynamic:
		return Info{}, refuse(RuleDiskType, "disk_type", kind)
	case size == 0:
		return Info{}, refuse(RuleEmpty, "current_size", size)
	case size%512 != 0 || size > maxVirtualBytes:
		return Info{}, refuse(RuleVirtualSize, "current_size", size)
	}
	return Info{VirtualBytes: int64(size)}, nil
}
