package file

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// A stamp is kept as one line: the fields of recordFields, separated by '|', after "V1". Within a field
// '|', '%' and '~' are written %7C, %25 and %7E; a UUID (lower case, with hyphens) is written ~u and its
// 16 bytes in URL-safe base64, sha256:<64 hex digits> ~s and its 32 bytes alike, a time in nanoseconds ~d
// and its 8 bytes, and a word of a file's revision ~ and one letter (see revisionWords). An image-volume's ID that
// begins with cc- and the entry's has '@' in place of them, one that begins with the entry's '=', else it
// follows a '+'; a lookup key likewise with what names the image in a revision's key, and the content key. So the line is 255 bytes or
// shorter for the usual names: then XFS keeps it in the inode, which saves each clone a block of attributes
// (a tenth of a clone with fsync).
const recordVersion = "V1"

const recordFields = 13

// A last field, which older records lack, is the time of the volume's last change when it was finished: the
// low 42 bits of it in nanoseconds, in base64. So short it is that the line may stay in the inode.
const (
	writtenBits = 42
	writtenLen  = writtenBits / 6
)

func appendWritten(r []byte, written uint64) []byte {
	raw := binary.BigEndian.AppendUint64(nil, written<<(64-writtenBits))
	return append(r, base64.RawURLEncoding.EncodeToString(raw)[:writtenLen]...)
}

func parseWritten(field string) (uint64, error) {
	raw, err := base64.RawURLEncoding.DecodeString(field + "AAAA")
	if err != nil || len(field) != writtenLen {
		return 0, fmt.Errorf("%q is no time of a change", field)
	}
	return binary.BigEndian.Uint64(raw) >> (64 - writtenBits), nil
}

func (s stamp) record() []byte {
	o := s.Origin
	r := append(make([]byte, 0, 256), recordVersion...)
	r = appendPacked(append(r, '|'), string(s.Name))
	r = appendPacked(append(r, '|'), string(s.ID))
	r = appendPacked(append(r, '|'), s.Token)
	r = strconv.AppendInt(append(r, '|'), s.SizeBytes, 36)
	r = appendPacked(append(r, '|'), string(o.EntryID))
	r = appendRelative(append(r, '|'), string(o.ImageVolume), imageVolumePrefix(o), string(o.EntryID))
	r = appendPacked(append(r, '|'), string(o.ContentKey))
	r = appendRelative(append(r, '|'), string(o.LookupKey), revisionPrefix(o), string(o.ContentKey))
	r = appendPacked(append(r, '|'), o.ImageID)
	r = appendPacked(append(r, '|'), string(o.Store))
	r = appendPacked(append(r, '|'), o.DirectFrom)
	r = appendPacked(append(r, '|'), s.Mark)
	if s.Written != 0 {
		r = appendWritten(append(r, '|'), s.Written)
	}
	return r
}

// parseRecord reads what record wrote. ErrNotOurs: it is another thing.
func parseRecord(record []byte) (stamp, error) {
	fields := strings.Split(string(record), "|")
	if fields[0] != recordVersion || len(fields) != recordFields && len(fields) != recordFields+1 {
		return stamp{}, fmt.Errorf("%w: its record is none of a volume", backends.ErrNotOurs)
	}
	r := recordReader{fields: fields[1:]}
	s := stamp{Name: backends.VolumeName(r.text()), ID: backends.VolumeID(r.text()), Token: r.text(), SizeBytes: r.number()}
	o := &s.Origin
	o.EntryID = words.EntryID(r.text())
	o.ImageVolume = backends.ImageVolumeID(r.relative(r.next(), imageVolumePrefix(*o), string(o.EntryID)))
	o.ContentKey = words.Key(r.text())
	lookup := r.next()
	o.ImageID, o.Store, o.DirectFrom = r.text(), backends.Name(r.text()), r.text()
	o.LookupKey = words.Key(r.relative(lookup, revisionPrefix(*o), string(o.ContentKey)))
	s.Mark = r.text()
	if len(r.fields) > 0 {
		written, err := parseWritten(r.next())
		s.Written, r.err = written, errors.Join(r.err, err)
	}
	if r.err != nil {
		return stamp{}, fmt.Errorf("%w: its record cannot be read: %w", backends.ErrNotOurs, r.err)
	}
	return s, nil
}

// recordReader reads one field after the other, up to the first that is wrong.
type recordReader struct {
	fields []string
	err    error
}

func (r *recordReader) next() string {
	field := r.fields[0]
	r.fields = r.fields[1:]
	return field
}

func (r *recordReader) text() string { return r.unpack(r.next()) }

func (r *recordReader) unpack(field string) string {
	text, err := unpack(field)
	r.err = errors.Join(r.err, err)
	return text
}

func (r *recordReader) number() int64 {
	n, err := strconv.ParseInt(r.next(), 36, 64)
	r.err = errors.Join(r.err, err)
	return n
}

// relative reads what appendRelative wrote.
func (r *recordReader) relative(field, first, second string) string {
	bases := map[byte]string{'@': first, '=': second, '+': ""}
	if field == "" {
		field = " "
	}
	base, known := bases[field[0]]
	if !known {
		r.err = errors.Join(r.err, fmt.Errorf("%q begins with none of '@', '=' and '+'", field))
		return ""
	}
	return base + r.unpack(field[1:])
}

// appendRelative writes a field that often begins as one of two others do.
func appendRelative(r []byte, s, first, second string) []byte {
	if rest, same := strings.CutPrefix(s, first); same {
		return appendPacked(append(r, '@'), rest)
	}
	if rest, same := strings.CutPrefix(s, second); same && second != "" {
		return appendPacked(append(r, '='), rest)
	}
	return appendPacked(append(r, '+'), s)
}

// imageVolumePrefix is what an image-volume's ID begins with.
func imageVolumePrefix(o backends.Origin) string { return "cc-" + string(o.EntryID) }

// revisionPrefix is what the key of an image's revision begins with.
func revisionPrefix(o backends.Origin) string { return "rev:" + o.ImageID + "@" }

// revisionWords are those of a file's revision, by the letter that stands for them.
var revisionWords = map[byte]string{'z': "size=", 'm': " mtime_ns=", 'c': " ctime_ns=", 'i': " inode="}

const (
	digestPrefix = "sha256:"
	digestLen    = len(digestPrefix) + 64
	uuidLen      = 36
	timeLen      = 19 // digits of a time in nanoseconds since 1970, until the year 2262
)

// appendPacked writes one field.
func appendPacked(r []byte, s string) []byte {
	const upperHex = "0123456789ABCDEF"
	for i := 0; i < len(s); {
		if raw, ok := uuidAt(s[i:]); ok {
			r = base64.RawURLEncoding.AppendEncode(append(r, "~u"...), raw[:])
			i += uuidLen
			continue
		}
		if raw, ok := digestAt(s[i:]); ok {
			r = base64.RawURLEncoding.AppendEncode(append(r, "~s"...), raw[:])
			i += digestLen
			continue
		}
		if letter, word := wordAt(s[i:]); word != "" {
			r = append(r, '~', letter)
			i += len(word)
			continue
		}
		if raw, ok := timeAt(s[i:]); ok {
			r = base64.RawURLEncoding.AppendEncode(append(r, "~d"...), raw[:])
			i += timeLen
			continue
		}
		if c := s[i]; c == '|' || c == '%' || c == '~' {
			r = append(r, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			r = append(r, c)
		}
		i++
	}
	return r
}

// uuidAt reads the UUID that s begins with.
func uuidAt(s string) (raw [16]byte, ok bool) {
	if len(s) < uuidLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return raw, false
	}
	ok = lowerHex(raw[:4], s) && lowerHex(raw[4:6], s[9:]) && lowerHex(raw[6:8], s[14:]) &&
		lowerHex(raw[8:10], s[19:]) && lowerHex(raw[10:], s[24:])
	return raw, ok
}

// digestAt reads the SHA-256 that s begins with.
func digestAt(s string) (raw [32]byte, ok bool) {
	if len(s) < digestLen || !strings.HasPrefix(s, digestPrefix) {
		return raw, false
	}
	ok = lowerHex(raw[:], s[len(digestPrefix):])
	return raw, ok
}

// wordAt is the word that s begins with, and its letter; "" where it begins with none.
func wordAt(s string) (letter byte, word string) {
	if s[0] != ' ' && s[0] != 's' {
		return 0, ""
	}
	for letter, word := range revisionWords {
		if strings.HasPrefix(s, word) {
			return letter, word
		}
	}
	return 0, ""
}

// timeAt reads the time that s begins with: 19 digits, of which the first is none of 0.
func timeAt(s string) (raw [8]byte, ok bool) {
	if len(s) < timeLen || s[0] < '1' || s[0] > '9' {
		return raw, false
	}
	n, err := strconv.ParseUint(s[:timeLen], 10, 63)
	binary.BigEndian.PutUint64(raw[:], n)
	return raw, err == nil
}

// lowerHex fills raw from the digits that s begins with.
func lowerHex(raw []byte, s string) bool {
	const digits = "0123456789abcdef"
	for i := range raw {
		high, low := strings.IndexByte(digits, s[2*i]), strings.IndexByte(digits, s[2*i+1])
		if high < 0 || low < 0 {
			return false
		}
		raw[i] = byte(high<<4 | low)
	}
	return true
}

// unpack reads what appendPacked wrote.
func unpack(s string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); {
		n, text, err := unpackAt(s[i:])
		if err != nil {
			return "", err
		}
		out.WriteString(text)
		i += n
	}
	return out.String(), nil
}

// unpackAt reads the next piece of s: how long it is, and what it stands for.
func unpackAt(s string) (n int, text string, err error) {
	switch {
	case strings.HasPrefix(s, "%") && len(s) >= 3:
		raw, err := hex.DecodeString(s[1:3])
		return 3, string(raw), err
	case strings.HasPrefix(s, "~u") && len(s) >= 24:
		var raw [16]byte
		if err := decode(raw[:], s[2:24]); err != nil {
			return 0, "", err
		}
		h := hex.EncodeToString(raw[:])
		return 24, h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
	case strings.HasPrefix(s, "~s") && len(s) >= 45:
		var raw [32]byte
		err := decode(raw[:], s[2:45])
		return 45, digestPrefix + hex.EncodeToString(raw[:]), err
	case strings.HasPrefix(s, "~d") && len(s) >= 13:
		var raw [8]byte
		err := decode(raw[:], s[2:13])
		return 13, strconv.FormatUint(binary.BigEndian.Uint64(raw[:]), 10), err
	case s[0] == '~' && len(s) >= 2 && revisionWords[s[1]] != "":
		return 2, revisionWords[s[1]], nil
	case s[0] == '%' || s[0] == '~':
		return 0, "", fmt.Errorf("%q ends in the middle", s)
	}
	return 1, s[:1], nil
}

// decode fills raw from base64 text that is just as long. Line breaks are none of the alphabet, although
// the decoder passes over them.
func decode(raw []byte, text string) error {
	got, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(got) != len(raw) {
		err = fmt.Errorf("%q is not %d bytes in base64", text, len(raw))
	}
	copy(raw, got)
	return err
}
