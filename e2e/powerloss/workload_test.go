package powerloss_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/powerloss"
	"github.com/clonecache/clonecache/plugin"
)

// work is a plugin at work on a recorded disk. Each promise is marked when it is answered, and each
// step before it begins.
type work struct {
	*site
	disk   *powerloss.Disk
	images *library
}

// recordWork does a bit of everything on a disk and returns its recording.
func recordWork(t *testing.T, d *powerloss.Disk, l *library) *powerloss.Recording {
	t.Helper()
	s, err := l.open(t.Context(), d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &work{site: s, disk: d, images: l}
	defer func() {
		if err := w.close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for _, phase := range []func(context.Context) error{
		w.fillAndHit, w.evictAndReuse, w.pinBoth, w.restart, w.manyAtOnce, w.deleteEntries,
	} {
		if err := phase(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(t.Context()); err != nil {
		t.Error(err)
	}
	w.site = &site{}
	return d.End(t)
}

func (w *work) say(s statement) error { return w.disk.Mark(s.encode()) }

// create asks for a volume; size 0 is the image's own.
func (w *work) create(ctx context.Context, volume, image string, size int64) error {
	s := statement{Does: creating, Volume: volume, Image: image, Size: max(size, int64(len(w.images.content[image])))}
	if err := w.say(s); err != nil {
		return err
	}
	a, err := w.CreateVolume(ctx, plugin.Request{
		Image: ref(image), Volume: backends.VolumeName(volume), SizeBytes: size,
		Token: "the requester's own", Deadline: time.Now().Add(time.Hour),
		Progress: func(p plugin.Progress) {
			if p.Phase == "cloning" && strings.HasPrefix(volume, "w") { // so that the intent is on disk, and the answer is not
				syncDisk(w.disk.Dir)
			}
		},
		Deliver: func(plugin.Answer) error { // its requester is told
			s.Does = created
			return w.say(s)
		},
	})
	if err != nil {
		return fmt.Errorf("create %s from %s: %w", volume, image, err)
	}
	if a.Outcome == plugin.Bypassed {
		return fmt.Errorf("create %s from %s: bypassed: %s, %s", volume, image, a.Reason, a.Detail)
	}
	if a.Reason == plugin.ReasonRepeated { // which nobody delivers
		s.Does = created
		return w.say(s)
	}
	return w.write(s, a.Path)
}

// syncDisk brings to a disk what was written up to now, as the kernel does by itself every few seconds.
func syncDisk(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = unix.Syncfs(int(f.Fd())) // a help to the test, not a promise
		_ = f.Close()
	}
}

// ownersBytes are what the owner of a volume writes to its beginning.
const ownersBytes = "the owner's bytes"

// write lets the owner of a volume that was delivered write to it, durably as a guest does: fdatasync does not
// bring the file's time of change to the disk.
func (w *work) write(s statement, path string) error {
	s.Does = writing
	if err := w.say(s); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(ownersBytes), 0)
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.Does = written
	return w.say(s)
}

func (w *work) remove(ctx context.Context, volume string) error {
	return errors.Join(
		w.say(statement{Does: deleting, Volume: volume}),
		w.DeleteVolume(ctx, "local", backends.VolumeName(volume)),
		w.say(statement{Does: deleted, Volume: volume}),
	)
}

// hold marks which entries are ready. Nothing else is going on.
func (w *work) hold(ctx context.Context) ([]string, error) {
	ids, err := ready(ctx, w.site)
	return ids, errors.Join(err, w.say(statement{Does: holding, Entries: ids}))
}

func ready(ctx context.Context, s *site) ([]string, error) {
	entries, err := s.Entries(ctx, plugin.EntryFilter{State: "ready"})
	ids := []string{}
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids, err
}

// steps does one after the other, and marks which entries there are after each.
func (w *work) steps(ctx context.Context, steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if _, err := w.hold(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) fillAndHit(ctx context.Context) error {
	return w.steps(ctx,
		func() error { return w.create(ctx, "filled", "a", 2*mib+512) },
		func() error { return w.create(ctx, "hit", "a", 0) },
		func() error { return w.create(ctx, "grown", "a", 5*mib) },
		func() error { return w.create(ctx, "hit", "a", 0) }, // repeated
		func() error { return w.create(ctx, "other", "b", 0) },
	)
}

// evictAndReuse lets one image displace another, and a volume's name change its content.
func (w *work) evictAndReuse(ctx context.Context) error {
	return w.steps(ctx,
		func() error { return w.create(ctx, "displacing", "c", 0) },
		func() error { return w.remove(ctx, "hit") },
		func() error { return w.create(ctx, "hit", "c", 3*mib) },
		func() error { return w.remove(ctx, "grown") },
		func() error { return w.create(ctx, "again", "a", 0) },
	)
}

// pinBoth leaves no room, so that a volume is copied from the file cache.
func (w *work) pinBoth(ctx context.Context) error {
	ids, err := w.hold(ctx)
	if err != nil {
		return err
	}
	ids = ids[:bound] // the file cache, where it holds them all, has room for one more
	pin := func(p plugin.Pinning, then []string) error {
		err := w.say(statement{Does: pinning})
		for _, id := range ids {
			_, e := w.SetPinned(ctx, id, p)
			err = errors.Join(err, e)
		}
		return errors.Join(err, w.say(statement{Does: pinned, Entries: then}))
	}
	return w.steps(ctx,
		func() error { return pin(true, ids) },
		func() error { return w.create(ctx, "copied", "d", 2*mib) },
		func() error { return w.create(ctx, "copied-again", "d", 0) },
		func() error { return pin(false, nil) },
	)
}

func (w *work) restart(ctx context.Context) error {
	if err := w.close(ctx); err != nil {
		return err
	}
	w.site = &site{}
	s, err := w.images.open(ctx, w.disk.Dir)
	if err != nil {
		return err
	}
	w.site = s
	_, err = w.hold(ctx)
	return err
}

// manyAtOnce lets fills, hits, evictions and deletions run beside one another, so that the sync of one
// brings to disk what another has only begun.
func (w *work) manyAtOnce(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for worker := range 4 {
		group.Go(func() error {
			for n := range 6 {
				volume := fmt.Sprintf("w%d-%d", worker, n)
				if err := w.create(ctx, volume, string("aabacada"[(n+worker)%8]), 0); err != nil {
					return err
				}
				if n%2 == 1 {
					continue
				}
				if err := w.remove(ctx, volume); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := w.hold(context.WithoutCancel(ctx))
	return err
}

// deleteEntries evicts by hand and fills once more.
func (w *work) deleteEntries(ctx context.Context) error {
	ids, err := w.hold(ctx)
	if err != nil {
		return err
	}
	first := slices.Min(ids)
	return w.steps(ctx,
		func() error {
			if err := w.say(statement{Does: evicting, Entries: []string{first}}); err != nil {
				return err
			}
			_, err := w.DeleteEntry(ctx, first, false)
			return err
		},
		func() error { return w.create(ctx, "last", "b", 0) },
	)
}
