//go:build ceph

package rbd

import (
	"errors"
	"syscall"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
)

func TestContract(t *testing.T) {
	backendtest.Run(t, func(tb testing.TB) backends.Backend { return openBackend(tb, config(tb)) })
}

func TestContractInOnePool(t *testing.T) {
	backendtest.Run(t, func(tb testing.TB) backends.Backend {
		c := config(tb)
		c.ImageVolumePool = c.Pool
		c.Features = []string{"layering"}
		return openBackend(tb, c)
	})
}

func TestContractWithoutNamespace(t *testing.T) {
	backendtest.Run(t, func(tb testing.TB) backends.Backend {
		c := config(tb)
		c.Namespace = ""
		tb.Cleanup(func() {
			for _, pool := range []string{c.Pool, c.ImageVolumePool} {
				wipePool(tb, admin(tb, pool, ""))
			}
		})
		return openBackend(tb, c)
	})
}

func TestStoreContract(t *testing.T) {
	backendtest.RunStore(t, func(tb testing.TB) backends.Store { return openBackend(tb, config(tb)) })
}

// wipePool removes all images of a pool that only one test uses, clones before their parents.
func wipePool(tb testing.TB, io *rados.IOContext) {
	tb.Helper()
	names, err := rbd.GetImageNames(io)
	for _, name := range names {
		image, err := rbd.OpenImage(io, name, rbd.NoSnapshot)
		if err == nil {
			err = errors.Join(ignore(image.GetSnapshot(snapshotName).Remove(), syscall.ENOENT), image.Close())
		}
		if err == nil {
			err = rbd.GetImage(io, name).Trash(0)
		}
		if err != nil {
			tb.Error(err)
		}
	}
	all, errTrash := rbd.GetTrashList(io)
	if err := errors.Join(err, errTrash); err != nil {
		tb.Error(err)
	}
	for _, t := range all {
		if err := rbd.TrashRemove(io, t.Id, true); err != nil {
			tb.Error(err)
		}
	}
	for _, object := range []string{indexObject, holderObject} {
		if err := ignore(io.Delete(object), syscall.ENOENT); err != nil {
			tb.Error(err)
		}
	}
}
