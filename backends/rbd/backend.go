//go:build ceph

package rbd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// Missing says why this build cannot open RBD; "" where it can.
const Missing = ""

// snapshotName is the one snapshot of each image-volume.
const snapshotName = "clonecache"

// removal is how many times Config.Timeout the removal of an image may take: it grows with its size.
const removal = 10

// Backend is a pool with volumes. It implements backends.Backend and backends.ImageVolumeReader, and may
// be used by several goroutines. Several processes and hosts may have one pool open at a time.
type Backend struct {
	config   Config
	info     backends.Info
	features uint64

	sessions sessions
	slots    chan struct{}  // one for each call that waits for the cluster
	running  sync.WaitGroup // calls that have a slot

	names  turns // of volumes
	images turns // of image-volumes: shared by clones, alone for what ends them

	mu     sync.Mutex
	closed bool
	stages map[backends.ImageVolumeID]*imageStage // open here
	known  map[backends.ImageVolumeID]parent      // committed, to be cloned without looking
	others map[string]bool                        // RBD IDs in the trash that are not ours
}

var (
	_ backends.Backend           = (*Backend)(nil)
	_ backends.ImageVolumeReader = (*Backend)(nil)
)

// Open connects to the cluster and makes sure that its user may do what is needed; errors name what is
// missing and the command that mends it. backends.ErrUnavailable: no mon answers.
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
		stages:   map[backends.ImageVolumeID]*imageStage{},
		known:    map[backends.ImageVolumeID]parent{},
		others:   map[string]bool{},
	}
	if err := b.try(ctx, func(*work) error { return nil }); err != nil {
		return nil, err
	}
	return b, nil
}

// clientsKept is how many of an installation's earlier clients stay in the index.
const clientsKept = 64

// register notes in the index which client of the cluster this installation is now, which proves that
// the user may write, before anything is made.
func (b *Backend) register(s *session) error {
	if err := s.mayRead(b.config); err != nil {
		return err
	}
	if err := s.hasNamespace(b.config); err != nil {
		return err
	}
	err := writeIndex(s.images, clientKeys+s.client, client{Holder: b.config.Holder, At: b.config.Now().UTC()})
	if err == nil {
		err = s.mayWrite()
	}
	if code := errno(err); code == syscall.EPERM || code == syscall.EACCES {
		return fmt.Errorf("client.%s may not write to pools %s and %s: %w; give it `%s`",
			b.config.User, b.config.Pool, b.config.ImageVolumePool, err, authLine(b.config))
	}
	if err != nil {
		return err
	}
	return b.forgetClients(s)
}

func (s *session) hasNamespace(c Config) error {
	if c.Namespace == "" {
		return nil
	}
	for _, io := range []*rados.IOContext{s.volumes, s.images} {
		there, err := rbd.NamespaceExists(io, c.Namespace)
		if err != nil {
			return fmt.Errorf("look for namespace %s: %w", c.Namespace, err)
		}
		if !there {
			return fmt.Errorf("there is no namespace %s; make it with `rbd namespace create`", c.Namespace)
		}
	}
	return nil
}

// mayWrite writes an object to the volumes' pool and removes it.
func (s *session) mayWrite() error {
	object := indexObject + ".probe." + s.client
	if err := s.volumes.Create(object, rados.CreateIdempotent); err != nil {
		return err
	}
	return s.volumes.Delete(object)
}

// forgetClients drops the oldest of this installation's clients from the index.
func (b *Backend) forgetClients(s *session) error {
	all, err := readIndex[client](s.images, clientKeys)
	if err != nil {
		return err
	}
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
