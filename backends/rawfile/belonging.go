package rawfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// The files in a store's own directory that say which store it is, and whose.
const (
	markerName = "store-id"
	holderName = "holder"
)

// Belonging is backends.Belonging for a directory: a file with a random ID, and one that names the holder.
// Its own directory is locked by the caller, so that nobody else writes them meanwhile. A crash leaves each
// of them as it was, or as it was to be.
type Belonging struct {
	own string // directory
	now func() time.Time
	mu  sync.Mutex
}

var _ backends.Belonging = (*Belonging)(nil)

// NewBelonging is that of the store whose own directory is own.
func NewBelonging(own string, now func() time.Time) *Belonging {
	if now == nil {
		now = time.Now
	}
	return &Belonging{own: own, now: now}
}

// Marker is the file that bears a store's ID; its own directory is own.
func Marker(own string) string { return filepath.Join(own, markerName) }

// Look sees which store is at own, and whose, without making anything. A directory that is not there, or is
// no store yet, belongs to nobody.
func Look(own string) (backends.Belongs, error) {
	id, err := readID(Marker(own))
	if err != nil {
		return backends.Belongs{}, err
	}
	by, err := readHolder(filepath.Join(own, holderName))
	return backends.Belongs{Identity: backends.Identity{ID: backends.StoreID(id)}, By: by}, err
}

// Identify implements backends.Belonging. The ID lies in the directory itself, wherever that is mounted, so
// that no place needs to be told apart beside it.
func (b *Belonging) Identify(ctx context.Context) (backends.Identity, error) {
	if err := ctx.Err(); err != nil {
		return backends.Identity{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id, err := mark(Marker(b.own))
	if err != nil {
		return backends.Identity{}, fmt.Errorf("identify the store: %w", err)
	}
	return backends.Identity{ID: backends.StoreID(id)}, nil
}

// HoldFor implements backends.Belonging.
func (b *Belonging) HoldFor(ctx context.Context, h backends.Holder) error {
	_, err := b.change(ctx, func(was backends.Holder) (backends.Holder, error) {
		if was.Catalog != "" && was.Catalog != h.Catalog {
			return was, &backends.HeldError{By: was}
		}
		return h, nil
	})
	return err
}

// TakeOver implements backends.Belonging.
func (b *Belonging) TakeOver(ctx context.Context, h backends.Holder) (was backends.Holder, err error) {
	return b.change(ctx, func(backends.Holder) (backends.Holder, error) { return h, nil })
}

// change replaces the holder by what next says; a catalog that stays has held the store since it began to.
func (b *Belonging) change(ctx context.Context, next func(was backends.Holder) (backends.Holder, error)) (was backends.Holder, err error) {
	if err := ctx.Err(); err != nil {
		return backends.Holder{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	path := filepath.Join(b.own, holderName)
	if was, err = readHolder(path); err != nil {
		return backends.Holder{}, err
	}
	h, err := next(was)
	if err != nil {
		return backends.Holder{}, err
	}
	if h = h.After(was, b.now()); h == was {
		return was, nil
	}
	text, err := json.Marshal(h)
	if err == nil {
		err = writeWhole(path, append(text, '\n'))
	}
	if err != nil {
		return backends.Holder{}, fmt.Errorf("note who holds the store: %w", err)
	}
	return was, nil
}

func readHolder(path string) (backends.Holder, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return backends.Holder{}, nil
	}
	if err != nil {
		return backends.Holder{}, Explain(err)
	}
	var h backends.Holder
	if err := json.Unmarshal(text, &h); err != nil || h.Catalog == "" {
		return backends.Holder{}, fmt.Errorf("%s does not say who holds the store; restore it, or remove it where no other installation uses the store", path)
	}
	return h, nil
}
