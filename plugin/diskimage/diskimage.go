// Package diskimage reads disk images from strangers: it inspects their headers by rules of its own
// and decodes them into a target, in one pass behind the download. Hostile bytes go in; a verdict, a
// disk's content or a typed refusal comes out. Nothing inside an image ever names something to open.
//
// The package writes only to its target and to its scratch file, which is unlinked while it is open,
// so a crash leaves nothing.
package diskimage

import (
	"errors"
	"io"
)

// InspectorVersion counts changes of the inspector's rules. It is stored with each image-volume, so
// that those made under older rules can be found.
const InspectorVersion = 3

// Format is a disk image format, by the names that image services use.
type Format string

// The formats that are recognised. Raw, QCOW2 and ISO are accepted by default. ISO is raw bytes under another
// name: it names nothing to open, so it is no container.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk"
	VHD   Format = "vpc"
	VHDX  Format = "vhdx"
	VDI   Format = "vdi"
	QED   Format = "qed"
	QCOW1 Format = "qcow"
	LUKS  Format = "luks"
	ISO   Format = "iso"

	Parallels Format = "parallels"
	Bochs     Format = "bochs"
	Cloop     Format = "cloop"
	DMG       Format = "dmg"
)

// ErrRefused is matched by every Refusal.
var ErrRefused = errors.New("image refused")

// ErrSource is matched by errors of the stream; the stream's own error is matched too.
var ErrSource = errors.New("image source")

// ErrSourceLonger: the stream went on beyond Options.SourceBytes. It matches ErrSource as well.
var ErrSourceLonger = errors.New("stream is longer than announced")

// ErrTarget is matched by errors of the target; the target's own error is matched too.
var ErrTarget = errors.New("image target")

// ErrScratchFull: the image needs more scratch space than is configured.
var ErrScratchFull = errors.New("scratch space is full")

// Refusal says which rule an image broke. It matches ErrRefused.
type Refusal struct {
	Rule   string // a stable word, such as "backing-file", "format-mismatch", "too-large-for-volume", "truncated"
	Field  string // the header field, such as "backing_file_offset"
	Value  string // what was found there
	Remedy string // a sentence for the person who owns the image
}

func (r *Refusal) Error() string {
	s := "image refused: " + r.Rule
	if r.Field != "" {
		s += ": " + r.Field
		if r.Value != "" {
			s += " = " + r.Value
		}
	}
	if r.Remedy != "" {
		s += ". " + r.Remedy
	}
	return s
}

// Is makes errors.Is(err, ErrRefused) true.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// Options bound what an image may be.
type Options struct {
	Declared          Format        // the claimed format; "": whatever one accepted format is detected, else raw
	DeclaredBy        Claimer       // who claims it
	Accept            []Format      // nil: Raw, QCOW2 and ISO
	AcceptCompression []Compression // nil: all of Compressions
	MaxRatio          int64         // most bytes for each byte of a compressed image, beyond the first GiB; 0: 1000
	SourceBytes       int64         // announced size of the stream; -1 unknown
	MaxVirtualBytes   int64         // the volume's size; 0: no bound but the built-in one
	Scratch           Scratch       // where to spool what is needed out of order
}

// Claimer is who says what an image's format is.
type Claimer int

const (
	// ByName: the image's name or the requester. What is compressed is unpacked first, and what is recognised
	// as no disk is refused.
	ByName Claimer = iota
	// ByService: the image service itself. Raw is believed then: the bytes are the disk, whatever they are,
	// as long as they are no container; a guest may write anything to its disk.
	ByService
)

// Scratch hands out unlinked temporary files below one directory, bounded in sum.
type Scratch interface {
	// File returns an empty file, already without a name. Close gives its bytes back.
	File() (ScratchFile, error)
}

// ScratchFile is one spool. WriteAt fails with ErrScratchFull at the bound.
type ScratchFile interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}

// Info is what inspection found.
type Info struct {
	Format       Format
	Compression  Compression // of the image as a whole; "": none
	VirtualBytes int64       // the disk's size; for raw the stream's, -1 while that is unknown
	AsDeclared   bool        // raw, since its service says so: unless told, it would be unpacked or refused
	Detail       string      // for people: version, cluster size, compression
}

// ContentFormat names how the image's bytes become a disk, such as "raw" or "qcow2.xz": equal bytes that are
// read in the same way are one disk. An ISO is raw bytes.
func (info Info) ContentFormat() string {
	format := info.Format
	if format == ISO {
		format = Raw
	}
	return string(format) + info.Compression.Suffix()
}

// Stats is what decoding did.
type Stats struct {
	SourceBytes  int64 // read from the stream, all of it, before it is unpacked
	VirtualBytes int64 // the disk's size, final
	WrittenBytes int64 // bytes handed to the target; zeroes are skipped
	ScratchBytes int64 // most scratch held at once
}
