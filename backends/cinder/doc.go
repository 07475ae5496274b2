// Package cinder is a backend whose volumes are Cinder's, on whichever driver: Cinder fills the image-volumes by itself, and
// clones are made by Cinder's own driver, inside cinder-volume, from an image-volume that was lent (Lender).
//
// It speaks to Cinder's API as an ordinary member of the internal tenant's project, and never touches the storage. All
// that it knows stands in the metadata of volumes: an image-volume is one or several volumes, its generations, which bear
// its ID and the ID of the catalog that it belongs to. A volume without that metadata is never touched, nor is one of
// another catalog. After a crash the metadata says what there is. Who owns image-volumes, and makes their
// volumes, is the internal tenant; the backend adopts these.
package cinder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/clonecache/clonecache/backends"
)

// Account is whom Cinder knows the image-volumes' owner as; *keystone.Account is one.
type Account interface {
	// Cinder is the block storage service, with a token that is valid now.
	Cinder(ctx context.Context) (*gophercloud.ServiceClient, error)
	// Project is the ID of the account's project.
	Project(ctx context.Context) (string, error)
}

// Across says between which places the driver clones.
type Across string

const (
	// WithinPool: an image-volume is lent for volumes in its own pool alone.
	WithinPool Across = "pool"
	// WithinBackend: for all volumes of its host@backend.
	WithinBackend Across = "backend"
)

// Config says which of Cinder's backends it is. Account and VolumeType are required.
type Config struct {
	Name       backends.Name
	Account    Account
	VolumeType string // name of the type whose volumes land on this backend and on no other
	Across     Across // default: WithinPool
	// MaxClones is how many clones the driver makes of one volume; 0: it says so itself.
	MaxClones int
	// AgainAfter is how long a full generation is not lent: clones are deleted, and nobody tells. Default 10 minutes.
	AgainAfter time.Duration
	// FillTime is how long Cinder may take to fill a volume with an image. Default 1 hour.
	FillTime time.Duration
	// Patience is how long it may take to clone, or to remove, a volume. Default 5 minutes.
	Patience time.Duration
	// Pause is how long to wait between two looks at a volume. Default half a second.
	Pause time.Duration
	Now   func() time.Time // default: time.Now
}

// Backend is a backends.Backend. It may be used from several goroutines.
type Backend struct {
	c       Config
	catalog atomic.Pointer[backends.CatalogID] // whose volumes are ours; nil: nobody said yet
	typeID  atomic.Pointer[typeID]             // of VolumeType; nil: nobody has asked yet
	shelf   shelf
}

var (
	_ backends.Backend           = (*Backend)(nil)
	_ backends.Adopter           = (*Backend)(nil)
	_ backends.Filler            = (*Backend)(nil)
	_ backends.Lender            = (*Backend)(nil)
	_ backends.Offerer           = (*Backend)(nil)
	_ backends.ImageVolumeStater = (*Backend)(nil)
)

// Open checks the configuration. It asks nobody anything yet: Cinder may be down.
func Open(c Config) (*Backend, error) {
	if c.Account == nil || c.VolumeType == "" {
		return nil, errors.New("backend cinder: an account and a volume type are needed")
	}
	defaultTo(&c.Across, WithinPool)
	defaultTo(&c.AgainAfter, 10*time.Minute)
	defaultTo(&c.FillTime, time.Hour)
	defaultTo(&c.Patience, 5*time.Minute)
	defaultTo(&c.Pause, 500*time.Millisecond)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Across != WithinPool && c.Across != WithinBackend {
		return nil, fmt.Errorf("backend cinder: across %q is neither pool nor backend", c.Across)
	}
	return &Backend{c: c, shelf: shelf{known: make(map[backends.ImageVolumeID]*family)}}, nil
}

func defaultTo[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// Info implements backends.Store. Whether a clone shares blocks is the driver's business: nothing depends on an
// image-volume as far as anybody here can tell.
func (b *Backend) Info() backends.Info {
	return backends.Info{Kind: "cinder", Location: "volume type " + b.c.VolumeType, CanClone: true, CloneMethod: "driver", IndependentClones: true, EqualNames: true}
}

// CanAdopt implements backends.Adopter.
func (*Backend) CanAdopt() bool { return true }

// Close implements backends.Store. There is nothing to close.
func (*Backend) Close() error { return nil }

// Capacity implements backends.Store. A member of a project is not told it.
func (*Backend) Capacity(context.Context) (backends.Capacity, error) { return backends.Capacity{}, nil }

// Identify implements backends.Belonging: the store is the project's volumes of that type, whatever the type is called by then.
func (b *Backend) Identify(ctx context.Context) (backends.Identity, error) {
	project, err := b.c.Account.Project(ctx)
	if err != nil {
		return backends.Identity{}, fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	}
	kind, err := b.kind(ctx)
	if err != nil {
		return backends.Identity{}, err
	}
	of := "cinder:" + project + ":"
	return backends.Identity{ID: backends.StoreID(of + string(kind)), Former: backends.StoreID(of + b.c.VolumeType)}, nil
}

// HoldFor implements backends.Belonging. Each volume says which catalog it belongs to, so that several installations
// may use one project and type: none sees what is another's.
func (b *Backend) HoldFor(_ context.Context, h backends.Holder) error {
	b.catalog.Store(&h.Catalog)
	return nil
}

// TakeOver implements backends.Belonging. There is no former holder to name.
func (b *Backend) TakeOver(ctx context.Context, h backends.Holder) (backends.Holder, error) {
	return backends.Holder{}, b.HoldFor(ctx, h)
}

// shelf is what is known of image-volumes without asking Cinder.
type shelf struct {
	mu    sync.Mutex
	known map[backends.ImageVolumeID]*family
}
