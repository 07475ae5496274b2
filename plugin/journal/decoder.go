package journal

import (
	"encoding/binary"
	"time"
)

// decoder takes fields off p. After the first error everything is zero.
type decoder struct {
	p   []byte
	err error
}

// failure is why something could not be decoded.
func (d *decoder) failure() error {
	if d.err != nil {
		return d.err
	}
	return errInvalid
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.p = nil
}

// take returns the next n bytes, or nil.
func (d *decoder) take(n int) []byte {
	if d.err != nil || n > len(d.p) {
		d.fail(errTorn)
		return nil
	}
	taken := d.p[:n]
	d.p = d.p[n:]
	return taken
}

// sequence is a sequence number that can be counted on from.
func (d *decoder) sequence() int64 {
	p := d.take(8)
	if p == nil {
		return 0
	}
	n := binary.LittleEndian.Uint64(p)
	if n > maxSequence {
		d.fail(errInvalid)
		return 0
	}
	return int64(n)
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.p)
	return v * int64(d.skip(n))
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	return v * uint64(d.skip(n))
}

// skip passes the n bytes of a varint; it returns 1, or 0 where there was none.
func (d *decoder) skip(n int) int {
	switch {
	case d.err != nil || n == 0:
		d.fail(errTorn)
		return 0
	case n < 0:
		d.fail(errInvalid)
		return 0
	}
	d.p = d.p[n:]
	return 1
}

// text copies, so that what is decoded does not keep the segment's bytes.
func (d *decoder) text(limit uint64) string {
	n := d.uvarint()
	if n > limit {
		d.fail(errInvalid)
		return ""
	}
	return string(d.take(int(n)))
}

func (d *decoder) time() time.Time {
	seconds, nanos := d.varint(), d.uvarint()
	if nanos >= uint64(time.Second) {
		d.fail(errInvalid)
	}
	if d.err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos)).UTC()
}
