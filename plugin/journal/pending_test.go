package journal

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// While the catalog takes nothing, what waits for it stays bounded, and its sums stay right.
func TestPendingIsBounded(t *testing.T) {
	const most, rounds = 100, 5000
	for name, images := range map[string]int{"few images": 7, "more images than fit": rounds} {
		t.Run(name, func(t *testing.T) {
			j, _ := reopen(t, Config{Dir: t.TempDir()})
			j.pending.max = most
			begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			for n := range rounds {
				r := catalog.Request{
					At: begun.Add(time.Duration(n) * time.Second), Backend: "local", ImageID: fmt.Sprint(n % images), Entry: catalog.EntryID(fmt.Sprint("e", n%images)),
					Outcome: "hit", Reason: "ready", Took: time.Millisecond, SavedBytes: 10, Clones: 1,
				}
				if n%10 == 0 {
					r.DownloadedBytes, r.Took = 3, time.Second
				}
				if _, err := j.Answer(0, r); err != nil {
					t.Fatal(err)
				}
				if n%17 == 0 { // the catalog refuses them
					taken, _ := j.Take()
					j.PutBack(taken)
				}
				if got := len(j.pending.requests); got > most {
					t.Fatalf("%d requests wait after %d, want at most %d", got, n+1, most)
				}
			}
			checkSums(t, j, rounds, begun.Add((rounds-1)*time.Second))
		})
	}
}

// checkSums takes all that waits, which is so many requests, of which each tenth downloaded.
func checkSums(t *testing.T, j *Journal, requests int64, last time.Time) {
	t.Helper()
	got, upTo := j.Take()
	if upTo != requests {
		t.Errorf("up to %d, want %d", upTo, requests)
	}
	var all catalog.Request
	var downloads, seq int64
	for _, r := range got {
		if r.Seq <= seq || r.Seq > upTo {
			t.Errorf("sequence %d after %d, up to %d", r.Seq, seq, upTo)
		}
		seq = r.Seq
		r.Times = max(r.Times, 1)
		if r.DownloadedBytes > 0 {
			downloads += r.Times
		}
		all = sum(all, r)
	}
	want := catalog.Request{
		Times: requests, Seq: requests, At: last, Took: time.Duration(requests/10) * (9*time.Millisecond + time.Second),
		SavedBytes: 10 * requests, DownloadedBytes: 3 * requests / 10, Clones: int(requests),
	}
	var spread catalog.Spread
	spread[catalog.BucketOf(time.Millisecond)], spread[catalog.BucketOf(time.Second)] = requests/10*9, requests/10
	if got := catalog.SpreadOf(got...); *got != spread {
		t.Errorf("times: got\n%v\nwant\n%v", *got, spread)
	}
	all.Spread = nil
	if all != want || downloads != requests/10 {
		t.Errorf("got %+v, %d downloads\nwant %+v, %d", all, downloads, want, requests/10)
	}
}

// A full journal writes what ends an intent, and nothing else: it does not grow with requests that it
// refuses.
func TestAFullJournalDoesNotGrow(t *testing.T) {
	j, _ := reopen(t, Config{Dir: t.TempDir(), MaxBytes: 1000})
	open := begin(t, j, "open")
	for j.total() < j.bound() {
		answer(t, j, begin(t, j, "v").Seq, "i")
	}
	before := j.total()
	for range 1000 {
		if _, err := j.Answer(0, request("bypassed")); !errors.Is(err, ErrFull) {
			t.Fatalf("answer in a full journal: %v, want %v", err, ErrFull)
		}
	}
	if got := j.total(); got != before {
		t.Errorf("the journal grew from %d to %d bytes", before, got)
	}
	if _, err := j.Answer(open.Seq, request("i")); err != nil {
		t.Errorf("an open intent cannot be ended: %v", err)
	}
}
