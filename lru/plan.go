package lru

import (
	"cmp"
	"slices"
	"time"
)

// Plan returns who must go, in this order, so that need fits into load within b; nobody where it fits
// already. On an error nobody goes: it is a *Shortage that matches ErrTooLarge or ErrNoRoom. It takes
// time in proportion to the entries, and for each victim to their logarithm.
func Plan(now time.Time, need Need, load Load, b Bounds) ([]Victim, error) {
	t := newTally(need, load, b)
	if s := t.tooLarge(need); s != nil {
		return nil, s
	}
	if t.fits() {
		return nil, nil
	}
	taken := take(&t, newQueue(now, load.Entries, b))
	if over, ok := t.broken(); ok {
		return nil, t.shortage(now, need, load, over)
	}
	return t.victims(taken), nil
}

// Overflow returns who must go, in this order, so that what is held now fits b, for bounds that were
// lowered. Where all that may go is not enough, it is all that helps.
func Overflow(now time.Time, load Load, b Bounds) []Victim {
	t := newTally(Need{}, load, b)
	if t.fits() {
		return nil
	}
	taken := take(&t, newQueue(now, load.Entries, b))
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
		if !e.Pinned && !e.Filling && !e.Evicting && e.Clones == 0 && now.Sub(e.used()) > maxAge {
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

// take removes entries from t in q's order until everything fits or q is empty.
func take(t *tally, q queue) []*Entry {
	var taken []*Entry
	for !t.fits() {
		e, ok := q.pop()
		if !ok {
			break
		}
		t.remove(e)
		taken = append(taken, e)
	}
	return taken
}

// mayGo tells whether bounds allow e to be a victim.
func mayGo(now time.Time, e *Entry, b Bounds) bool {
	return !e.Pinned && !e.Filling && !e.Evicting && !young(now, e, b) && (e.Clones == 0 || !b.KeepInUse)
}

// young tells whether e is too new to go. One that was created in the future was created before the
// clock stepped back, nobody knows how long ago: it is not young, else it would stay until then.
func young(now time.Time, e *Entry, b Bounds) bool {
	age := now.Sub(e.Created)
	return age >= 0 && age < b.MinAge
}
