package plugin

import (
	"context"
	"errors"
	"os"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/journal"
)

// mayCopy tells that the request's backend has a file cache.
func (q *request) mayCopy() bool { return !q.Lend && q.store.fallback != nil }

// fileCache is what the file cache of the request's backend is called.
func (q *request) fileCache() backends.Name { return q.store.fallback.name }

// copied answers with a copy from the backend's file cache, which is filled first where the image is not in it. why is what kept the image-volume from serving.
func (l *ladder) copied(ctx context.Context, q *request, why *stepAside) (Answer, error) {
	files := q.store.fallback
	if err := files.outOfUse(); err != nil {
		return Answer{}, err
	}
	if err := l.stock.ensure(ctx, files); err != nil {
		if ctx.Err() != nil {
			return Answer{}, ctx.Err()
		}
		return Answer{}, &stepAside{reason: ReasonUnavailable, cause: err, detail: err.Error()}
	}
	return l.fromEntry(ctx, q, files, func(f *filled) (Answer, error) { return l.copyFrom(ctx, q, files, f, why) })
}

// copyFrom writes the volume from the cached file, between intent and answer.
func (l *ladder) copyFrom(ctx context.Context, q *request, files *store, f *filled, why *stepAside) (Answer, error) {
	if q.late(l.now()) {
		return Answer{}, &stepAside{reason: ReasonDeadline, detail: "too little time is left for a copy"}
	}
	src, image, err := files.cache.OpenImage(ctx, f.entry.ImageVolume)
	if errors.Is(err, backends.ErrNotExist) {
		return Answer{}, errVanished
	}
	if err != nil {
		return Answer{}, err
	}
	defer src.Close()
	spec := q.volumeSpec(q.store.fallback.name, f.entry)
	intent, err := l.intend(q, journal.Copy, spec)
	if err != nil {
		return Answer{}, err
	}
	var volume backends.Volume
	var method backends.CopyMethod
	err = l.stock.withSpace(ctx, q.store, spaceWanted{bytes: image.HeldBytes}, func() error {
		return l.stock.withSpace(ctx, files.besides(q.store), spaceWanted{image.HeldBytes, f.entry.ID}, func() (err error) {
			volume, method, err = l.writeVolume(ctx, q, src, spec, image.HeldBytes)
			return err
		})
	})
	if err != nil {
		return l.notMade(ctx, q, intent, err)
	}
	failpoint.Reached(failpoint.Copy)
	return l.made(ctx, q, intent, volume, Answer{
		Outcome: Copied, Reason: why.reason, Detail: why.Error(), EntryID: string(f.entry.ID),
		DownloadedBytes: f.downloaded, CopyMethod: method,
	}, f)
}

// writeVolume lets the backend copy where it can, and writes through it where it cannot.
func (l *ladder) writeVolume(ctx context.Context, q *request, src *os.File, spec backends.VolumeSpec, total int64) (backends.Volume, backends.CopyMethod, error) {
	progress := func(copied int64) {
		q.report(Progress{Phase: "copying", ReadBytes: copied, TotalBytes: total, Written: copied})
	}
	if copier, ok := backends.Capability[backends.FileCopier](q.store.backend); ok {
		return copier.CopyFromFile(ctx, src, spec, progress)
	}
	stage, err := q.store.backend.CreateVolume(ctx, spec)
	if err != nil {
		return backends.Volume{}, "", err
	}
	volume, err := copyInto(ctx, src, stage, progress)
	if err != nil {
		undo, cancel := l.cleanup(ctx)
		defer cancel()
		return backends.Volume{}, "", errors.Join(err, stage.Discard(undo))
	}
	return volume, backends.CopiedByWriting, nil
}
