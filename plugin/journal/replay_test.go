package journal

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/words"
)

// content is a segment of some records, where each ends, and what recovery finds after each.
func content(t *testing.T) (whole []byte, ends []int64, found []Recovered) {
	t.Helper()
	dir := t.TempDir()
	j, _ := reopen(t, Config{Dir: dir})
	mark := func() {
		copied := t.TempDir()
		data, err := os.ReadFile(j.current.path)
		if err != nil {
			t.Fatal(err)
		}
		whole = data
		if err := os.WriteFile(segmentPath(copied, 1), data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, rec := reopen(t, Config{Dir: copied})
		ends, found = append(ends, j.current.size), append(found, rec)
	}
	mark()
	open := begin(t, j, "a")
	mark()
	other := begin(t, j, "b")
	mark()
	answer(t, j, open.Seq, "i")
	mark()
	if err := j.Drop(other.Seq); err != nil {
		t.Fatal(err)
	}
	mark()
	answer(t, j, 0, "k")
	mark()
	return whole, ends, found
}

func replayed(t *testing.T, data []byte) Recovered {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(segmentPath(dir, 1), data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, rec := reopen(t, Config{Dir: dir})
	return rec
}

func TestATailTornAnywhereLosesOnlyItsRecord(t *testing.T) {
	whole, ends, found := content(t)
	for cut := range len(whole) + 1 {
		want := Recovered{}
		for n, end := range ends {
			if end <= int64(cut) {
				want = found[n]
			}
		}
		if got := replayed(t, whole[:cut]); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d: got\n%+v\nwant\n%+v", cut, got, want)
		}
	}
}

func TestADamagedByteLosesOnlyItsRecord(t *testing.T) {
	whole, ends, found := content(t)
	last := found[len(found)-1]
	for at := range whole {
		data := append([]byte(nil), whole...)
		data[at] ^= 0x55
		got := replayed(t, data)
		inHeader, inLast := int64(at) < ends[0], int64(at) >= ends[len(ends)-2]
		switch {
		case inHeader && (len(got.Answered) != 0 || got.LastSeq != 0):
			t.Fatalf("header damaged at %d: %+v", at, got)
		case inHeader:
		case inLast && got.Damaged != 0:
			t.Fatalf("the tail at %d counts as damage: %+v", at, got)
		case !inLast && (got.Damaged != 1 || got.LastSeq != last.LastSeq):
			t.Fatalf("damaged at %d: %+v", at, got)
		}
	}
}

func TestARecordWithinATextIsNotOne(t *testing.T) {
	dir := t.TempDir()
	j, _ := reopen(t, Config{Dir: dir})
	var own salt
	forged, err := own.appendRecord(nil, record{seq: 99, kind: kindBegin, intent: intent("forged")})
	if err != nil {
		t.Fatal(err)
	}
	begin(t, j, "a"+string(forged))
	begin(t, j, "b")
	at := j.current.head + frameBytes
	if _, err := j.current.file.WriteAt([]byte{0xff}, at); err != nil { // damages the first
		t.Fatal(err)
	}
	if _, rec := reopen(t, Config{Dir: dir}); names(rec.Unfinished) != "b" || rec.Damaged != 1 {
		t.Errorf("unfinished %q, damaged %d", names(rec.Unfinished), rec.Damaged)
	}
}

func TestASegmentThatIsMissing(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxBytes: 600}
	j, _ := reopen(t, cfg)
	begin(t, j, "long")
	for range 8 {
		answer(t, j, begin(t, j, "v").Seq, "i")
	}
	all := segments(t, cfg.Dir)
	for _, s := range all[:len(all)-1] {
		if err := os.Remove(s.path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(all[0].path), nil, 0o600); err != nil { // killed before its header
		t.Fatal(err)
	}
	_, rec := reopen(t, cfg)
	if names(rec.Unfinished) != "long" || rec.LastSeq != 17 || rec.Damaged != 0 {
		t.Errorf("unfinished %q, last %d, damaged %d", names(rec.Unfinished), rec.LastSeq, rec.Damaged)
	}
}

func TestRecordsReadAsTheyWereWritten(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Just(""), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "zero") {
			return time.Time{}
		}
		return time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
	})
	rapid.Check(t, func(t *rapid.T) {
		str := func(name string) string { return text.Draw(t, name) }
		num := func(name string) int64 { return rapid.Int64().Draw(t, name) }
		r := record{
			seq: rapid.Int64Range(0, maxSequence).Draw(t, "seq"), written: moment.Draw(t, "written"),
			kind: rapid.SampledFrom([]kind{kindBegin, kindAnswer, kindDrop}).Draw(t, "kind"),
		}
		switch r.kind {
		case kindBegin:
			r.intent = Intent{
				Seq: r.seq, At: moment.Draw(t, "at"), Op: Op(str("op")), Store: backends.StoreID(str("id")), Backend: backends.Name(str("backend")), Kept: Kept(str("kept")), Deadline: moment.Draw(t, "deadline"),
				Spec: backends.VolumeSpec{
					Name: backends.VolumeName(str("name")), SizeBytes: num("size"), Token: str("token"),
					Origin: backends.Origin{
						EntryID: words.EntryID(str("entry")), ContentKey: words.Key(str("key")), ImageID: str("image"), Store: backends.Name(str("store")),
						ImageVolume: backends.ImageVolumeID(str("iv")), DirectFrom: str("direct"),
					},
				},
			}
		case kindAnswer:
			r.of = num("of")
			r.request = catalog.Request{
				Seq: r.seq, At: moment.Draw(t, "at"), Backend: backends.Name(str("backend")), ImageID: str("image"),
				Entry: catalog.EntryID(str("entry")), Outcome: words.Outcome(str("outcome")), Reason: words.Reason(str("reason")),
				Took: time.Duration(num("took")), DownloadedBytes: num("down"), SavedBytes: num("saved"), Clones: int(num("clones")),
				Volume: backends.VolumeName(str("volume")), Detail: str("detail"),
			}
		case kindDrop:
			r.of = num("of")
		}
		s := salt{1, 2, 3, 4, 5, 6, 7, 8}
		p, err := s.appendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		got, n, err := s.parseRecord(append(p, "more"...))
		if err != nil || n != len(p) || !reflect.DeepEqual(got, r) {
			t.Fatalf("%v, %d of %d bytes: got\n%+v\nwant\n%+v", err, n, len(p), got, r)
		}
	})
}

// FuzzReplay gives replay arbitrary segments: it ends, without a panic, and holds no more than it was
// given: each record takes more bytes than a frame.
func FuzzReplay(f *testing.F) {
	h := header{salt: salt{1, 2, 3, 4, 5, 6, 7, 8}, base: 7, boot: thisBoot}
	p := h.append(nil)
	f.Add(p)
	for _, r := range []record{
		{seq: 8, kind: kindBegin, intent: intent("v")},
		{seq: 9, kind: kindAnswer, of: 8, request: request("i")},
		{seq: 10, kind: kindDrop, of: 3},
	} {
		var err error
		if p, err = h.salt.appendRecord(p, r); err != nil {
			f.Fatal(err)
		}
		f.Add(p)
		f.Add(append(append([]byte(nil), p...), p...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// What follows a valid header is reached only with one, so the data is also tried behind it.
		for _, content := range [][]byte{data, append(h.append(nil), data...)} {
			p := newPast()
			var s segmentInfo
			p.replay(&s, content)
			rec := p.recovered(nextBoot)
			if n := len(rec.Answered) + len(rec.Unfinished) + rec.Damaged; n > len(content)/frameBytes+1 {
				t.Errorf("%d things in %d bytes", n, len(content))
			}
			if rec.LastSeq < 0 || rec.LastSeq > maxSequence {
				t.Errorf("last sequence %d", rec.LastSeq)
			}
		}
	})
}

// FuzzRecord gives the body's parser bytes whose checksum is right. What it takes reads the same again.
func FuzzRecord(f *testing.F) {
	for _, r := range []record{
		{seq: 8, kind: kindBegin, intent: intent("v")},
		{seq: 9, kind: kindAnswer, of: 8, request: request("i")},
		{seq: 10, kind: kindDrop, of: 3},
	} {
		f.Add(appendBody(nil, r))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseBody(body)
		if err != nil {
			return
		}
		again, err := parseBody(appendBody(nil, r))
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%v: got\n%+v\nwant\n%+v", err, again, r)
		}
	})
}
