package powerloss_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/e2e/powerloss"
)

// lossesPerDisk is how often the state directory loses something on each kind of disk, unless POWERLOSS=all.
const lossesPerDisk = 2

// When the power has failed and the state directory is restored from an older copy, whole or in part, or the end of its
// journal is damaged, then too each volume that was answered is there, with what its owner wrote.
func TestPowerLossWithAnOlderStateDirectory(t *testing.T) {
	for kind, size := range disks {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			images := newLibrary(t)
			r := recordWork(t, powerloss.Record(t, kind, size), images)
			older := &copies{dir: t.TempDir(), made: map[int]string{}}
			replay := r.Replay(t)
			for _, m := range moments(r) {
				if err := m.boot(t, images, r, replay, older); err != nil {
					t.Errorf("%s:\n%v", m, err)
				}
			}
		})
	}
}

// moment is one at which the state directory is copied, or one at which the power fails and the copy that was made
// then comes back.
type moment struct {
	cut  powerloss.Cut
	span int
	pair int
	loss *harness.StateLoss // nil: it is copied
}

func (m moment) String() string { return fmt.Sprintf("pair %d, %s, %s", m.pair, m.loss.Name, m.cut) }

// copies are state directories as they were at moments, by pair.
type copies struct {
	dir  string
	made map[int]string
}

// moments chooses pairs of them, in the order in which a replay boots them. The older of a pair is not before the first request: a
// state directory from before the daemon had said what is its own is another installation's, and is refused as that.
func moments(r *powerloss.Recording) []moment {
	each := lossesPerDisk
	if os.Getenv("POWERLOSS") == "all" {
		each = 40
	}
	random := rand.New(rand.NewPCG(11, 3))
	first := firstAsked(r)
	var all []moment
	for range each {
		for i := range harness.StateLosses {
			least := max(r.Spans()/4, first+1)
			newer := least + random.IntN(r.Spans()-least)
			older := max(r.Spans()/8, first, newer-1-random.IntN(newer))
			pair := len(all) / 2
			all = append(all,
				moment{cut: r.Harshest(older), span: older, pair: pair},
				moment{cut: r.Random(newer, uint64(newer)), span: newer, pair: pair, loss: &harness.StateLosses[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.span, b.span) })
	return all
}

// firstAsked is the span in which something was asked for first.
func firstAsked(r *powerloss.Recording) int {
	for n := range r.Spans() {
		if len(r.Marks(r.Harshest(n))) > 0 {
			return n
		}
	}
	return 0
}

// boot boots the moment, and copies the state directory, or changes it and verifies what is there.
func (m moment) boot(t *testing.T, l *library, r *powerloss.Recording, replay *powerloss.Replay, older *copies) error {
	t.Helper()
	want, err := promised(r.Marks(m.cut))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := replay.Boot(m.cut)
	if err != nil {
		return err
	}
	if m.loss == nil {
		older.made[m.pair] = filepath.Join(older.dir, fmt.Sprint(m.pair))
		err = harness.CopyState(older.made[m.pair], filepath.Join(dir, stateDir))
	} else {
		if m.loss.Catalog {
			want.olderCatalog()
		}
		err = m.loss.Do(filepath.Join(dir, stateDir), older.made[m.pair], rand.New(rand.NewPCG(uint64(m.pair), 5)))
		err = errors.Join(err, l.verify(t.Context(), dir, want))
	}
	if err := replay.Halt(); err != nil {
		t.Fatal(err)
	}
	return err
}
