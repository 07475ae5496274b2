//go:build ceph

package rbd

import (
	"testing"

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
