//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// A process that was stopped, or whose machine was, has its image-volume removed by another host meanwhile: the OSDs do not
// know it as a watcher any more. It goes on where it was, and what it writes before it notices makes data objects anew, of
// an image that is gone. RBD knows of no such objects, and nothing lists them; so who has written them removes them.

// dataPlace is where the data objects of an image lie.
type dataPlace struct {
	pool   string
	prefix string // of their names
	bytes  int64  // of the image in each
}

// placeOf is an open image's. It asks no OSD.
func placeOf(w *work, image *rbd.Image) (dataPlace, error) {
	info, err := image.Stat()
	if err != nil {
		return dataPlace{}, err
	}
	id, err := image.GetDataPoolID()
	if err != nil {
		return dataPlace{}, err
	}
	pool, err := w.conn.GetPoolByID(id)
	return dataPlace{pool: pool, prefix: info.Block_name_prefix, bytes: int64(info.Obj_size)}, err
}

// objectsOf are the names of the objects with a piece of the image.
func (p dataPlace) objectsOf(number int64) []string {
	var all []string
	for at := number * piece / p.bytes; at*p.bytes < (number+1)*piece; at++ {
		all = append(all, fmt.Sprintf("%s.%016x", p.prefix, at))
	}
	return all
}

// removeLate removes what was written after somebody else had removed the image, if anybody has. The image is closed and
// its turn held alone. It costs two operations where the image is there, and one for each object written where it is not.
func (st *imageStage) removeLate(w *work) error {
	_, err := locate(w.images, st.indexed)
	if !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	if _, err := w.images.Stat(headerObject + st.RBDID); !is(err, syscall.ENOENT) {
		return err
	}
	if !st.handle.isClosed() {
		return fmt.Errorf("image %s, which is gone, is still being written: %w", st.RBDID, backends.ErrUnavailable)
	}
	data, err := w.pool(st.b.config, st.data.pool)
	if err != nil {
		return err
	}
	defer data.Destroy()
	w.mayTake(removalTimeouts * st.b.config.Timeout)
	return st.removeObjects(data)
}

func (st *imageStage) removeObjects(data *rados.IOContext) error {
	var errs []error
	for some := range slices.Chunk(st.sent(), atOnce) {
		for _, r := range together(some, func(number int64) (struct{}, error) {
			var errs []error
			for _, object := range st.data.objectsOf(number) {
				errs = append(errs, ignore(data.Delete(object), syscall.ENOENT))
			}
			return struct{}{}, errors.Join(errs...)
		}) {
			errs = append(errs, r.err)
		}
	}
	return errors.Join(errs...)
}
