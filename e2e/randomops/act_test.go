package randomops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// result is what an operation came to, as its caller saw it.
type result struct {
	Err        problem `json:",omitempty"`
	Detail     string  `json:",omitempty"`
	Outcome    plugin.Outcome
	Reason     plugin.Reason
	VolumeID   backends.VolumeID
	SizeBytes  int64
	Downloaded int64
	EntryID    string
	Removed    int       // entries that prune or evict removed
	OK         bool      // of check
	At         time.Time // when it ended
}

func (r result) String() string {
	switch {
	case r.Err != "":
		return fmt.Sprintf("%s (%s)", r.Err, r.Detail)
	case r.Outcome != "":
		return fmt.Sprintf("%s, %s: %d bytes, %d downloaded, entry %s", r.Outcome, r.Reason, r.SizeBytes, r.Downloaded, r.EntryID)
	}
	return fmt.Sprintf("done; removed %d, ok %t %s", r.Removed, r.OK, r.Detail)
}

// problem is an error as data.
type problem string

const (
	nothing      problem = "" // no error
	noImage      problem = "image not found"
	wrongDigest  problem = "wrong digest"
	tooSmall     problem = "too small"
	conflict     problem = "conflict"
	noEntry      problem = "no such entry"
	pinned       problem = "pinned"
	hasClones    problem = "has clones"
	noVolume     problem = "no such volume"
	notOurs      problem = "not ours"
	volumeExists problem = "volume exists"
	unexpected   problem = "unexpected error"
)

func problemOf(err error) problem {
	for _, known := range []struct {
		err error
		p   problem
	}{
		{nil, nothing}, {imagesource.ErrNotFound, noImage}, {imagesource.ErrDigestMismatch, wrongDigest}, {plugin.ErrTooSmall, tooSmall},
		{plugin.ErrConflict, conflict}, {catalog.ErrNotFound, noEntry}, {catalog.ErrPinned, pinned}, {plugin.ErrHasClones, hasClones},
		{backends.ErrNotExist, noVolume}, {backends.ErrNotOurs, notOurs}, {backends.ErrExist, volumeExists},
	} {
		if err == nil && known.err == nil || known.err != nil && errors.Is(err, known.err) {
			return known.p
		}
	}
	return unexpected
}

// act does one operation. An error of its own means that the test itself is broken, or that the plugin
// could not be opened again.
func (w *world) act(ctx context.Context, o op) (r result, broken error) {
	err := w.do(ctx, o, &r)
	r.Err, r.At = problemOf(err), time.Now()
	if err != nil {
		r.Detail = err.Error()
	}
	if r.Err == unexpected {
		broken = err
	}
	return r, broken
}

func (w *world) do(ctx context.Context, o op, r *result) error {
	switch o.Do {
	case create:
		return w.create(ctx, o, r)
	case deleteVolume:
		return w.DeleteVolume(ctx, "local", volumeName(o.Volume))
	case loseVolume:
		return w.loseVolume(ctx, o.Volume)
	case foreign:
		return w.makeForeign(ctx, o.Volume)
	case evict, pin, unpin, loseImage:
		return w.onEntry(ctx, o, r)
	case setImage:
		return w.putImage(o.Image, o.Content, o.Promised)
	case prefetch:
		return w.prefetch(ctx, o, r)
	case prune:
		pruned, err := w.Prune(ctx)
		r.Removed = len(pruned.Removed)
		return err
	case clean:
		_, err := w.Clean(ctx)
		return err
	case check:
		checked, err := w.Check(ctx, plugin.CheckOptions{Repair: true})
		// What a kill left unanswered is told of until it is asked for again.
		r.OK = !slices.ContainsFunc(checked.Problems, func(p plugin.Problem) bool { return !p.Repaired && p.Kind != "kept-volume" })
		return err
	case restart:
		return w.reopen(ctx, func() error { return nil })
	case configure:
		return w.reopen(ctx, func() error { w.set = *o.Settings; return nil })
	case harm:
		return w.reopen(ctx, func() error { return w.damage(o.Harm) })
	case repeat, kill: // the runner turns these into others
	}
	return fmt.Errorf("operation %q", o.Do)
}

func volumeName(volume int) backends.VolumeName { return backends.VolumeName(volumeNames[volume]) }

func (w *world) create(ctx context.Context, o op, r *result) error {
	a, err := w.CreateVolume(ctx, plugin.Request{
		Image: "library:" + imageNames[o.Image], Volume: volumeName(o.Volume), SizeBytes: w.bytesFor(o),
	})
	r.Outcome, r.Reason, r.VolumeID, r.SizeBytes = a.Outcome, a.Reason, a.VolumeID, a.SizeBytes
	r.Downloaded, r.EntryID, r.Detail = a.DownloadedBytes, a.EntryID, a.Detail
	return err
}

// prefetch has an image cached, and waits until that is done or has failed once.
func (w *world) prefetch(ctx context.Context, o op, r *result) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	rows, err := w.Queue().Prefetch(ctx, plugin.Prefetch{Images: []string{"library:" + imageNames[o.Image]}})
	if err != nil {
		return err
	}
	row := rows[0]
	for row.State == "running" || row.State == "waiting" && row.LastError == "" {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the queue does not come to %+v: %w", row, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
		all, err := w.Queue().Queued(ctx)
		if err != nil {
			return err
		}
		row = all[slices.IndexFunc(all, func(v plugin.QueuedView) bool { return v.ID == row.ID })]
	}
	if r.Detail = row.State + " " + row.LastError; row.State == "done" {
		return nil
	}
	_, err = w.Queue().DeleteQueued(ctx, row.ID) // it would be tried again
	return err
}

// bytesFor is the size that a request asks for, by the image's file as it is now.
func (w *world) bytesFor(o op) int64 {
	info, err := os.Stat(filepath.Join(w.dir, "images", imageNames[o.Image]))
	if err != nil || o.Size == auto {
		return 0
	}
	return sized(o.Size, info.Size())
}

func sized(s sizing, image int64) int64 {
	switch s {
	case exact:
		return image
	case grown:
		return image + 64<<10
	case small:
		return image - page
	case auto:
	}
	return 0
}

// onEntry does something to the ready entry of a content, if there is one.
func (w *world) onEntry(ctx context.Context, o op, r *result) error {
	e, err := w.readyEntry(ctx, o)
	if err != nil {
		return err
	}
	r.EntryID = e.ID
	switch o.Do {
	case evict:
		removed, err := w.DeleteEntry(ctx, e.ID, plugin.ForceDetach(o.Force))
		r.Removed = len(removed.Removed)
		return err
	case pin, unpin:
		_, err := w.SetPinned(ctx, e.ID, o.Do == pin)
		return err
	case loseImage:
		return w.loseImageVolume(ctx, o.Store, backends.ImageVolumeID(e.ImageVolume))
	default:
		return fmt.Errorf("operation %q on an entry", o.Do)
	}
}

func (w *world) readyEntry(ctx context.Context, o op) (plugin.EntryView, error) {
	entries, err := w.Entries(ctx, plugin.EntryFilter{Backend: storeNames[o.Store], State: "ready"})
	if err != nil {
		return plugin.EntryView{}, err
	}
	for _, e := range entries {
		if e.Digest == digests()[o.Content] {
			return e, nil
		}
	}
	return plugin.EntryView{}, catalog.ErrNotFound
}

func (w *world) loseImageVolume(ctx context.Context, store int, id backends.ImageVolumeID) error {
	var err error
	switch {
	case store == 1:
		err = os.Remove(filepath.Join(w.dir, "files", "image-volumes", string(id)))
	case w.memory == nil:
		err = os.Remove(filepath.Join(w.dir, "volumes", ".clonecache", "image-volumes", string(id)))
	default:
		_, err = w.memory.Retire(ctx, id)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, backends.ErrNotExist) { // lost before
		return nil
	}
	return err
}

func (w *world) loseVolume(ctx context.Context, volume int) error {
	if w.memory != nil {
		return w.memory.DeleteVolume(ctx, backends.VolumeRef{Name: volumeName(volume)})
	}
	err := os.Remove(filepath.Join(w.dir, "volumes", volumeNames[volume]))
	if errors.Is(err, os.ErrNotExist) {
		return backends.ErrNotExist
	}
	return err
}

// foreignBytes is the content of a volume that somebody else made.
const foreignBytes = "somebody else's"

func (w *world) makeForeign(ctx context.Context, volume int) error {
	if w.memory != nil {
		if _, err := w.memory.StatVolume(ctx, volumeName(volume)); !errors.Is(err, backends.ErrNotExist) {
			return backends.ErrExist
		}
		return w.memory.MakeForeign(ctx, volumeName(volume), []byte(foreignBytes))
	}
	f, err := os.OpenFile(filepath.Join(w.dir, "volumes", volumeNames[volume]), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return backends.ErrExist
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(foreignBytes)
	return errors.Join(err, f.Close())
}
