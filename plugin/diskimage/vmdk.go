package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// VMDK's sparse extent, by VMware's Virtual Disk Format 5.0: a header of 512 bytes, then a text
// descriptor. Little endian.
const (
	vmdkMagic         = "KDMV"
	vmdkESXMagic      = "COWD"                             // an extent of ESX
	vmdkSEMagic       = "\xbe\xba\xfe\xca\x00\x00\x00\x00" // one of later ones
	vmdkText          = "# Disk DescriptorFile"
	vmdkHeaderBytes   = 512
	vmdkDescriptorAt  = 0x200
	vmdkMaxDescriptor = 64 << 10
	vmdkFooterBytes   = 1536 // marker, footer, end marker
)

func isVMDK(h *head) (bool, error) {
	for _, magic := range []string{vmdkMagic, vmdkESXMagic, vmdkSEMagic} {
		if ok, err := h.has(0, magic); ok || err != nil {
			return ok, err
		}
	}
	b, _, err := h.at(0, len(vmdkText))
	return strings.EqualFold(string(b), vmdkText), err
}

func judgeVMDK(h *head) (Info, error) {
	b, _, err := h.at(0, vmdkHeaderBytes)
	if err != nil {
		return Info{}, err
	}
	if len(b) < 4 || string(b[:4]) != vmdkMagic {
		return Info{}, refuse(RuleDiskType, "header", "a descriptor alone, or an extent without one")
	}
	if len(b) < vmdkHeaderBytes {
		return Info{}, refuse(RuleTruncated, "header", len(b))
	}
	b = bytes.Clone(b)
	le := binary.LittleEndian
	sectors := le.Uint64(b[12:])
	if sectors == 0 || sectors > maxVirtualBytes/512 {
		return Info{}, refuse(RuleVirtualSize, "capacity", sectors)
	}
	if v := le.Uint32(b[4:]); v < 1 || v > 3 {
		return Info{}, refuse(RuleVersion, "version", v)
	}
	if le.Uint64(b[56:]) == math.MaxUint64 {
		if err := checkVMDKFooter(h, b); err != nil {
			return Info{}, err
		}
	}
	text, err := vmdkDescriptor(h, b)
	if err != nil {
		return Info{}, err
	}
	return Info{VirtualBytes: int64(sectors) * 512}, checkDescriptor(text)
}

// vmdkDescriptor returns the embedded descriptor up to its first NUL.
func vmdkDescriptor(h *head, header []byte) (string, error) {
	at, sectors := binary.LittleEndian.Uint64(header[28:]), binary.LittleEndian.Uint64(header[36:])
	if at != vmdkDescriptorAt/512 {
		return "", refuse(RuleDescriptor, "descriptor_offset", at)
	}
	if sectors == 0 || sectors > vmdkMaxDescriptor/512 {
		return "", refuse(RuleDescriptor, "descriptor_size", sectors)
	}
	b, _, err := h.at(vmdkDescriptorAt, int(sectors)*512)
	if err != nil {
		return "", err
	}
	if len(b) < int(sectors)*512 {
		return "", refuse(RuleTruncated, "descriptor", len(b))
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b), nil
}

// checkVMDKFooter: the footer must be the header again, but for where the grain directory is.
func checkVMDKFooter(h *head, header []byte) error {
	tail, err := h.tail(vmdkFooterBytes)
	if err != nil || tail == nil {
		return err // of a stream it is looked at when it has arrived
	}
	return compareVMDKFooter(header, tail)
}

func compareVMDKFooter(header, tail []byte) error {
	if len(tail) < vmdkFooterBytes {
		return refuse(RuleFooter, "footer", fmt.Sprintf("%d bytes", len(tail)))
	}
	footer := bytes.Clone(tail[512:1024])
	copy(footer[56:64], header[56:64])
	if !bytes.Equal(footer, header[:512]) {
		return refuse(RuleFooter, "footer", "differs from the header")
	}
	return nil
}

// checkDescriptor allows the few kinds of line that a disk in one file needs.
func checkDescriptor(text string) error {
	extents, typed, parented := 0, false, false // each line is judged: readers differ in which of two they take
	for line := range strings.Lines(text) {
		if err := checkASCII(line); err != nil {
			return err
		}
		line = strings.TrimSpace(line)
		word, value, assigned := strings.Cut(line, "=")
		word, value = strings.ToLower(strings.TrimSpace(word)), strings.Trim(strings.TrimSpace(value), `"`)
		switch {
		case line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(word, "ddb"):
		case isExtent(line):
			if extents++; strings.ContainsAny(line, `/\`) {
				return refuse(RuleExtentFile, "extent", line)
			}
		case !assigned || !isWord(word):
			return refuse(RuleDescriptor, "line", fmt.Sprintf("%q", clip(line)))
		case word == "parentfilenamehint":
			return refuse(RuleParent, "parentFileNameHint", fmt.Sprintf("%q", clip(value)))
		case word == "createtype":
			if typed = value == "monolithicSparse" || value == "streamOptimized"; !typed {
				return refuse(RuleDiskType, "createType", fmt.Sprintf("%q", clip(value)))
			}
		case word == "parentcid":
			if parented = strings.ToLower(value) == "ffffffff"; !parented {
				return refuse(RuleParent, "parentCID", clip(value))
			}
		}
	}
	switch {
	case !typed:
		return refuse(RuleDiskType, "createType", "absent")
	case !parented:
		return refuse(RuleParent, "parentCID", "absent")
	case extents != 1:
		return refuse(RuleExtentFile, "extents", extents)
	}
	return nil
}

func checkASCII(line string) error {
	for _, c := range []byte(line) {
		if c >= 0x7f || c < 0x20 && c != '\n' && c != '\r' && c != '\t' {
			return refuse(RuleDescriptor, "line", fmt.Sprintf("%q", clip(line)))
		}
	}
	return nil
}

func isExtent(line string) bool {
	word, _, _ := strings.Cut(line, " ")
	return word == "RW" || word == "RDONLY" || word == "NOACCESS"
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
	})
}

// clip keeps what a stranger wrote short enough to be shown.
func clip(s string) string { return s[:min(len(s), 80)] }
