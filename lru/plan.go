package lru

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"time"
)

// Plan returns the entries that must go, in this order, so that need fits into the stock within b: none where it fits
// already. With an error no entry goes; the error is a *Shortage that matches ErrTooLarge or ErrNoRoom, or one of the
// stock's. The cost grows with the victims, not with the stock: the sums say whether it can be done at all, and lines are
// read up to the last victim, past entries that are young.
func Plan(now time.Time, need Need, s Stock, b Bounds) ([]Victim, error) {
	t := newTally(need, &s.Sums, b)
	if short := t.tooLarge(need); short != nil {
		return nil, short
	}
	if t.fits() {
		return nil, nil
	}
	young, err := s.young(now, b)
	if err != nil {
		return nil, err
	}
	if short := t.shortage(need, &s.Sums, young); short != nil {
		return nil, short
	}
	taken, err := take(&t, s.candidates(now, b))
	switch {
	case err != nil:
		return nil, err
	case !t.fits():
		return nil, errMiscounted
	}
	return t.victims(taken), nil
}

var errMiscounted = errors.New("there are fewer entries than they add up to")

// Overflow returns the entries that must go, in this order, so that the load fits b after bounds were lowered. Where all
// entries that may go are not enough, it returns all that help.
func Overflow(now time.Time, load Load, b Bounds) []Victim {
	s := load.Stock()
	t := newTally(Need{}, &s.Sums, b)
	if t.fits() {
		return nil
	}
	taken, _ := take(&t, s.candidates(now, b)) // lines of entries at hand have no errors
	return t.victims(taken)
}

// Aged returns the entries that nobody used for longer than maxAge, the longest unused first. Entries
// with live clones stay (detaching them would free nothing), as do pinned, filling and evicting ones.
// maxAge 0 is no limit.
func Aged(now time.Time, load Load, maxAge time.Duration) []string {
	if maxAge <= 0 {
		return nil
	}
	var aged []*Entry
	for i := range load.Entries {
		e := &load.Entries[i]
		if e.free() && e.Clones == 0 && now.Sub(e.used()) > maxAge {
			aged = append(aged, e)
		}
	}
	slices.SortFunc(aged, byUse)
	ids := make([]string, len(aged))
	for i, e := range aged {
		ids[i] = e.ID
	}
	return ids
}

// byUse orders entries by last use, then by creation, then by ID.
func byUse(a, b *Entry) int {
	return cmp.Or(a.used().Compare(b.used()), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// young asks which of the stock are too new to go, where that matters.
func (s Stock) young(now time.Time, b Bounds) (Young, error) {
	if b.MinAge <= 0 {
		return Young{}, nil
	}
	return s.Young(now.Add(-b.MinAge), now)
}

// candidates are the entries that may go, in order.
func (s Stock) candidates(now time.Time, b Bounds) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for _, c := range classes(b) {
			for e, err := range s.Line(c) {
				if err == nil && young(now, &e, b) {
					continue
				}
				if !yield(&e, err) || err != nil {
					return
				}
			}
		}
	}
}

// classes are those whose entries b lets go, in order.
func classes(b Bounds) []Class {
	ranks := []Class{{}}
	if b.MinHits > 0 {
		ranks = []Class{{BelowHits: b.MinHits}, {MinHits: b.MinHits}}
	}
	ranks = append([]Class{{Superseded: true}}, ranks...)
	var all []Class
	for _, c := range ranks {
		c.Use = Idle
		all = append(all, c)
		if !b.KeepInUse {
			c.Use = InUse
			all = append(all, c)
		}
	}
	return all
}

// take removes candidates from t until everything fits or there are no more.
func take(t *tally, candidates iter.Seq2[*Entry, error]) ([]*Entry, error) {
	var taken []*Entry
	for e, err := range candidates {
		if err != nil {
			return nil, err
		}
		t.remove(e)
		taken = append(taken, e)
		if t.fits() {
			break
		}
	}
	return taken, nil
}

// free tells whether nothing but its age and its clones can keep e.
func (e *Entry) free() bool { return !e.Pinned && !e.Filling && !e.Evicting }

// young tells whether e is too new to go. One that was created in the future was created before the
// clock stepped back, nobody knows how long ago: it is not young, else it would stay until then.
func young(now time.Time, e *Entry, b Bounds) bool {
	age := now.Sub(e.Created)
	return age >= 0 && age < b.MinAge
}
