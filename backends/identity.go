package backends

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// StoreID names a store, for ever, whatever a configuration calls it and wherever it is mounted.
type StoreID string

// Identity is which store something is.
type Identity struct {
	ID StoreID
	// Places are where its image-volumes and volumes lie, each in words that no other place has. A store has none where
	// the ID tells places apart as well. Two stores with a place in common lie on the same place, and would destroy each other.
	Places []string
	// Former is the ID that earlier versions gave the same store: what a catalog keeps under that is the store's. "": none other.
	Former StoreID
}

// Holder is the installation that a store belongs to: its catalog names everything on the store. The other fields are
// for people.
type Holder struct {
	Catalog  CatalogID `json:"catalog"`
	Host     string    `json:"host"`
	StateDir string    `json:"state_dir"`
	Since    time.Time `json:"since"`
}

// ErrHeld: the store is another installation's.
var ErrHeld = errors.New("held by another installation")

// HeldError is ErrHeld, and names the holder.
type HeldError struct{ By Holder }

func (e *HeldError) Error() string {
	return fmt.Sprintf("%v: catalog %s of host %s (state_dir %s), since %s",
		ErrHeld, e.By.Catalog, e.By.Host, e.By.StateDir, e.By.Since.UTC().Format(time.RFC3339))
}

// Is makes it ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// Belonging is the part of a Store that knows which store it is, and which installation holds it.
type Belonging interface {
	// Identify tells which store this is. A store that has no ID yet gets one, durably. The ID stays when
	// the store is opened anew, under another name, or from another host. ErrUnavailable.
	Identify(ctx context.Context) (Identity, error)
	// HoldFor makes h.Catalog the store's holder, durably, if it has none; of several concurrent calls one succeeds.
	// Repeating it is harmless, and updates the fields for people. *HeldError: another installation holds the store, and
	// goes on to. ErrUnavailable.
	HoldFor(ctx context.Context, h Holder) error
	// TakeOver makes h.Catalog the store's holder, whichever it had, and returns the former one; with the zero Holder the
	// store is held by none. A person decides it, knowing that the former holder is gone for good. ErrUnavailable.
	TakeOver(ctx context.Context, h Holder) (was Holder, err error)
}

// Belongs is what can be seen of a store's identity without opening it or changing anything.
type Belongs struct {
	Identity        // a zero ID: it has none yet
	By       Holder // zero: nobody's
}

// After is h as it is noted at a time: a catalog that had the store already keeps the beginning of that.
func (h Holder) After(was Holder, now time.Time) Holder {
	h.Since = now.UTC().Truncate(time.Second)
	if was.Catalog == h.Catalog {
		h.Since = was.Since
	}
	return h
}
