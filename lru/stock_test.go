package lru

import (
	"errors"
	"iter"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// plan is Plan for entries that are at hand.
func plan(now time.Time, need Need, l Load, b Bounds) ([]Victim, error) {
	return Plan(now, need, l.Stock(), b)
}

func TestAPlanIsTheOneThatLooksAtEveryEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b := drawLoad(t), drawBounds(t)
		need := Need{Bytes: rapid.Int64Range(0, 100).Draw(t, "need"), Count: 1}
		got, err := Plan(now, need, l.Stock(), b)
		want, wantErr := fullPlan(now, need, l, b)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(err, wantErr) {
			t.Fatalf("got %v, %v; want %v, %v", got, err, want, wantErr)
		}
	})
}

// asked counts what a plan asks of a stock.
type asked struct{ young, entries int }

func (a *asked) of(s Stock) Stock {
	young, line := s.Young, s.Line
	s.Young = func(after, until time.Time) (Young, error) {
		a.young++
		return young(after, until)
	}
	s.Line = func(c Class) iter.Seq2[Entry, error] {
		return func(yield func(Entry, error) bool) {
			for e, err := range line(c) {
				a.entries++
				if !yield(e, err) {
					return
				}
			}
		}
	}
	return s
}

func TestAPlanAsksForWhatItTakes(t *testing.T) {
	var entries []Entry
	for i := range 1000 {
		e := entry(string(rune('a'+i%26))+string(rune('0'+i/26)), i, hits(int64(i%4)))
		e.Pinned = i%100 == 50
		entries = append(entries, e)
	}
	for _, test := range []struct {
		name string
		need Need
		b    Bounds
		want asked
		err  error
	}{
		{"it fits", one(10), Bounds{MaxCount: 1001, MinAge: time.Hour}, asked{}, nil},
		{"one goes", one(10), Bounds{MaxCount: 1000}, asked{entries: 1}, nil},
		{"one goes, none is young", one(10), Bounds{MaxCount: 1000, MinAge: time.Minute}, asked{young: 1, entries: 1}, nil},
		{"seven go", one(10), Bounds{MaxCount: 994}, asked{entries: 7}, nil},
		{"some without hits go", one(10), Bounds{MaxBytes: 9900, MinHits: 1}, asked{entries: 11}, nil},
		{"too large", one(100), Bounds{MaxBytes: 99}, asked{}, ErrTooLarge},
		{"no room beside those that are pinned", one(10), Bounds{MaxCount: 10}, asked{}, ErrNoRoom},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got asked
			_, err := Plan(at(2000), test.need, got.of(load(entries...).Stock()), test.b)
			if !errors.Is(err, test.err) || got != test.want {
				t.Errorf("asked %+v, %v, want %+v, %v", got, err, test.want, test.err)
			}
		})
	}
}

func TestAStocksErrorsArePlans(t *testing.T) {
	broken := errors.New("broken")
	fails := func(yield func(Entry, error) bool) { yield(Entry{}, broken) }
	for _, test := range []struct {
		name string
		s    Stock
		want error
	}{
		{"of a line", Stock{Line: func(Class) iter.Seq2[Entry, error] { return fails }}, broken},
		{"of the young", Stock{Young: func(time.Time, time.Time) (Young, error) { return Young{}, broken }}, broken},
		{"fewer than they add up to", Stock{Line: func(Class) iter.Seq2[Entry, error] { return func(func(Entry, error) bool) {} }}, errMiscounted},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.s.Sums.Idle = Group{Count: 5, Bytes: 50}
			b := Bounds{MaxCount: 5}
			if test.s.Young != nil {
				b.MinAge = time.Hour
			}
			if got, err := Plan(now, one(1), test.s, b); !errors.Is(err, test.want) || got != nil {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}
