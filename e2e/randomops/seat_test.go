package randomops

import (
	"context"
	"path/filepath"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// seat is a host's own part where several share images, backend and catalog.
type seat struct {
	name    string
	backend backends.Backend
	catalog catalog.Access
}

// unhurried is a lease that a host keeps, however slow the machine is: none is taken over here but from one that was killed.
const unhurried = 5 * time.Minute

// openSeat opens a plugin of several. Its bounds are the same on each host.
func (w *world) openSeat(ctx context.Context) (err error) {
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: filepath.Join(w.dir, "images")})
	if err != nil {
		return err
	}
	w.backend = w.host.backend
	w.Plugin, err = plugin.Open(ctx, plugin.Config{
		StateDir: filepath.Join(w.dir, w.host.name), Host: w.host.name, Catalog: w.host.catalog,
		Backends: []plugin.BackendConfig{{
			Name: "local", Backend: w.backend, KeepForQuota: true,
			Bounds: lru.Bounds{MaxBytes: w.set.MaxBytes, MaxCount: w.set.MaxCount},
		}},
		Sources:  []imagesource.Source{library},
		LeaseFor: unhurried,
		NewOwner: w.owner,
		Now:      w.now,
	})
	return err
}
