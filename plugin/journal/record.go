package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/words"
)

const (
	magic       = "ccjrnl1\n"
	frameBytes  = 12 // mark, length, crc
	maxBody     = 64 << 10
	maxBootID   = 256
	maxSequence = 1 << 62 // no number above it is believed
)

// castagnoli is CRC-32C, which processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn: bytes end before what they should hold.
var errTorn = errors.New("torn")

// errInvalid: bytes are not what they should hold.
var errInvalid = errors.New("invalid")

// salt makes a segment's checksums its own.
type salt [8]byte

func (s salt) mark() []byte { return s[:4] }

func (s salt) sum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, p)
}

// header starts a segment.
type header struct {
	salt salt
	base int64
	boot string
}

func (h header) append(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, magic...)
	buf = append(buf, h.salt[:]...)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(h.base))
	buf = appendText(buf, h.boot)
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli))
}

// parseHeader returns the header and its length. errTorn, errInvalid.
func parseHeader(p []byte) (header, int, error) {
	d := decoder{p: p}
	var h header
	if string(d.take(len(magic))) != magic {
		return h, 0, d.failure()
	}
	copy(h.salt[:], d.take(len(h.salt)))
	h.base = d.sequence()
	h.boot = d.text(maxBootID)
	length := len(p) - len(d.p)
	sum := d.take(4)
	if d.err != nil || binary.LittleEndian.Uint32(sum) != crc32.Checksum(p[:length], castagnoli) {
		return h, 0, d.failure()
	}
	return h, length + 4, nil
}

// kind is what a record is.
type kind byte

const (
	kindBegin  kind = 'B'
	kindAnswer kind = 'A'
	kindDrop   kind = 'D'
	kindKeep   kind = 'K'
)

// record is one of a segment. Which fields it has depends on its kind.
type record struct {
	seq     int64
	written time.Time
	kind    kind
	of      int64 // the intent that it ends, or keeps
	kept    Kept
	intent  Intent
	request catalog.Request
}

// appendRecord appends r with its frame. ErrTooLong.
func (s salt) appendRecord(buf []byte, r record) ([]byte, error) {
	start := len(buf)
	buf = append(buf, s.mark()...)
	buf = append(buf, make([]byte, frameBytes-len(s.mark()))...)
	buf = appendBody(buf, r)
	body := buf[start+frameBytes:]
	if len(body) > maxBody {
		return buf[:start], ErrTooLong
	}
	binary.LittleEndian.PutUint32(buf[start+4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(buf[start+8:], s.sum(body))
	return buf, nil
}

func appendBody(buf []byte, r record) []byte {
	buf = binary.LittleEndian.AppendUint64(buf, uint64(r.seq))
	buf = appendTime(buf, r.written)
	buf = append(buf, byte(r.kind))
	switch r.kind {
	case kindBegin:
		return appendIntent(buf, r.intent)
	case kindAnswer:
		return appendRequest(binary.AppendVarint(buf, r.of), r.request)
	case kindDrop:
		return binary.AppendVarint(buf, r.of)
	case kindKeep:
		return appendText(binary.AppendVarint(buf, r.of), r.kept)
	}
	return buf
}

// parseRecord returns the record that p starts with and its length with the frame. errTorn, errInvalid.
func (s salt) parseRecord(p []byte) (record, int, error) {
	if len(p) < frameBytes {
		return record{}, 0, errTorn
	}
	length := int64(binary.LittleEndian.Uint32(p[4:]))
	if !bytes.Equal(p[:4], s.mark()) || length > maxBody {
		return record{}, 0, errInvalid
	}
	if length > int64(len(p)-frameBytes) {
		return record{}, 0, errTorn
	}
	body := p[frameBytes : frameBytes+length]
	if binary.LittleEndian.Uint32(p[8:]) != s.sum(body) {
		return record{}, 0, errInvalid
	}
	r, err := parseBody(body)
	return r, frameBytes + len(body), err
}

func parseBody(p []byte) (record, error) {
	d := decoder{p: p}
	r := record{seq: d.sequence(), written: d.time()}
	if k := d.take(1); k != nil {
		r.kind = kind(k[0])
	}
	switch r.kind {
	case kindBegin:
		r.intent = d.intent()
		r.intent.Seq = r.seq
	case kindAnswer:
		r.of = d.varint()
		r.request = d.request()
		r.request.Seq = r.seq
	case kindDrop:
		r.of = d.varint()
	case kindKeep:
		r.of = d.varint()
		r.kept = Kept(d.text(maxBody))
	default:
		return record{}, errInvalid
	}
	if d.err != nil || len(d.p) > 0 {
		return record{}, errInvalid
	}
	return r, nil
}

func appendText[T ~string](buf []byte, s T) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

func appendTime(buf []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(buf, t.Unix()), uint64(t.Nanosecond()))
}

func appendIntent(buf []byte, i Intent) []byte {
	buf = appendText(buf, i.Op)
	buf = appendText(buf, i.Backend)
	buf = appendText(buf, i.Spec.Name)
	buf = binary.AppendVarint(buf, i.Spec.SizeBytes)
	buf = appendText(buf, i.Spec.Token)
	o := i.Spec.Origin
	buf = appendText(buf, o.EntryID)
	buf = appendText(buf, o.ContentKey)
	buf = appendText(buf, o.LookupKey)
	buf = appendText(buf, o.ImageID)
	buf = appendText(buf, o.Store)
	buf = appendText(buf, o.ImageVolume)
	buf = appendText(buf, o.DirectFrom)
	buf = appendTime(buf, i.At)
	buf = appendTime(buf, i.Deadline)
	if i.Store != "" { // earlier versions ended with what follows here, or before it
		return appendText(appendText(buf, i.Kept), i.Store)
	}
	if i.Kept != "" {
		buf = appendText(buf, i.Kept)
	}
	return buf
}

func (d *decoder) intent() Intent {
	var i Intent
	i.Op = Op(d.text(maxBody))
	i.Backend = backends.Name(d.text(maxBody))
	i.Spec.Name = backends.VolumeName(d.text(maxBody))
	i.Spec.SizeBytes = d.varint()
	i.Spec.Token = d.text(maxBody)
	o := &i.Spec.Origin
	o.EntryID = words.EntryID(d.text(maxBody))
	o.ContentKey = words.Key(d.text(maxBody))
	o.LookupKey = words.Key(d.text(maxBody))
	o.ImageID = d.text(maxBody)
	o.Store = backends.Name(d.text(maxBody))
	o.ImageVolume = backends.ImageVolumeID(d.text(maxBody))
	o.DirectFrom = d.text(maxBody)
	i.At = d.time()
	i.Deadline = d.time()
	if len(d.p) > 0 {
		i.Kept = Kept(d.text(maxBody))
		if len(d.p) > 0 {
			i.Store = backends.StoreID(d.text(maxBody))
		}
		if i.Kept == "" && i.Store == "" {
			d.fail(errInvalid)
		}
	}
	return i
}

func appendRequest(buf []byte, r catalog.Request) []byte {
	buf = appendTime(buf, r.At)
	buf = appendText(buf, r.Backend)
	buf = appendText(buf, r.ImageID)
	buf = appendText(buf, r.Entry)
	buf = appendText(buf, r.Outcome)
	buf = appendText(buf, r.Reason)
	buf = binary.AppendVarint(buf, int64(r.Took))
	buf = binary.AppendVarint(buf, r.DownloadedBytes)
	buf = binary.AppendVarint(buf, r.SavedBytes)
	buf = binary.AppendVarint(buf, int64(r.Clones))
	buf = appendText(buf, r.Volume)
	return appendText(buf, r.Detail)
}

// request is an answered one. It ended after clones before there were events.
func (d *decoder) request() catalog.Request {
	r := catalog.Request{
		At:              d.time(),
		Backend:         backends.Name(d.text(maxBody)),
		ImageID:         d.text(maxBody),
		Entry:           catalog.EntryID(d.text(maxBody)),
		Outcome:         words.Outcome(d.text(maxBody)),
		Reason:          words.Reason(d.text(maxBody)),
		Took:            time.Duration(d.varint()),
		DownloadedBytes: d.varint(),
		SavedBytes:      d.varint(),
		Clones:          int(d.varint()),
	}
	if len(d.p) > 0 {
		r.Volume = backends.VolumeName(d.text(maxBody))
		r.Detail = d.text(maxBody)
	}
	return r
}
