//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// Missing says why this build cannot open RBD; "" where it can.
const Missing = ""

// snapshotName is the one snapshot of each image-volume.
const snapshotName = "clonecache"

// removalTimeouts is how many times Config.Timeout the removal of an image may take: it grows with its size.
const removalTimeouts = 10

// flattens is how many flattens run at once: each moves data as fast as it can.
const flattens = 2

// Backend is a pool with volumes. It implements backends.Backend and backends.ImageVolumeReader, and may
// be used by several goroutines. Several processes and hosts may have one pool open at a time.
type Backend struct {
	config   Config
	info     backends.Info
	features uint64

	sessions sessions
	slots    chan struct{}  // one for each call that waits for the cluster
	running  sync.WaitGroup // calls that have a slot, and flattens

	flattening chan struct{} // one for each flatten
	closing    chan struct{} // closed by Close

	names  turns // of volumes
	images turns // of image-volumes: shared by clones, alone for what ends them

	mu     sync.Mutex
	closed bool
	fsid   string                                 // the cluster's; "" until it has answered
	stages map[backends.ImageVolumeID]*imageStage // open here
	known  map[backends.ImageVolumeID]parent      // committed, to be cloned without looking
	others map[string]bool                        // RBD IDs in the trash that are not ours
	fenced map[string]bool                        // addresses of dead clients that are shut out
	// unopened are RBD IDs of what was half made by perhaps another client, and since when that is known.
	unopened map[string]time.Time
}

var (
	_ backends.Backend           = (*Backend)(nil)
	_ backends.ImageVolumeReader = (*Backend)(nil)
)

// Open connects to the cluster and makes sure that its user may do what is needed; errors name what is
// missing and the command that mends it. backends.ErrUnavailable: the cluster does not answer (but see
// Config.Later).
func Open(ctx context.Context, c Config) (backends.Backend, error) {
	b, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open rbd backend %s: %w", c.Name, err)
	}
	return b, nil
}

func open(ctx context.Context, c Config) (*Backend, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	b := &Backend{
		config: c,
		info: backends.Info{
			Kind: kind, Location: c.location(), CanClone: true, CloneMethod: "rbd-v2",
		},
		features: uint64(rbd.FeatureSetFromNames(c.Features)),
		slots:    make(chan struct{}, c.Calls),

		flattening: make(chan struct{}, flattens),
		closing:    make(chan struct{}),

		stages: map[backends.ImageVolumeID]*imageStage{},
		known:  map[backends.ImageVolumeID]parent{},
		others: map[string]bool{},
		fenced: map[string]bool{},

		unopened: map[string]time.Time{},
	}
	err = b.try(ctx, func(*work) error { return nil })
	if c.Later && errors.Is(err, backends.ErrUnavailable) && ctx.Err() == nil {
		if c.Log != nil {
			c.Log.WithField("backend", c.Name).WithError(err).Error("the cluster does not answer; trying again with each call")
		}
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// cluster is the fsid of the cluster that was last connected to; "" before the first time.
func (b *Backend) cluster() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fsid
}

// clientsKept is how many of an installation's earlier clients stay in the index.
const clientsKept = 64

// register notes in the index which client of the cluster this installation is now.
func (b *Backend) register(s *session) error {
	if err := s.ready(b.config); err != nil {
		return err
	}
	for _, io := range []*rados.IOContext{s.volumes, s.images} {
		if err := haveTrash(io); err != nil {
			return err
		}
	}
	addresses, err := s.addresses()
	if err != nil {
		return err
	}
	self := client{Holder: b.config.Holder, At: b.config.Now().UTC(), Process: thisProcess(), Addresses: addresses}
	if err := writeIndex(s.images, clientKeys+s.client, self); err != nil {
		return err
	}
	all, err := readIndex[client](s.images, clientKeys)
	if err != nil {
		return err
	}
	if err := b.renameClients(s, all); err != nil {
		return err
	}
	return b.forgetClients(s, all)
}

// renameClients makes the clients that older versions noted this daemon's.
func (b *Backend) renameClients(s *session, all map[string]client) error {
	for id, c := range all {
		if c.Holder == b.config.Holder || !slices.Contains(b.config.Formerly, c.Holder) {
			continue
		}
		c.Holder = b.config.Holder
		if err := writeIndex(s.images, clientKeys+id, c); err != nil {
			return err
		}
		all[id] = c
	}
	return nil
}

// forgetClients drops the oldest of this installation's clients from the index.
func (b *Backend) forgetClients(s *session, all map[string]client) error {
	var own []string
	for id, c := range all {
		if c.Holder == b.config.Holder {
			own = append(own, id)
		}
	}
	slices.SortFunc(own, func(x, y string) int { return all[y].At.Compare(all[x].At) })
	var keys []string
	for _, id := range own[min(clientsKept, len(own)):] {
		keys = append(keys, clientKeys+id)
	}
	return dropFromIndex(s.images, keys...)
}

// Info implements backends.Store.
func (b *Backend) Info() backends.Info { return b.info }

// Close implements backends.Store. Stages that are open stay as they are, as after a crash. Calls that
// the cluster does not answer are waited for up to Config.Timeout; then the connection is left to end
// with the process.
func (b *Backend) Close() error {
	b.mu.Lock()
	wasClosed := b.closed
	b.closed = true
	open := make([]*imageStage, 0, len(b.stages))
	for _, st := range b.stages {
		open = append(open, st)
	}
	b.mu.Unlock()
	if wasClosed {
		return nil
	}
	close(b.closing)
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		b.running.Wait()
		for _, st := range open {
			st.handle.close()
		}
		b.sessions.close()
	}()
	timer := time.NewTimer(b.config.Timeout)
	defer timer.Stop()
	select {
	case <-idle:
		return nil
	case <-timer.C:
		return fmt.Errorf("close rbd backend %s: %w: calls are not answered", b.config.Name, backends.ErrUnavailable)
	}
}

// Capacity implements backends.Store: what the pool holds and can still take, after replication, as the
// mgr counts. Without a mgr it is unknown.
func (b *Backend) Capacity(ctx context.Context) (backends.Capacity, error) {
	c, err := do(ctx, b, func(w *work) (backends.Capacity, error) { return poolCapacity(w.conn, b.config.ImageVolumePool) })
	if err != nil {
		return c, fmt.Errorf("capacity of pool %s: %w", b.config.ImageVolumePool, err)
	}
	return c, nil
}
