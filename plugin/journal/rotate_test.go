package journal

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

func segments(t *testing.T, dir string) []segmentInfo {
	t.Helper()
	all, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRotationKeepsWhatIsUnfinished(t *testing.T) {
	at := newClock()
	cfg := Config{Dir: t.TempDir(), MaxBytes: 2000, Now: at.now}
	j, _ := reopen(t, cfg)
	long := begin(t, j, "long")
	var want []catalog.Request
	for n := range 40 {
		want = append(want, answer(t, j, begin(t, j, fmt.Sprint("v", n)).Seq, fmt.Sprint("i", n)))
	}
	before := len(segments(t, cfg.Dir))
	if before < 4 {
		t.Fatalf("only %d segments", before)
	}
	_, rec := reopen(t, cfg)
	if names(rec.Unfinished) != "long" || !reflect.DeepEqual(rec.Answered, want) {
		t.Errorf("unfinished %q, %d answered", names(rec.Unfinished), len(rec.Answered))
	}

	at.add(2 * recent)
	j, _ = reopen(t, cfg)
	if err := j.Applied(rec.LastSeq); err != nil {
		t.Fatal(err)
	}
	if got := len(segments(t, cfg.Dir)); got <= before {
		t.Errorf("%d segments: some were removed within a minute of opening", got)
	}
	at.add(recent)
	if err := j.Applied(want[20].Seq); err != nil {
		t.Fatal(err)
	}
	if _, rec = reopen(t, cfg); names(rec.Unfinished) != "long" || len(rec.Answered) == len(want) ||
		!strings.HasSuffix(images(want), images(rec.Answered)) || len(rec.Answered) < 19 {
		t.Errorf("after applying half: unfinished %q, answered %s", names(rec.Unfinished), images(rec.Answered))
	}
	if err := j.Applied(rec.LastSeq); err != nil {
		t.Fatal(err)
	}
	j, rec = reopen(t, cfg)
	if names(rec.Unfinished) != "long" || rec.Unfinished[0] != long || len(rec.Answered) != 0 {
		t.Errorf("after applying all: unfinished %+v, answered %s", rec.Unfinished, images(rec.Answered))
	}
	if got := begin(t, j, "next").Seq; got <= rec.LastSeq || rec.LastSeq < want[39].Seq {
		t.Errorf("sequence %d after %d and %d", got, rec.LastSeq, want[39].Seq)
	}
}

func TestTheLastMinuteIsKept(t *testing.T) {
	at := newClock()
	cfg := Config{Dir: t.TempDir(), MaxBytes: 500, Now: at.now}
	j, _ := reopen(t, cfg)
	at.add(time.Hour)
	for n := range 10 {
		answer(t, j, begin(t, j, fmt.Sprint("v", n)).Seq, "i")
	}
	_, upTo := j.Take()
	if err := j.Applied(upTo); err != nil {
		t.Fatal(err)
	}
	if _, rec := reopen(t, Config{Dir: cfg.Dir, BootID: nextBoot}); len(rec.Recent) != 10 {
		t.Errorf("recent: %s", names(rec.Recent))
	}
}

func TestTheJournalIsBounded(t *testing.T) {
	at := newClock()
	cfg := Config{Dir: t.TempDir(), MaxBytes: 1000, Now: at.now}
	j, _ := reopen(t, cfg)
	var open []int64
	for {
		seq, err := j.Begin(intent("v"))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if open = append(open, seq); len(open) > 3 { // a few at a time
			answer(t, j, open[0], "i")
			open = open[1:]
		}
	}
	var total int64
	for _, s := range segments(t, cfg.Dir) {
		info, err := os.Stat(s.path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total < maxSegments*cfg.MaxBytes || total > (maxSegments+2)*cfg.MaxBytes {
		t.Errorf("%d bytes", total)
	}
	for _, seq := range open { // what was begun can be ended
		answer(t, j, seq, "i")
	}
	at.add(2 * recent)
	_, upTo := j.Take()
	if err := j.Applied(upTo); err != nil {
		t.Fatal(err)
	}
	begin(t, j, "again")
}

func TestAJournalHalfFullDoesNotWaitAMinute(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxBytes: 1000, Now: newClock().now}
	j, _ := reopen(t, cfg)
	for range 200 {
		answer(t, j, begin(t, j, "v").Seq, "i")
		_, upTo := j.Take()
		if err := j.Applied(upTo); err != nil {
			t.Fatal(err)
		}
	}
	var total int64
	for _, s := range segments(t, cfg.Dir) {
		info, err := os.Stat(s.path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if limit := j.bound()/2 + 3*cfg.MaxBytes; total > limit || total < j.bound()/2-3*cfg.MaxBytes {
		t.Errorf("%d bytes of %d are kept", total, limit)
	}
}
