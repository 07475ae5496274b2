package allot

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

var errFull = errors.New("no room")

// However a content is written, what is counted is the units that were touched and what was granted is
// never exceeded.
func TestCountedAreTheUnitsThatWereTouched(t *testing.T) {
	const unit, size = 4096, 64 << 20
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var granted int64
		touched, needed := map[int64]bool{}, map[int64]bool{}
		c := New(Config{UnitBytes: unit, Room: func(need, ample int64) (int64, error) {
			if granted = max(granted, need); random.IntN(2) == 0 {
				granted = max(granted, ample)
			}
			return granted, nil
		}, GiveBack: func(all []Range) {
			for _, r := range all {
				for at := r.From / unit; at*unit < r.To; at++ {
					delete(touched, at)
				}
			}
		}})
		for range 500 {
			from := random.Int64N(size)
			need := Range{from, min(size, from+random.Int64N(3*unit))}
			ample := Range{max(0, need.From-random.Int64N(2)*unit), need.To + random.Int64N(64<<10)}
			got, err := c.Take(need, ample)
			if err != nil || got.From > need.From || got.To < need.To {
				t.Fatalf("seed %d: wanted %v: got %v, %v", seed, need, got, err)
			}
			for at := got.From / unit; at*unit < got.To && got.From < got.To; at++ {
				touched[at] = true
			}
			if want := int64(len(touched)) * unit; c.Bytes() != want {
				t.Fatalf("seed %d: %v of %v: counted %d, want %d", seed, need, got, c.Bytes(), want)
			}
			if c.Bytes() > granted {
				t.Fatalf("seed %d: counted %d, and %d were granted", seed, c.Bytes(), granted)
			}
			for at := need.From / unit; at*unit < need.To; at++ {
				needed[at] = true
			}
			for at := range needed {
				if !touched[at] {
					t.Fatalf("seed %d: unit %d was given back, and is needed", seed, at)
				}
			}
		}
	}
}

func TestWhatIsRefusedIsNotCounted(t *testing.T) {
	c := New(Config{UnitBytes: 4096, Room: func(need, _ int64) (int64, error) {
		if need > 8192 {
			return 0, errFull
		}
		return need, nil
	}})
	for i, want := range []error{nil, nil, errFull, errFull} {
		r := Range{int64(i) << 20, int64(i)<<20 + 1}
		if _, err := c.Take(r, r); !errors.Is(err, want) {
			t.Errorf("take %d: got %v, want %v", i, err, want)
		}
	}
	again := Range{0, 4096}
	if _, err := c.Take(again, again); err != nil || c.Bytes() != 8192 {
		t.Errorf("what was counted before: %v, %d bytes", err, c.Bytes())
	}
}

func TestExtentsAreNotedInUnits(t *testing.T) {
	c := New(Config{UnitBytes: 4096, ExtentBytes: 64})
	for i := range int64(65) {
		r := Range{i << 20, i<<20 + 1}
		_, _ = c.Take(r, r)
	}
	if want := int64(65+2) * 4096; c.Bytes() != want {
		t.Errorf("65 blocks apart: counted %d, want %d", c.Bytes(), want)
	}
	next := Range{4096, 8192}
	if _, _ = c.Take(next, next); c.Bytes() != (65+2+1)*4096 {
		t.Errorf("a neighbour: counted %d", c.Bytes())
	}
}

func TestManyTakeAtOnce(t *testing.T) {
	c := New(Config{UnitBytes: 4096})
	var all sync.WaitGroup
	for i := range int64(8) {
		all.Go(func() {
			for j := range int64(1000) {
				r := Range{(j*8 + i) * 4096, (j*8 + i + 1) * 4096}
				_, _ = c.Take(r, r)
			}
		})
	}
	all.Wait()
	if c.Bytes() != 8000*4096 {
		t.Errorf("counted %d, want %d", c.Bytes(), 8000*4096)
	}
}
