package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

const (
	thisBoot = "11111111-1111-4111-8111-111111111111"
	nextBoot = "22222222-2222-4222-8222-222222222222"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// reopen opens a journal without closing the one before, as after kill -9.
func reopen(t testing.TB, cfg Config) (*Journal, Recovered) {
	t.Helper()
	if cfg.BootID == "" {
		cfg.BootID = thisBoot
	}
	j, rec, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		j.Close()
		if j.witness != nil { // an open intent keeps it
			os.Remove(j.witness.path)
		}
	})
	return j, rec
}

func intent(name string) Intent {
	return Intent{
		At: time.Date(2026, 3, 1, 11, 59, 59, 7, time.UTC), Op: Clone, Backend: "local",
		Deadline: time.Date(2026, 3, 1, 12, 5, 0, 0, time.UTC),
		Spec: backends.VolumeSpec{
			Name: backends.VolumeName(name), SizeBytes: 10 << 30, Token: "token of " + name,
			Origin: backends.Origin{
				EntryID: "0199-entry", ContentKey: "sha256:abc/qcow2", ImageID: "library:debian-12.qcow2",
				Store: "local", ImageVolume: "0199-entry-1", DirectFrom: "rbd://pool/image@snap",
			},
		},
	}
}

func request(image string) catalog.Request {
	return catalog.Request{
		At: time.Date(2026, 3, 1, 12, 0, 0, 9, time.UTC), Backend: "local", ImageID: image, Entry: "0199-entry",
		Outcome: "hit", Reason: "ready", Took: 1234567 * time.Nanosecond, DownloadedBytes: 1, SavedBytes: 2 << 30, Clones: 1,
	}
}

func begin(t testing.TB, j *Journal, name string) Intent {
	t.Helper()
	i := intent(name)
	var err error
	if i.Seq, err = j.Begin(i); err != nil {
		t.Fatal(err)
	}
	return i
}

func answer(t testing.TB, j *Journal, of int64, image string) catalog.Request {
	t.Helper()
	r, err := j.Answer(of, request(image))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func names(intents []Intent) string {
	var all []string
	for _, i := range intents {
		all = append(all, string(i.Spec.Name))
	}
	return strings.Join(all, " ")
}

func images(requests []catalog.Request) string {
	var all []string
	for _, r := range requests {
		all = append(all, fmt.Sprintf("%s:%d", r.ImageID, r.Seq))
	}
	return strings.Join(all, " ")
}

func TestWhatWasBegunIsRecoveredWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	j, rec := reopen(t, Config{Dir: dir})
	if !reflect.DeepEqual(rec, Recovered{}) {
		t.Errorf("a new journal recovered %+v", rec)
	}
	open := begin(t, j, "open")
	answered := answer(t, j, begin(t, j, "answered").Seq, "a")
	if err := j.Drop(begin(t, j, "dropped").Seq); err != nil {
		t.Fatal(err)
	}
	alone := answer(t, j, 0, "b")
	want := Recovered{
		Unfinished: []Intent{open},
		Answered:   []catalog.Request{answered, alone},
		LastSeq:    alone.Seq,
	}
	if _, rec = reopen(t, Config{Dir: dir}); !reflect.DeepEqual(rec, want) {
		t.Errorf("got\n%+v\nwant\n%+v", rec, want)
	}
}

func TestUnfinishedIntentsOutliveSeveralCrashes(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	j, _ := reopen(t, cfg)
	first := begin(t, j, "first")
	for range 3 {
		var rec Recovered
		if j, rec = reopen(t, cfg); names(rec.Unfinished) != "first" || rec.Unfinished[0].Seq != first.Seq {
			t.Fatalf("unfinished: %+v", rec.Unfinished)
		}
	}
	if err := j.Drop(first.Seq); err != nil {
		t.Fatal(err)
	}
	if _, rec := reopen(t, cfg); len(rec.Unfinished) != 0 {
		t.Errorf("still unfinished: %+v", rec.Unfinished)
	}
}

func TestSequenceNumbersNeverGoBack(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxBytes: 5000}
	var last int64
	for range 5 {
		j, rec := reopen(t, cfg)
		if rec.LastSeq < last {
			t.Fatalf("LastSeq %d after %d", rec.LastSeq, last)
		}
		for range 7 {
			for _, seq := range []int64{begin(t, j, "v").Seq, answer(t, j, 0, "i").Seq} {
				if seq <= last {
					t.Fatalf("%d after %d", seq, last)
				}
				last = seq
			}
		}
	}
	j, _ := reopen(t, cfg)
	j.SetFloor(last + 1000)
	j.SetFloor(3)
	if got := begin(t, j, "v").Seq; got != last+1001 {
		t.Errorf("above the floor: %d, want %d", got, last+1001)
	}
}

func TestTakeGivesEachRequestOnce(t *testing.T) {
	j, _ := reopen(t, Config{Dir: t.TempDir()})
	if got, upTo := j.Take(); len(got) != 0 || upTo != 0 {
		t.Errorf("a new journal: %v up to %d", got, upTo)
	}
	i := begin(t, j, "v")
	a := answer(t, j, 0, "a")
	got, upTo := j.Take()
	if images(got) != images([]catalog.Request{a}) || upTo != a.Seq {
		t.Errorf("got %v up to %d", images(got), upTo)
	}
	b := answer(t, j, i.Seq, "b")
	if b.Seq <= upTo {
		t.Errorf("answered later with %d, not above %d", b.Seq, upTo)
	}
	if got, _ := j.Take(); images(got) != images([]catalog.Request{b}) {
		t.Errorf("got %v", images(got))
	}
}

func TestAReboot(t *testing.T) {
	at := newClock()
	cfg := Config{Dir: t.TempDir(), Now: at.now}
	j, _ := reopen(t, cfg)
	answer(t, j, begin(t, j, "old").Seq, "a")
	at.add(recent + time.Second)
	answer(t, j, begin(t, j, "recent").Seq, "b")
	if err := j.Drop(begin(t, j, "dropped").Seq); err != nil {
		t.Fatal(err)
	}
	at.add(recent)
	begin(t, j, "open")
	if _, rec := reopen(t, cfg); len(rec.Recent) != 0 {
		t.Errorf("recent without a reboot: %v", names(rec.Recent))
	}
	at.add(time.Hour)
	cfg.BootID = nextBoot
	for range 2 { // the second after a crash of the one that was told first
		_, rec := reopen(t, cfg)
		if names(rec.Recent) != "recent" || names(rec.Unfinished) != "open" {
			t.Errorf("recent %q, unfinished %q", names(rec.Recent), names(rec.Unfinished))
		}
	}
}

func TestABeginThatCannotBeWritten(t *testing.T) {
	j, _ := reopen(t, Config{Dir: t.TempDir()})
	begin(t, j, "before")
	long := intent(strings.Repeat("x", maxBody))
	if _, err := j.Begin(long); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	file := j.current.file
	readOnly, err := os.Open(j.current.path)
	if err != nil {
		t.Fatal(err)
	}
	j.current.file = readOnly // every write fails
	if _, err := j.Begin(intent("lost")); err == nil {
		t.Error("begun without a write")
	}
	r, err := j.Answer(1, request("a"))
	if err == nil || r.Seq == 0 {
		t.Errorf("answer %d: %v", r.Seq, err)
	}
	j.current.file = file
	readOnly.Close()
	after := begin(t, j, "after")
	if after.Seq <= r.Seq {
		t.Errorf("sequence %d after %d", after.Seq, r.Seq)
	}
	if taken, _ := j.Take(); images(taken) != images([]catalog.Request{r}) {
		t.Errorf("taken %s", images(taken))
	}
	if _, rec := reopen(t, Config{Dir: j.cfg.Dir}); names(rec.Unfinished) != "before after" || rec.Damaged != 0 {
		t.Errorf("unfinished %q, damaged %d", names(rec.Unfinished), rec.Damaged)
	}
}

func TestClosed(t *testing.T) {
	j, _ := reopen(t, Config{Dir: t.TempDir()})
	i := begin(t, j, "v")
	for range 2 {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := j.Begin(intent("w")); !errors.Is(err, ErrClosed) {
		t.Errorf("begin: %v", err)
	}
	if _, err := j.Answer(0, request("i")); !errors.Is(err, ErrClosed) {
		t.Errorf("answer: %v", err)
	}
	if err := j.Drop(i.Seq); !errors.Is(err, ErrClosed) {
		t.Errorf("drop: %v", err)
	}
	if err := j.Applied(9); err != nil {
		t.Errorf("applied: %v", err)
	}
}

func TestOpenRefusesABadConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"no directory":  {},
		"negative size": {Dir: t.TempDir(), MaxBytes: -1},
		"a file":        {Dir: file},
	} {
		if _, _, err := Open(cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestOpenLeavesOtherFilesAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"notes", "x.journal", "-1.journal", "000000000000.journal"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "000000000001.journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(Config{Dir: dir, BootID: thisBoot}); err == nil {
		t.Error("a directory in the place of a segment was passed over")
	}
	if err := os.Remove(filepath.Join(dir, "000000000001.journal")); err != nil {
		t.Fatal(err)
	}
	if _, rec := reopen(t, Config{Dir: dir}); rec.Damaged != 0 {
		t.Errorf("damaged: %d", rec.Damaged)
	}
	content, err := os.ReadFile(filepath.Join(dir, "notes"))
	if err != nil || !bytes.Equal(content, []byte("x")) {
		t.Errorf("%q, %v", content, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	at := newClock()
	cfg := Config{Dir: t.TempDir(), MaxBytes: 100_000, Now: at.now}
	j, _ := reopen(t, cfg)
	at.add(time.Hour)
	const workers, each = 16, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := range each {
				i := begin(t, j, fmt.Sprintf("v%d-%d", w, n))
				if n%5 == 0 {
					continue // left open
				}
				answer(t, j, i.Seq, "i")
			}
		})
	}
	seen := make(map[int64]bool)
	take := func() {
		requests, upTo := j.Take()
		for _, r := range requests {
			if seen[r.Seq] || r.Seq > upTo {
				t.Errorf("seq %d twice, or above %d", r.Seq, upTo)
			}
			seen[r.Seq] = true
		}
		if err := j.Applied(upTo); err != nil {
			t.Error(err)
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			at.add(time.Second)
		}
		take()
	}
	if len(seen) != workers*each*4/5 {
		t.Errorf("%d taken", len(seen))
	}
	if _, rec := reopen(t, cfg); len(rec.Unfinished) != workers*each/5 || rec.Damaged != 0 {
		t.Errorf("%d unfinished, %d damaged", len(rec.Unfinished), rec.Damaged)
	}
}

func BenchmarkBeginAnswer(b *testing.B) {
	j, _ := reopen(b, Config{Dir: b.TempDir(), MaxBytes: 1 << 40})
	i, r := intent("volume-0199"), request("library:debian-12.qcow2")
	b.ReportAllocs()
	for b.Loop() {
		seq, err := j.Begin(i)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := j.Answer(seq, r); err != nil {
			b.Fatal(err)
		}
		if len(j.pending.requests) == 1000 {
			j.Take()
		}
	}
}
