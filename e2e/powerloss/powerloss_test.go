package powerloss_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/e2e/powerloss"
)

// cutsPerDisk is how many moments are tried of each kind of disk, unless POWERLOSS=all.
const cutsPerDisk = 40

// Whenever the power fails, what was answered is there after it, whole; what was not is there whole or not
// at all; and everything goes on as if nothing had happened. POWERLOSS=all tries each moment between two
// flushes, in four ways (go test -timeout 60m).
func TestPowerLossAtAnyMoment(t *testing.T) {
	for kind, size := range disks {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			images := newLibrary(t)
			r := recordWork(t, powerloss.Record(t, kind, size), images)
			cuts := sample(r)
			t.Logf("%d spans between flushes, %d cuts", r.Spans(), len(cuts))
			replay := r.Replay(t)
			for _, c := range cuts {
				if err := images.cut(t, r, replay, c); err != nil {
					t.Errorf("%s:\n%v", c, err)
				}
			}
		})
	}
}

// cut boots one cut and verifies it.
func (l *library) cut(t *testing.T, r *powerloss.Recording, replay *powerloss.Replay, c powerloss.Cut) error {
	t.Helper()
	want, err := promised(r.Marks(c))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := replay.Boot(c)
	if err != nil {
		return err
	}
	err = l.verify(t.Context(), dir, want)
	if err := replay.Halt(); err != nil {
		t.Fatal(err)
	}
	return err
}

// sample chooses cuts all over a recording: half of them the harshest after an answer, half of them any.
func sample(r *powerloss.Recording) []powerloss.Cut {
	var all, marked []int
	for n := range r.Spans() {
		all = append(all, n)
		if r.Marked(n) {
			marked = append(marked, n)
		}
	}
	var cuts []powerloss.Cut
	if os.Getenv("POWERLOSS") == "all" {
		for _, n := range all {
			cuts = append(cuts, r.Harshest(n), r.Random(n, 1), r.Random(n, 2), r.Random(n, 3))
		}
		return cuts
	}
	random := rand.New(rand.NewPCG(7, 7))
	harsh, any := choose(random, marked, cutsPerDisk/2), choose(random, all, cutsPerDisk/2)
	for _, n := range all {
		if slices.Contains(harsh, n) {
			cuts = append(cuts, r.Harshest(n))
		}
		if slices.Contains(any, n) {
			cuts = append(cuts, r.Random(n, uint64(n)))
		}
	}
	return cuts
}

func choose(random *rand.Rand, from []int, n int) []int {
	from = slices.Clone(from)
	random.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:min(n, len(from))]
}

// A disk that does not flush is found out, as a product would be that does not sync: or else the test
// above proves nothing.
func TestADeafDiskIsFoundOut(t *testing.T) {
	for kind, size := range disks {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			images := newLibrary(t)
			whole := recordWork(t, powerloss.Record(t, kind, size), images)
			deaf := whole.Deaf(whole.Spans() / 2)
			replay := deaf.Replay(t)
			err := images.cut(t, deaf, replay, deaf.Harshest(deaf.Spans()-1))
			if !errors.Is(err, errLost) {
				t.Errorf("got %v, want lost volumes", err)
			}
		})
	}
}
