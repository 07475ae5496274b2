//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

var _ backends.DeepLister = (*Backend)(nil)

// scanned is one image of a pool that is scanned, under a name or in the trash.
type scanned struct {
	pool    string
	io      func(*session) *rados.IOContext
	name    string // in the trash: the one it had
	rbdID   string // empty for a name that is still to be looked up
	trashed bool
}

// place is what rbd's command line calls it.
func (i scanned) place(c Config) string {
	pool := i.pool
	if c.Namespace != "" {
		pool += "/" + c.Namespace
	}
	if i.trashed {
		return pool + " trash " + i.rbdID
	}
	return pool + "/" + i.name
}

// stray is a stray with what is to be done about it; none where recover is nil and Detail empty.
type stray struct {
	backends.Stray
	recover func(w *work) error
}

// ListStrays implements backends.DeepLister. Each image without a record of ours is opened, about 5 ms.
func (b *Backend) ListStrays(ctx context.Context) iter.Seq2[backends.Stray, error] {
	return func(yield func(backends.Stray, error) bool) {
		for _, p := range b.pools() {
			all, err := do(ctx, b, func(w *work) ([]scanned, error) { return p.scan(w.session) })
			if err != nil {
				yield(backends.Stray{}, fmt.Errorf("scan pool %s: %w", p.pool, err))
				return
			}
			for some := range slices.Chunk(all, atOnce) {
				for i, r := range together(some, func(i scanned) (stray, error) { return b.examineOne(ctx, i) }) {
					r.value.Place = some[i].place(b.config)
					if (r.err != nil || r.value.Detail != "") && !yield(r.value.Stray, r.err) {
						return
					}
				}
			}
		}
	}
}

// pools are the pool of volumes and the one of image-volumes, or the one that is both.
func (b *Backend) pools() []scanned {
	all := []scanned{{pool: b.config.ImageVolumePool, io: func(s *session) *rados.IOContext { return s.images }}}
	if b.config.Pool != b.config.ImageVolumePool {
		all = append(all, scanned{pool: b.config.Pool, io: func(s *session) *rados.IOContext { return s.volumes }})
	}
	return all
}

// scan lists all images of the pool, those in the trash too.
func (i scanned) scan(s *session) ([]scanned, error) {
	names, err := rbd.GetImageNames(i.io(s))
	if err != nil {
		return nil, err
	}
	trash, err := rbd.GetTrashList(i.io(s))
	if err != nil {
		return nil, err
	}
	all := make([]scanned, 0, len(names)+len(trash))
	for _, name := range names {
		all = append(all, scanned{pool: i.pool, io: i.io, name: name})
	}
	for _, t := range trash {
		all = append(all, scanned{pool: i.pool, io: i.io, name: t.Name, rbdID: t.Id, trashed: true})
	}
	return all, nil
}

func (b *Backend) examineOne(ctx context.Context, i scanned) (stray, error) {
	found, err := do(ctx, b, func(w *work) (stray, error) {
		if i.rbdID == "" {
			var err error
			if i.rbdID, err = anyID(i.io(w.session), i.name); err != nil {
				return stray{}, ignore(err, syscall.ENOENT)
			}
		}
		return b.examine(w, i)
	})
	if err != nil {
		return found, fmt.Errorf("look at image %s: %w", i.place(b.config), err)
	}
	return found, nil
}

// examine tells whether an image is a stray, by its records.
func (b *Backend) examine(w *work, i scanned) (stray, error) {
	io := i.io(w.session)
	image, err := readImageRecord(io, i.rbdID)
	if err == nil {
		return b.strayImage(w, i, image)
	}
	if !errors.Is(err, backends.ErrNotOurs) {
		return stray{}, err
	}
	volume, err := readVolumeRecord(io, i.rbdID)
	if err == nil {
		return b.strayVolume(w, i, volume)
	}
	if !errors.Is(err, backends.ErrNotOurs) {
		return stray{}, err
	}
	if strings.HasPrefix(i.name, prefix) && io == w.images {
		return b.strayName(w, i)
	}
	return b.straySnapshot(w, i)
}

// strayImage is an image-volume that is not in the index.
func (b *Backend) strayImage(w *work, i scanned, r imageRecord) (stray, error) {
	e, err := lookUp(w.images, r.ID)
	if err == nil && (e.RBDID == "" || e.RBDID == i.rbdID) {
		return stray{}, nil
	}
	found := stray{Stray: backends.Stray{
		ID: backends.VolumeID(i.rbdID), ImageVolume: r.ID, HeldBytes: r.HeldBytes,
		Detail: fmt.Sprintf("image-volume %s is not in the index", r.ID),
		Remedy: "it is put back into the index; then it is an entry again, or removed",
	}}
	switch {
	case i.io(w.session) != w.images:
		found.Detail = fmt.Sprintf("image-volume %s is in the wrong pool", r.ID)
		found.Remedy = b.byHand(i)
	case err == nil:
		found.Detail = fmt.Sprintf("image-volume %s is another image, %s, by the index", r.ID, e.RBDID)
		found.Remedy = b.byHand(i)
	case !errors.Is(err, backends.ErrNotExist):
		return stray{}, err
	default:
		found.Recoverable = true
		found.recover = func(w *work) error {
			return writeIndex(w.images, imageKeys+string(r.ID), indexed{RBDID: i.rbdID, At: b.config.Now().UTC(), Adopted: r.Adopted})
		}
	}
	return found, nil
}

// strayName is what has an image-volume's name without a record: a Stage died over it, and the index is
// lost; or somebody else has made it.
func (b *Backend) strayName(w *work, i scanned) (stray, error) {
	id := backends.ImageVolumeID(strings.TrimPrefix(i.name, prefix))
	_, err := lookUp(w.images, id)
	if !errors.Is(err, backends.ErrNotExist) {
		return stray{}, err
	}
	by, err := b.maker(w.session, i.rbdID)
	if err != nil {
		return stray{}, err
	}
	found := stray{Stray: backends.Stray{
		ID: backends.VolumeID(i.rbdID), ImageVolume: id, Recoverable: by == own,
		Detail: "it has the name of an image-volume, and does not say that it is one",
		Remedy: b.byHand(i),
	}}
	if by == own {
		found.Remedy = "it is put back into the index, from where it is removed"
		found.recover = func(w *work) error {
			return writeIndex(w.images, imageKeys+string(id), indexed{RBDID: i.rbdID, At: b.config.Now().UTC()})
		}
	}
	return found, nil
}

// strayVolume is a volume that is half written or half removed, and that nobody has open.
func (b *Backend) strayVolume(w *work, i scanned, r volumeRecord) (stray, error) {
	io := i.io(w.session)
	if r.State == whole {
		return stray{}, nil
	}
	if err := lookInto(io, i.rbdID, unwatched); err != nil {
		if errors.Is(err, backends.ErrInUse) {
			return stray{}, nil // it is under way
		}
		return stray{}, err
	}
	by, err := b.maker(w.session, i.rbdID)
	if err != nil {
		return stray{}, err
	}
	found := stray{Stray: backends.Stray{
		ID: backends.VolumeID(i.rbdID), Volume: backends.VolumeName(i.name),
		Detail: fmt.Sprintf("volume %s was left in the midst of %s", i.name, r.State),
		Remedy: b.byHand(i),
	}}
	switch {
	case r.State == removing && !i.trashed: // an earlier version died in it; what it holds may be wanted
		found.Remedy = fmt.Sprintf("if nothing needs it: `clonecache volume delete %s`", i.name)
	case r.State == writing && by != another:
		found.Recoverable, found.Remedy = true, "it is removed"
		found.recover = func(w *work) error { return b.removeStray(w, io, i) }
	}
	return found, nil
}

func (b *Backend) removeStray(w *work, io *rados.IOContext, i scanned) error {
	if !i.trashed {
		return b.removeVolume(w, backends.VolumeName(i.name), i.rbdID, true)
	}
	w.mayTake(removalTimeouts * b.config.Timeout)
	return ignore(removeTrashed(io, i.rbdID, true), syscall.ENOENT)
}

// straySnapshot is a snapshot by our name on an image that says nothing of us.
func (b *Backend) straySnapshot(w *work, i scanned) (stray, error) {
	var found stray
	err := lookInto(i.io(w.session), i.rbdID, func(image *rbd.Image) error {
		_, err := image.GetSnapID(snapshotName)
		if err != nil {
			return ignore(err, syscall.ENOENT)
		}
		remedy := fmt.Sprintf("`rbd snap rm %s@%s`", i.place(b.config), snapshotName)
		if i.trashed {
			remedy = fmt.Sprintf("`rbd snap rm --pool %s --namespace %q --image-id %s --snap %s`", i.pool, b.config.Namespace, i.rbdID, snapshotName)
		}
		found.Stray = backends.Stray{
			ID: backends.VolumeID(i.rbdID), Volume: backends.VolumeName(i.name),
			Detail: fmt.Sprintf("it has a snapshot %s, and does not say that it is an image-volume", snapshotName),
			Remedy: "if nothing needs it: " + remedy,
		}
		return nil
	})
	if errors.Is(err, backends.ErrNotExist) || is(err, syscall.EINVAL) {
		return stray{}, nil
	}
	return found, err
}

// byHand is the command by which a person removes it.
func (b *Backend) byHand(i scanned) string {
	command := "rbd rm " + i.place(b.config)
	if i.trashed {
		command = fmt.Sprintf("rbd trash rm --pool %s --namespace %q %s", i.pool, b.config.Namespace, i.rbdID)
	}
	return "look at it; if nothing needs it: `" + command + "`"
}

// Recover implements backends.DeepLister. Only what this installation has made is removed.
func (b *Backend) Recover(ctx context.Context, s backends.Stray) error {
	err := b.try(ctx, func(w *work) error { return b.recover(w, string(s.ID)) })
	if err != nil {
		return fmt.Errorf("recover %s: %w", s.Place, err)
	}
	return nil
}

func (b *Backend) recover(w *work, rbdID string) error {
	for _, i := range b.pools() {
		i.rbdID = rbdID
		there, err := i.find(w)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		leave, err := b.names.alone(w.ctx, i.name)
		if err != nil {
			return err
		}
		defer leave()
		found, err := b.examine(w, i)
		switch {
		case err != nil:
			return err
		case found.Detail == "":
			return fmt.Errorf("it is no stray: %w", backends.ErrNotExist)
		case found.recover == nil:
			return fmt.Errorf("%s: %w", found.Detail, backends.ErrNotOurs)
		}
		return found.recover(w)
	}
	return backends.ErrNotExist
}

// find completes what is known of an image by its RBD ID, and tells whether it is in the pool.
func (i *scanned) find(w *work) (bool, error) {
	io := i.io(w.session)
	var err error
	if i.name, err = nameOf(io, i.rbdID); err == nil || !is(err, syscall.ENOENT) {
		return err == nil, err
	}
	all, err := rbd.GetTrashList(io)
	for _, t := range all {
		if t.Id == i.rbdID {
			i.name, i.trashed = t.Name, true
		}
	}
	return i.trashed, err
}
