//go:build ceph

package rbd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/backends"
)

// storeKey is the index's key for which store it is the index of.
const storeKey = "store"

// holderObject says whose the store is; it is in the pool of the image-volumes, beside the index. It is made
// and exchanged whole, by operations that fail where somebody else was faster.
const holderObject = "clonecache.holder"

// place is a namespace of a pool. A pool's ID is never given again, its name is.
type place struct {
	FSID      string `json:"fsid"`
	PoolID    int64  `json:"pool_id"`
	Namespace string `json:"namespace"`
}

func (p place) String() string { return fmt.Sprintf("%s/%d/%s", p.FSID, p.PoolID, p.Namespace) }

// indexedStore is what the index says of its store. A pool that was copied says what the original does, but
// for its place.
type indexedStore struct {
	ID backends.StoreID `json:"id"`
	place
}

// Identify implements backends.Belonging. The ID follows from the place, so that several who ask at once
// agree, and an index that was lost is found to be the same store's.
func (b *Backend) Identify(ctx context.Context) (backends.Identity, error) {
	id, err := do(ctx, b, func(w *work) (backends.Identity, error) { return b.identify(w.session) })
	if err != nil {
		return id, fmt.Errorf("identify the store: %w", err)
	}
	return id, nil
}

func (b *Backend) identify(s *session) (backends.Identity, error) {
	id, err := indexOf(s.images, s.imagePlace(b.config))
	if err != nil {
		return backends.Identity{}, err
	}
	if id.ID == "" {
		id.ID = idOfPlace(id.place)
		// A full cluster has no room for it, and needs none: it follows again.
		if err := ignore(writeIndex(s.images, storeKey, id), syscall.ENOSPC, syscall.EDQUOT); err != nil {
			return backends.Identity{}, err
		}
	}
	return s.identity(b.config, id.ID), nil
}

// identity is a store's, with both of its places: one namespace must be neither the volumes' nor the
// image-volumes' of two stores.
func (s *session) identity(c Config, id backends.StoreID) backends.Identity {
	volumes := place{s.fsid, s.volumes.GetPoolID(), c.Namespace}
	return backends.Identity{ID: id, Places: []string{
		"RBD volumes in " + volumes.String(), "RBD image-volumes in " + s.imagePlace(c).String(),
	}}
}

func (s *session) imagePlace(c Config) place {
	return place{s.fsid, s.images.GetPoolID(), c.Namespace}
}

// indexOf is what the index says of its store; without an ID where it says nothing, or was copied.
func indexOf(io *rados.IOContext, at place) (indexedStore, error) {
	all, err := readIndex[indexedStore](io, storeKey)
	if err != nil {
		return indexedStore{}, err
	}
	if known, ok := all[""]; ok && known.place == at {
		return known, nil
	}
	return indexedStore{place: at}, nil
}

// idOfPlace is a UUID made of a place (RFC 9562, version 8).
func idOfPlace(p place) backends.StoreID {
	sum := sha256.Sum256([]byte("clonecache store " + p.String()))
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return backends.StoreID(fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]))
}

// HoldFor implements backends.Belonging.
func (b *Backend) HoldFor(ctx context.Context, h backends.Holder) error {
	_, err := b.changeHolder(ctx, func(was backends.Holder) (backends.Holder, error) {
		if was.Catalog != "" && was.Catalog != h.Catalog {
			return was, &backends.HeldError{By: was}
		}
		return h, nil
	})
	return err
}

// TakeOver implements backends.Belonging.
func (b *Backend) TakeOver(ctx context.Context, h backends.Holder) (was backends.Holder, err error) {
	return b.changeHolder(ctx, func(backends.Holder) (backends.Holder, error) { return h, nil })
}

// errFaster: somebody else has changed the holder since it was read.
var errFaster = errors.New("the holder was changed meanwhile")

func (b *Backend) changeHolder(ctx context.Context, next func(was backends.Holder) (backends.Holder, error)) (backends.Holder, error) {
	const tries = 16 // each time another one was faster
	for range tries {
		was, err := do(ctx, b, func(w *work) (backends.Holder, error) { return b.tryHolder(w.images, next) })
		if !errors.Is(err, errFaster) {
			return was, err
		}
	}
	return backends.Holder{}, fmt.Errorf("note who holds the store: %w: %w", backends.ErrUnavailable, errFaster)
}

func (b *Backend) tryHolder(io *rados.IOContext, next func(backends.Holder) (backends.Holder, error)) (backends.Holder, error) {
	was, text, err := readHolder(io)
	if err != nil {
		return was, err
	}
	h, err := next(was)
	if err != nil {
		return backends.Holder{}, err
	}
	if h = h.After(was, b.config.Now()); h == was {
		return was, nil
	}
	return was, exchangeHolder(io, text, h)
}

// readHolder is who holds the store, and as what bytes the object says so; none where there is no object.
func readHolder(io *rados.IOContext) (backends.Holder, []byte, error) {
	text := make([]byte, 4<<10)
	n, err := io.Read(holderObject, text, 0)
	if is(err, syscall.ENOENT) {
		return backends.Holder{}, nil, nil
	}
	if err != nil {
		return backends.Holder{}, nil, fmt.Errorf("read who holds the store: %w", err)
	}
	var h backends.Holder
	if err := json.Unmarshal(text[:n], &h); err != nil || h.Catalog == "" {
		return h, nil, fmt.Errorf("object %s does not say who holds the store; remove it with `rados rm` where no other installation uses the pool", holderObject)
	}
	return h, text[:n], nil
}

// mismatch is what the OSD answers, or more, where a comparison fails (MAX_ERRNO of src/include/types.h).
const mismatch = 4095

// exchangeHolder writes the object if it is still as it was read. errFaster.
func exchangeHolder(io *rados.IOContext, was []byte, h backends.Holder) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	op := rados.CreateWriteOp()
	defer op.Release()
	if was == nil {
		op.Create(rados.CreateExclusive)
	} else {
		op.AssertExists()
		op.CmpExt(was, 0)
	}
	op.WriteFull(text)
	err = op.Operate(io, holderObject, rados.OperationNoFlag)
	if code := errno(err); code >= mismatch || slices.Contains([]syscall.Errno{syscall.EEXIST, syscall.ENOENT, syscall.ECANCELED}, code) {
		return errFaster
	}
	if err != nil {
		return fmt.Errorf("note who holds the store: %w", err)
	}
	return nil
}

// Look connects as the configuration says and sees which store it is, and whose, without changing anything.
// Errors as Check's.
func Look(ctx context.Context, c Config) (backends.Belongs, error) {
	c, err := c.complete()
	if err != nil {
		return backends.Belongs{}, err
	}
	if err := ctx.Err(); err != nil {
		return backends.Belongs{}, err
	}
	s, err := connect(c)
	if err != nil {
		return backends.Belongs{}, err
	}
	defer s.close()
	id, err := indexOf(s.images, s.imagePlace(c))
	if err != nil {
		return backends.Belongs{}, err
	}
	if id.ID == "" {
		id.ID = idOfPlace(id.place)
	}
	by, _, err := readHolder(s.images)
	return backends.Belongs{Identity: s.identity(c, id.ID), By: by}, err
}
