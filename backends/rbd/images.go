//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// atOnce is how many images a listing looks at at the same time.
const atOnce = 8

// ListImageVolumes implements backends.Store, by the index.
func (b *Backend) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		all, err := b.readImages(ctx)
		if err != nil {
			yield(backends.ImageVolume{}, fmt.Errorf("list image-volumes: %w", err))
			return
		}
		for some := range slices.Chunk(all, atOnce) {
			for _, r := range together(some, func(e indexed) (backends.ImageVolume, error) { return b.look(ctx, e) }) {
				if errors.Is(r.err, backends.ErrNotExist) {
					continue
				}
				if !yield(r.value, r.err) {
					return
				}
			}
		}
	}
}

// readImages reads the index of image-volumes.
func (b *Backend) readImages(ctx context.Context) ([]indexed, error) {
	found, err := do(ctx, b, func(w *work) (map[string]indexed, error) { return readIndex[indexed](w.images, imageKeys) })
	if err != nil {
		return nil, err
	}
	all := make([]indexed, 0, len(found))
	for _, id := range slices.Sorted(maps.Keys(found)) {
		e := found[id]
		e.ID = backends.ImageVolumeID(id)
		all = append(all, e)
	}
	return all, nil
}

// look describes one image-volume. Its ID is set also where that fails.
func (b *Backend) look(ctx context.Context, e indexed) (backends.ImageVolume, error) {
	v, err := do(ctx, b, func(w *work) (backends.ImageVolume, error) {
		l, err := locate(w.images, e)
		if err != nil {
			return backends.ImageVolume{}, err
		}
		return l.describe(w.images)
	})
	v.ID = e.ID
	return v, onImage("describe", e.ID, err)
}

// StatImageVolume implements backends.ImageVolumeStater.
func (b *Backend) StatImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	v, err := do(ctx, b, func(w *work) (backends.ImageVolume, error) {
		l, err := b.find(w.session, id)
		if err != nil {
			return backends.ImageVolume{}, err
		}
		return l.describe(w.images)
	})
	v.ID = id
	return v, onImage("describe", id, err)
}

// together runs f for all at once, and returns the results in order.
func together[A, T any](all []A, f func(A) (T, error)) []result[T] {
	results := make([]result[T], len(all))
	var running sync.WaitGroup
	for i, a := range all {
		running.Go(func() { results[i].value, results[i].err = f(a) })
	}
	running.Wait()
	return results
}

// Retire implements backends.Store: the record says so, the snapshot goes, the image goes to the trash,
// and from there once it has no clones. Each step may be the last that the process does.
func (b *Backend) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	r, err := do(ctx, b, func(w *work) (backends.Retired, error) { return b.retire(w, id) })
	return r, onImage("retire", id, err)
}

func (b *Backend) retire(w *work, id backends.ImageVolumeID) (backends.Retired, error) {
	leave, err := b.images.alone(w.ctx, string(id))
	if err != nil {
		return backends.Retired{}, err
	}
	defer leave()
	b.mu.Lock()
	st := b.stages[id]
	b.mu.Unlock()
	if st != nil {
		st.finish(discarded)
		st.endLate(w)
	}
	l, err := b.find(w.session, id)
	if errors.Is(err, backends.ErrNotExist) {
		return backends.Retired{}, errors.Join(err, dropFromIndex(w.images, imageKeys+string(id)))
	}
	if err != nil {
		return backends.Retired{}, err
	}
	return b.endOf(w, l)
}

// destroy removes what there is of an image-volume, if anything. Its turn is held alone.
func (b *Backend) destroy(w *work, e indexed) error {
	l, err := locate(w.images, e)
	if errors.Is(err, backends.ErrNotExist) {
		return dropFromIndex(w.images, imageKeys+string(e.ID))
	}
	if err != nil {
		return err
	}
	r, err := b.endOf(w, l)
	if err == nil && !r.Gone && l.Adopted != "" {
		return fmt.Errorf("image %s, which is to be given back: %w", l.Adopted, backends.ErrInUse)
	}
	return err
}

// endOf ends an image-volume: it is gone, or detached. Its turn is held alone.
func (b *Backend) endOf(w *work, l located) (backends.Retired, error) {
	b.forget(l.ID)
	if !l.header && !l.trashed {
		b.shutOutMaker(w, l.RBDID)
	}
	if l.header && !l.record.Retired {
		l.record.Retired = true
		if err := ignore(writeRecord(w.images, l.RBDID, imageVolumeKey, l.record), syscall.ENOENT); err != nil {
			return backends.Retired{}, err
		}
	}
	clones, err := unpublish(w, l)
	if err != nil {
		return backends.Retired{}, err
	}
	if l.Adopted != "" {
		return b.giveBack(w, l, clones)
	}
	if err := intoTrash(w, l); err != nil {
		return backends.Retired{}, err
	}
	if clones > 0 {
		return backends.Retired{Clones: clones}, nil
	}
	err = b.removeFreed(w, w.images, l.RBDID)
	if is(err, syscall.ENOTEMPTY) || is(err, syscall.EBUSY) { // a clone came in the last moment, or somebody has it open
		b.noteHeld(w, &l)
		v, err := l.describe(w.images)
		return backends.Retired{Clones: v.Clones}, err
	}
	if err := ignore(err, syscall.ENOENT); err != nil {
		return backends.Retired{}, err
	}
	return backends.Retired{Gone: true, FreedBytes: l.record.HeldBytes}, dropFromIndex(w.images, imageKeys+string(l.ID))
}

// intoTrash moves the image to the trash. There it has no name by which it could be found, so the index has its RBD ID before.
func intoTrash(w *work, l located) error {
	if l.trashed {
		return nil
	}
	if l.unnoted {
		err := ignore(writeIndex(w.images, imageKeys+string(l.ID), l.indexed), syscall.ENOSPC, syscall.EDQUOT) // it is removed all the same
		if err != nil {
			return err
		}
	}
	return trash(w.images, l.name, l.RBDID, 0)
}

// unpublish removes the snapshot, so that nothing is cloned from now on, and counts the clones.
func unpublish(w *work, l located) (clones int, err error) {
	if !l.header {
		return 0, nil
	}
	image, err := rbd.OpenImageById(w.images, l.RBDID, rbd.NoSnapshot)
	if is(err, syscall.ENOENT) {
		return 0, nil // half made
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = image.Close() }() // nothing was written
	// Removing a snapshot takes the lock of an image that has one, which a client that died may hold; so
	// nothing is removed that is not there.
	_, err = image.GetSnapID(snapshotName)
	if err == nil {
		err = image.GetSnapshot(snapshotName).Remove()
	}
	if err := ignore(err, syscall.ENOENT); err != nil {
		return 0, fmt.Errorf("remove its snapshot: %w", err)
	}
	children, err := image.ListChildrenAttributes()
	return len(children), err
}

// Reap implements backends.Store. It also finds image-volumes that others have put into the trash, and ends the
// removals of volumes that a process which died had begun.
func (b *Backend) Reap(ctx context.Context) (backends.Reaped, error) {
	var reaped backends.Reaped
	all, err := b.readImages(ctx)
	if err != nil {
		return reaped, fmt.Errorf("reap: %w", err)
	}
	var errs []error
	for some := range slices.Chunk(all, atOnce) {
		for i, r := range together(some, func(e indexed) (backends.Retired, error) { return b.reap(ctx, e) }) {
			errs = append(errs, r.err)
			if r.value.Gone {
				reaped.ImageVolumes = append(reaped.ImageVolumes, some[i].ID)
				reaped.FreedBytes += r.value.FreedBytes
			}
		}
	}
	errs = append(errs, b.endRemovals(ctx), b.sweepTrash(ctx))
	return reaped, errors.Join(errs...)
}

// unmade is how long an entry of the index may have no image: a Stage elsewhere is just making it.
const unmade = 10 * time.Minute

// reap ends one image-volume if it is retired.
func (b *Backend) reap(ctx context.Context, e indexed) (backends.Retired, error) {
	r, err := do(ctx, b, func(w *work) (backends.Retired, error) {
		l, err := locate(w.images, e)
		if errors.Is(err, backends.ErrNotExist) {
			return b.reapMissing(w, e)
		}
		if err != nil || !l.record.Retired && !l.trashed {
			return backends.Retired{}, err
		}
		leave, err := b.images.alone(w.ctx, string(e.ID))
		if err != nil {
			return backends.Retired{}, err
		}
		defer leave()
		return b.endOf(w, l)
	})
	return r, onImage("reap", e.ID, err)
}

// reapMissing forgets an image-volume whose image is gone, or was never made.
func (b *Backend) reapMissing(w *work, e indexed) (backends.Retired, error) {
	if e.RBDID == "" && b.config.Now().Sub(e.At) <= unmade {
		return backends.Retired{}, nil
	}
	return backends.Retired{Gone: e.RBDID != ""}, dropFromIndex(w.images, imageKeys+string(e.ID))
}

// OpenImageVolume implements backends.ImageVolumeReader. One that is retired is freed by a Reap after the
// last reader has gone.
func (b *Backend) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	r, err := do(ctx, b, func(w *work) (*imageReader, error) {
		l, err := b.find(w.session, id)
		if err != nil {
			return nil, err
		}
		if _, err := b.parentOf(w.session, id); err != nil {
			return nil, err
		}
		// Opened as if to write, the image has a watcher, which keeps it in the trash if it is retired.
		image, err := rbd.OpenImageById(w.images, l.RBDID, rbd.NoSnapshot)
		if err != nil {
			return nil, err
		}
		size, err := image.GetSize()
		if err != nil {
			_ = image.Close()
			return nil, err
		}
		r := &imageReader{b: b, handle: newHandle(image), size: int64(size)}
		w.ifAbandoned(func(context.Context) { r.handle.close() })
		return r, nil
	})
	if err != nil {
		return nil, onImage("open", id, err)
	}
	return r, nil
}

// imageReader is an open image-volume. Retire leaves it readable: the image stays in the trash.
type imageReader struct {
	b      *Backend
	handle *handle
	size   int64

	found  spans // data of the window that ends at looked
	looked int64
}

// ReadAt implements io.ReaderAt.
func (r *imageReader) ReadAt(p []byte, off int64) (int, error) {
	own := make([]byte, len(p)) // a call that is given up keeps it
	n, err := do(context.Background(), r.b, func(*work) (n int, err error) {
		err = r.handle.use(func(image *rbd.Image) error {
			n, err = image.ReadAt(own, off)
			return err
		})
		return n, err
	})
	return copy(p, own[:n]), err
}

// diffWindow is how much of an image is looked through at once, in bytes: a thousand objects, which are asked
// one by one where the image has no object map.
const diffWindow = 4 << 30

// NextData implements backends.HoleTeller, by the objects that there are.
func (r *imageReader) NextData(ctx context.Context, off int64) (from, to int64, err error) {
	for off < r.size && err == nil {
		if s, ok := r.found.from(off); ok {
			return s.from, s.to, nil
		}
		if off >= r.looked {
			err = r.look(ctx, off)
		} else {
			off = r.looked
		}
	}
	return r.size, r.size, err
}

// look finds the data of the window that begins at off.
func (r *imageReader) look(ctx context.Context, off int64) error {
	end := min(r.size, off+diffWindow)
	found, err := do(ctx, r.b, func(w *work) (spans, error) {
		w.mayTake(removalTimeouts * r.b.config.Timeout)
		var found spans
		err := r.handle.use(func(image *rbd.Image) error {
			return image.DiffIterate(rbd.DiffIterateConfig{
				Offset: uint64(off), Length: uint64(end - off), IncludeParent: rbd.IncludeParent,
				Callback: func(at, n uint64, exists int, _ any) int {
					if exists != 0 {
						found.add(int64(at), int64(at+n))
					}
					return 0
				},
			})
		})
		return found, err
	})
	if err == nil {
		r.found, r.looked = found, end
	}
	return err
}

// from is what of the first span at or behind off lies there.
func (s spans) from(off int64) (span, bool) {
	for _, x := range s {
		if x.to > off {
			return span{max(x.from, off), x.to}, true
		}
	}
	return span{}, false
}

// Close implements io.Closer.
func (r *imageReader) Close() error {
	r.handle.close()
	return nil
}
