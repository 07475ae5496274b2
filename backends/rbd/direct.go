//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

var _ backends.DirectCloner = (*Backend)(nil)

// location is where an image service says that an image lies: rbd://FSID/POOL/IMAGE/SNAPSHOT, each part
// escaped as in a URL's path, as Glance writes it (glance_store, _drivers/rbd.py).
type location struct {
	fsid, pool, image, snapshot string
}

func parseLocation(text string) (location, error) {
	path, ok := strings.CutPrefix(text, "rbd://")
	parts := strings.Split(path, "/")
	if !ok || len(parts) != 4 {
		return location{}, fmt.Errorf("location %q is not rbd://FSID/POOL/IMAGE/SNAPSHOT", text)
	}
	for i, p := range parts {
		plain, err := url.PathUnescape(p)
		if err != nil || plain == "" || strings.ContainsRune(plain, 0) {
			return location{}, fmt.Errorf("location %q: part %d is empty or wrongly escaped", text, i+1)
		}
		parts[i] = plain
	}
	return location{fsid: parts[0], pool: parts[1], image: parts[2], snapshot: parts[3]}, nil
}

// CanCloneDirect implements backends.DirectCloner: a location in this cluster.
func (b *Backend) CanCloneDirect(text string) bool {
	l, err := parseLocation(text)
	return err == nil && l.fsid == b.cluster()
}

// CloneDirect implements backends.DirectCloner. The user needs `profile rbd-read-only` on the image's pool.
func (b *Backend) CloneDirect(ctx context.Context, text string, spec backends.VolumeSpec) (backends.Volume, error) {
	spec = spec.Rounded()
	l, err := parseLocation(text)
	if err == nil && l.fsid != b.cluster() {
		err = fmt.Errorf("it is in another cluster than %s: %w", b.cluster(), backends.ErrNotExist)
	}
	if err == nil {
		err = checkSpec(spec)
	}
	var v backends.Volume
	if err == nil {
		v, err = do(ctx, b, func(w *work) (backends.Volume, error) { return b.cloneDirect(w, l, spec) })
	}
	if err != nil {
		return backends.Volume{}, fmt.Errorf("clone %s to volume %q: %w", text, spec.Name, err)
	}
	return v, nil
}

func (b *Backend) cloneDirect(w *work, l location, spec backends.VolumeSpec) (backends.Volume, error) {
	leave, err := b.names.alone(w.ctx, string(spec.Name))
	if err != nil {
		return backends.Volume{}, err
	}
	defer leave()
	p, err := b.directParent(w.session, l)
	if err != nil {
		return backends.Volume{}, err
	}
	defer p.io.Destroy()
	return b.cloneOf(w, p, spec, func() error { return b.cloneImage(w, p, spec) })
}

// directParent opens the pool and finds out how large the snapshot is. backends.ErrNotExist. The caller
// destroys its IOContext.
func (b *Backend) directParent(s *session, l location) (p parent, err error) {
	io, err := s.conn.OpenIOContext(l.pool)
	if err != nil {
		return parent{}, fmt.Errorf("open pool %s: %w", l.pool, b.directError(l, err))
	}
	defer func() {
		if err != nil {
			io.Destroy()
		}
	}()
	image, err := rbd.OpenImageReadOnly(io, l.image, l.snapshot)
	if err != nil {
		return parent{}, fmt.Errorf("open image %s/%s@%s: %w", l.pool, l.image, l.snapshot, b.directError(l, err))
	}
	size, err := image.GetSize()
	if err := errors.Join(err, image.Close()); err != nil {
		return parent{}, err
	}
	return parent{io: io, name: l.image, snapshot: l.snapshot, bytes: int64(size)}, nil
}

// directError says what keeps a location from being cloned.
func (b *Backend) directError(l location, err error) error {
	if code := errno(err); code == syscall.EPERM || code == syscall.EACCES {
		return fmt.Errorf("client.%s may not read pool %s, to it the image %w; give it `%s`",
			b.config.User, l.pool, backends.ErrNotExist, authLine(b.config, "profile rbd-read-only pool="+l.pool))
	}
	return err
}

// fromDirect tells whether an image's parent is what the volume was to be cloned from directly.
func (b *Backend) fromDirect(p *rbd.ParentInfo, spec backends.VolumeSpec) bool {
	l, err := parseLocation(spec.Origin.DirectFrom)
	return err == nil && l.fsid == b.cluster() && p.Image.PoolNamespace == "" &&
		p.Image.PoolName == l.pool && p.Image.ImageName == l.image && p.Snap.SnapName == l.snapshot
}
