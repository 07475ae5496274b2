// Package lru decides which entries of a store go so that a newcomer fits its bounds. It is pure: no
// I/O, no clock, no state, and the same arguments always give the same answer. It imports nothing of
// clonecache. A store may have very many entries: what it holds is told as a Stock, of which Plan asks
// no more than it needs.
//
// # Who may go
//
// Never: entries that are pinned, filling, already evicting, or younger than Bounds.MinAge; and, with
// Bounds.KeepInUse, entries with live clones. Of the rest, superseded entries go first: nobody will ask for
// what they hold. Within these and the others, entries without clones go first, then those
// with clones (they are detached: no clone is harmed); within each of these, the least recently used
// goes first. An entry that was never used counts as used when it was created, so that a new entry is
// the last in its line and not the first. Ties are broken by creation, then by ID.
//
// # The fewest, oldest
//
// Entries are taken in that order until everything fits. Then, from the newest of them to the oldest,
// those that turn out not to be needed are left out. So each victim of a plan is needed: without it a
// bound would be broken.
//
// # What counts
//
// A filling entry counts with what it has reserved. An evicting entry counts nothing: it is on its way
// out. The caller therefore decides about room one at a time per store, and lets the evictions that
// were decided before end before it writes the newcomer; else more could be held than the bounds say.
// Space that is held by detached image-volumes counts in the percent bound alone. It follows that an
// entry with live clones frees nothing under the percent bound, since its bytes only become detached;
// only entries without clones are evicted for that bound.
//
// # Hits
//
// With Bounds.MinHits, entries with fewer hits than that, idle or in use, go before any entry that has
// them: a newcomer, of which nobody knows yet whether it will be asked for twice, displaces a proven
// entry only where the unproven ones together are not enough. One-shot images thus displace each other
// and at most the room of the largest of them from the proven ones, yet a cache full of proven entries
// is never closed to new images. (One-shot images usually have one live clone; if in-use unproven
// entries came after idle proven ones, the bound would protect nothing.) Under MinHits a new entry can
// be the first victim; MinAge is what gives it time to prove itself.
package lru

import "time"

// Entry is what the policy needs to know of one entry.
type Entry struct {
	ID       string
	Bytes    int64     // what bounds count: held, or reserved while filling
	LastUsed time.Time // zero: never; then Created counts
	Created  time.Time
	Clones   int // live clones that depend on it
	Pinned   bool
	Filling  bool
	Evicting bool
	// Superseded: its images have other content by now, and nobody is expected to ask for it again.
	Superseded bool
	Hits       int64
}

// used is when the entry was last used, at the earliest when it was created.
func (e *Entry) used() time.Time {
	if e.LastUsed.Before(e.Created) {
		return e.Created
	}
	return e.LastUsed
}

// Bounds limit a store. A zero field is no bound.
type Bounds struct {
	MaxBytes   int64         // of entries, detached ones not counted
	MaxCount   int           // of entries, detached ones not counted
	MaxPercent int           // of Load.CapacityBytes, detached bytes counted
	KeepInUse  bool          // entries with live clones are never victims
	MinAge     time.Duration // entries created more recently than this ago are never victims; in the future is not recently
	MinHits    int64         // entries with at least so many hits go last
}

// percentBytes is MaxPercent of the capacity in bytes; 0 where either is unknown.
func (b Bounds) percentBytes(capacity int64) int64 {
	if b.MaxPercent <= 0 || capacity <= 0 {
		return 0
	}
	p := int64(min(b.MaxPercent, 100))
	return max(1, capacity/100*p+capacity%100*p/100)
}

// Load is what a store holds now, entry by entry.
type Load struct {
	Entries       []Entry // filling, ready and evicting; in any order; not modified
	DetachedBytes int64   // still held by detached image-volumes
	CapacityBytes int64   // of the whole backend; 0: unknown, MaxPercent is not applied
}

// Need is what a newcomer will hold in all, its reservation; it is not in Load.Entries. To grow the
// reservation of a fill that runs, leave its entry out of Load.Entries and ask for the new total.
type Need struct {
	Bytes int64
	Count int
}

// Cause is the bound that made an entry go.
type Cause string

// The causes, in the order in which they are blamed where several bounds are broken at once.
const (
	CauseSize    Cause = "size"
	CauseCount   Cause = "count"
	CausePercent Cause = "percent"
)

// Victim is an entry that must go.
type Victim struct {
	ID    string
	Cause Cause
	InUse bool // it has live clones, and is detached
}
