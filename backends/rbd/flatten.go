//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

var _ backends.Flattener = (*Backend)(nil)

// Flatten implements backends.Flattener, by librbd's flatten. Where a guest has the volume's exclusive lock,
// librbd lets the guest's client do the work. One that is given up - ctx ended, or nothing was copied for
// Config.Timeout - stops at the next object where this client does the work; else it goes on by itself. At
// most two run at once, beside the calls that Config.Calls bounds.
func (b *Backend) Flatten(ctx context.Context, name backends.VolumeName, progress func(done, total int64)) error {
	err := checkName(name)
	if err == nil {
		err = b.flatten(ctx, name, progress)
	}
	return onVolume("flatten", name, err)
}

func (b *Backend) flatten(ctx context.Context, name backends.VolumeName, progress func(done, total int64)) error {
	select {
	case b.flattening <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	rbdID, bytes, err := b.toFlatten(ctx, name)
	if err == nil && rbdID != "" {
		err = b.enter()
	}
	if err != nil || rbdID == "" {
		<-b.flattening
		return err
	}
	f := newFlattening()
	done := make(chan error, 1)
	go func() {
		defer func() { <-b.flattening }()
		defer b.running.Done()
		done <- b.runFlatten(ctx, f, rbdID)
	}()
	return b.watchFlatten(ctx, f, done, func() {
		if progress != nil {
			progress(f.share(bytes), bytes)
		}
	})
}

// toFlatten is the RBD ID of a volume that has a parent, and how much of it; none where it is flat.
func (b *Backend) toFlatten(ctx context.Context, name backends.VolumeName) (rbdID string, overlap int64, err error) {
	err = b.try(ctx, func(w *work) error {
		if err := hasRoom(w.conn, b.config.Pool); err != nil {
			return err
		}
		id, err := idOf(w.volumes, string(name))
		if err != nil {
			return err
		}
		r, err := readVolumeRecord(w.volumes, id)
		if err != nil {
			return err
		}
		if r.State != whole {
			return fmt.Errorf("it is %s: %w", r.State, backends.ErrNotExist)
		}
		image, err := rbd.OpenImageByIdReadOnly(w.volumes, id, rbd.NoSnapshot)
		if err != nil {
			return err
		}
		defer func() { _ = image.Close() }() // nothing was written
		if _, err := image.GetParent(); err != nil {
			return ignore(err, syscall.ENOENT)
		}
		shared, err := image.GetOverlap()
		rbdID, overlap = id, int64(shared)
		return err
	})
	return rbdID, overlap, err
}

// runFlatten flattens in this goroutine. It frees f.
func (b *Backend) runFlatten(ctx context.Context, f *flattening, rbdID string) error {
	defer f.free()
	s, err := b.connected(ctx)
	if err != nil {
		return err
	}
	err = f.run(s.volumes, rbdID)
	b.observe(s, err)
	if is(err, syscall.EINVAL) && isFlat(s.volumes, rbdID) {
		return nil // somebody else has flattened it in the meantime
	}
	return err
}

func isFlat(io *rados.IOContext, rbdID string) bool {
	err := lookInto(io, rbdID, func(image *rbd.Image) error {
		_, err := image.GetParent()
		return err
	})
	return is(err, syscall.ENOENT)
}

// watchFlatten waits for the end and tells how far it is.
func (b *Backend) watchFlatten(ctx context.Context, f *flattening, done <-chan error, tell func()) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last, since := f.steps(), time.Now()
	for {
		select {
		case err := <-done:
			if err != nil {
				return explain(err)
			}
			f.finish()
			tell()
			return nil
		case <-ctx.Done():
			f.cancel()
			return b.endOfFlatten(done, ctx.Err())
		case <-b.closing:
			f.cancel()
			return b.endOfFlatten(done, errClosed)
		case <-tick.C:
		}
		if now := f.steps(); now != last {
			last, since = now, time.Now()
			tell()
		} else if time.Since(since) > b.config.Timeout {
			f.cancel()
			return fmt.Errorf("%w: nothing was copied for %v", backends.ErrUnavailable, b.config.Timeout)
		}
	}
}

// endOfFlatten waits for a flatten that was cancelled, but not for one that somebody else's client does.
func (b *Backend) endOfFlatten(done <-chan error, cause error) error {
	timer := time.NewTimer(b.config.Timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		return cause
	case <-timer.C:
		return errors.Join(cause, fmt.Errorf("%w: it goes on", backends.ErrUnavailable))
	}
}
