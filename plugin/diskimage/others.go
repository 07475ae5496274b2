package diskimage

// Container formats that are recognised so that they can be refused by name.

// isParallels knows both versions of Parallels' expandable disks, which ploop writes too.
// Source: QEMU's docs/interop/parallels.rst.
func isParallels(h *head) (bool, error) {
	if ok, err := h.has(0, "WithoutFreeSpace"); ok || err != nil {
		return ok, err
	}
	return h.has(0, "WithouFreSpacExt")
}

// isDMG looks at the end, as far as it is known.
func isDMG(h *head) (bool, error) {
	tail, err := h.tail(footerBytes)
	return isDMGFooter(tail), err
}

// isDMGFooter: Apple's disk images end in a block of 512 bytes with its version, 4, and its length.
func isDMGFooter(tail []byte) bool {
	n := len(tail)
	return n >= footerBytes && string(tail[n-512:n-500]) == "koly\x00\x00\x00\x04\x00\x00\x02\x00"
}

// formatAtEnd is the format that shows only in an image's last bytes; "": none does.
func formatAtEnd(tail []byte) Format {
	switch {
	case isVHDFooter(tail):
		return VHD
	case isDMGFooter(tail):
		return DMG
	}
	return ""
}
