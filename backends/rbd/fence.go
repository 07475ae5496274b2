//go:build ceph

package rbd

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// withoutDead is nil for an image that nobody has open any more, once what dead clients of this installation watch on it
// is ended: a client that is shut out is missed as soon as the OSDs have the map that says so, and one that they have
// forgotten about at the second look. What others watch stays, and so does what cannot be ended: it is waited for.
// backends.ErrInUse.
func (b *Backend) withoutDead(w *work, io *rados.IOContext, rbdID string) error {
	err := lookInto(io, rbdID, unwatched)
	for range 2 {
		if !errors.Is(err, backends.ErrInUse) {
			return err
		}
		ended, cannot := b.endDeadWatches(w, io, rbdID)
		if cannot != nil && b.config.Log != nil {
			b.config.Log.WithField("backend", b.config.Name).WithError(cannot).Warnf("a dead client's watch of image %s is not ended; it is waited for", rbdID)
		}
		if !ended {
			return err
		}
		err = lookInto(io, rbdID, unwatched)
	}
	return err
}

// endDeadWatches tells whether there were any.
func (b *Backend) endDeadWatches(w *work, io *rados.IOContext, rbdID string) (ended bool, err error) {
	var watchers []rbd.ImageWatcher
	err = lookInto(io, rbdID, func(image *rbd.Image) (err error) {
		watchers, err = image.ListWatchers()
		return err
	})
	if err != nil || len(watchers) == 0 {
		return false, ignore(err, syscall.EINVAL)
	}
	clients, err := readIndex[client](w.images, clientKeys)
	if err != nil {
		return false, err
	}
	return b.fenceDead(w.session, io, rbdID, watchers, clients)
}

// fenceDead shuts out those of an image's watchers that are clients of this installation and whose processes are
// gone, and tells whether there were any. One that is shut out and still watches is one that the OSD has forgotten
// about. What is asked of the OSDs afterwards they answer with the map that says so.
func (b *Backend) fenceDead(s *session, io *rados.IOContext, rbdID string, watchers []rbd.ImageWatcher, clients map[string]client) (ended bool, err error) {
	forgotten := false
	for _, c := range watchers {
		known := clients[strconv.FormatInt(c.Id, 16)]
		if known.Holder != b.config.Holder || !known.Process.gone() {
			continue
		}
		before, err := b.fence(s, c.Addr)
		if err != nil {
			return ended, err
		}
		ended, forgotten = true, forgotten || before
	}
	if forgotten {
		err = b.displace(s, io, headerObject+rbdID)
	}
	if ended && err == nil {
		err = s.conn.WaitForLatestOSDMap()
	}
	return ended, err
}

// displaced is how many objects take the place of another one in an OSD's memory: more than an OSD keeps of each
// placement group (osd_pg_object_context_cache_count, 64 by default).
const displaced = 96

// displace has the OSD drop from its memory what it keeps there of an object. It reads the object again when it is
// next asked for, and ends the watches of clients that are shut out.
//
// It does not end them before. An OSD that carries out a watch whose client's connection has just ended notes the
// watch with the object, and keeps nothing that would let it expire, or end when the client is shut out (Ceph 16:
// do_osd_op_effects returns where there is no session, check_blocklisted_obc_watchers and the timeouts go by
// obc->watchers, and populate_obc_watchers fills that when the object is read). What takes the object's place is
// objects of the same placement group that there are none of: removing a key from each of them fails, and leaves nothing.
func (b *Backend) displace(s *session, io *rados.IOContext, object string) error {
	beside, err := b.besides(s, io, object)
	if err != nil {
		return fmt.Errorf("open placement group of %s: %w", object, err)
	}
	defer beside.Destroy()
	var all []string
	for n := range displaced {
		all = append(all, fmt.Sprintf("clonecache.none.%d", n))
	}
	var errs []error
	for some := range slices.Chunk(all, atOnce) {
		for _, r := range together(some, func(none string) (struct{}, error) { return struct{}{}, beside.RmOmapKeys(none, []string{"none"}) }) {
			errs = append(errs, ignore(r.err, syscall.ENOENT))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("displace %s in its OSD's memory: %w", object, err)
	}
	return nil
}

// besides is an image's pool, in which every object lies in the placement group of the one that is named.
func (b *Backend) besides(s *session, io *rados.IOContext, object string) (*rados.IOContext, error) {
	name, err := io.GetPoolName()
	if err != nil {
		return nil, err
	}
	beside, err := s.pool(b.config, name)
	if err == nil {
		beside.SetLocator(object)
	}
	return beside, err
}

// fence has the cluster shut out a client of ours whose process is gone. An OSD that was told to watch while the
// process died may keep its watch for ever, and nothing that is watched can be removed; librbd does the same to
// the dead owner of an image's lock. address is the client's as ListWatchers tells it; it is never given again.
// The mons forget it after an hour. before tells that it had been shut out already.
func (b *Backend) fence(s *session, address string) (before bool, err error) {
	b.mu.Lock()
	before = b.fenced[address]
	b.mu.Unlock()
	if before {
		return true, nil
	}
	if err := blocklist(s, address); err != nil {
		return false, fmt.Errorf("shut out client %s, whose process is gone: %w", address, err)
	}
	b.mu.Lock() // now, and not before: who asks meanwhile would take a client that is still let in for one that the OSD has forgotten
	b.fenced[address] = true
	b.mu.Unlock()
	return false, nil
}

// shutOutMaker shuts out the clients of other daemons that can have made an image which is half made. One that was stopped in it
// goes on with librbd's next step, whatever has become of the steps before, and would make objects of an image that is gone,
// which nothing lists any more. It connects anew then. Where it cannot be done, the image goes all the same.
func (b *Backend) shutOutMaker(w *work, rbdID string) {
	if err := b.shutOutAny(w, rbdID); err != nil && b.config.Log != nil {
		b.config.Log.WithField("backend", b.config.Name).WithError(err).Warnf("who makes image %s is not shut out; it may leave objects if it goes on", rbdID)
	}
}

func (b *Backend) shutOutAny(w *work, rbdID string) error {
	by, err := b.maker(w.session, rbdID)
	if err != nil || by != another {
		return err
	}
	clients, err := readIndex[client](w.images, clientKeys)
	if err != nil {
		return err
	}
	for id, c := range clients {
		if makerOf(rbdID, farthestClient, func(client string) bool { return client == id }) == another {
			continue
		}
		for _, address := range c.Addresses {
			if err := blocklist(w.session, address); err != nil {
				return fmt.Errorf("shut out client %s: %w", id, err)
			}
		}
	}
	return w.conn.WaitForLatestOSDMap()
}

func blocklist(s *session, address string) error {
	command, err := json.Marshal(map[string]string{"prefix": "osd blocklist", "blocklistop": "add", "addr": address})
	if err != nil {
		return err
	}
	_, _, err = s.conn.MonCommand(command)
	return err
}
