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
	// Places are where its image-volumes and volumes lie, each in words that no other place has; what does
	// not tell places apart better than ID has none. Two stores that have one of them lie on one place, and
	// would destroy each other.
	Places []string
}

// Holder is the installation whose a store is: its catalog, which names what the store holds. What it says
// beside that is for people.
type Holder struct {
	Catalog  CatalogID `json:"catalog"`
	Host     string    `json:"host"`
	StateDir string    `json:"state_dir"`
	Since    time.Time `json:"since"`
}

// ErrHeld: the store is another installation's.
var ErrHeld = errors.New("held by another installation")

// HeldError is ErrHeld with who that is.
type HeldError struct{ By Holder }

func (e *HeldError) Error() string {
	return fmt.Sprintf("%v: catalog %s of host %s (state_dir %s), since %s",
		ErrHeld, e.By.Catalog, e.By.Host, e.By.StateDir, e.By.Since.UTC().Format(time.RFC3339))
}

// Is makes it ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// Belonging is the part of a Store that knows which store it is and whose.
type Belonging interface {
	// Identify tells which store this is. A store that has no ID yet gets one, durably. The ID stays when
	// the store is opened anew, under another name, or from another host. ErrUnavailable.
	Identify(ctx context.Context) (Identity, error)
	// HoldFor makes the store h.Catalog's, durably, if it is nobody's; of several at once one succeeds. Repeating
	// it is harmless, and brings what is for people up to date. *HeldError: it is another one's, and stays so.
	// ErrUnavailable.
	HoldFor(ctx context.Context, h Holder) error
	// TakeOver makes the store h.Catalog's, whoever's it was, which is returned; the zero Holder: nobody's. It
	// is for a person who knows that the former holder is gone for good. ErrUnavailable.
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
