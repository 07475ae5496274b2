//go:build ceph

package rbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/backends"
)

var _ backends.Heir = (*Backend)(nil)

// Inherit implements backends.Heir. What the daemon's clients have made is found by the pool's own directory: librbd lists
// an image there before it makes anything else of it, also by its RBD ID, which begins with the client's number. So one
// range of keys is read for each client, and each image of it looked at, about one operation each.
//
// The clients are shut out of the cluster first, so that none goes on with what is removed. One that lives connects anew, and has
// another number then.
func (b *Backend) Inherit(ctx context.Context, from string) ([]backends.VolumeName, error) {
	var removed []backends.VolumeName
	clients, err := do(ctx, b, func(w *work) (map[string]client, error) { return b.shutOut(w, from) })
	if err == nil && len(clients) > 0 {
		if removed, err = b.inheritHalves(ctx, from, clients); err == nil {
			err = b.inheritRemovals(ctx, from)
		}
		if err == nil {
			err = b.try(ctx, func(w *work) error { return forget(w, clients) })
		}
	}
	if err != nil {
		return removed, fmt.Errorf("settle what daemon %s has left: %w", from, err)
	}
	return removed, nil
}

// shutOut shuts the clients of a daemon out of the cluster, and returns them. Every operation of the caller's that follows is after that.
func (b *Backend) shutOut(w *work, from string) (map[string]client, error) {
	if from == b.config.Holder {
		return nil, errors.New("it is this daemon itself")
	}
	all, err := readIndex[client](w.images, clientKeys)
	if err != nil {
		return nil, err
	}
	clients := make(map[string]client)
	for id, c := range all {
		if c.Holder != from {
			continue
		}
		clients[id] = c
		for _, address := range c.Addresses {
			if err := blocklist(w.session, address); err != nil {
				return nil, fmt.Errorf("shut out client %s: %w", id, err)
			}
		}
	}
	if len(clients) == 0 {
		return nil, nil
	}
	return clients, w.conn.WaitForLatestOSDMap()
}

// addresses are those by which this session can be shut out.
func (s *session) addresses() ([]string, error) {
	text, err := s.conn.GetAddrs()
	if err != nil || text == "" {
		return nil, err
	}
	return strings.Split(text, ","), nil
}

// inheritHalves removes what a daemon's clients have left half made. What cannot be removed yet is an error once the rest is.
func (b *Backend) inheritHalves(ctx context.Context, from string, clients map[string]client) ([]backends.VolumeName, error) {
	var removed []backends.VolumeName
	var errs []error
	for id := range clients {
		listed, err := do(ctx, b, func(w *work) ([]scanned, error) { return listedBy(w.volumes, id) })
		if err != nil {
			return removed, err
		}
		for some := range slices.Chunk(listed, atOnce) {
			for i, r := range together(some, func(i scanned) (bool, error) { return b.inheritOne(ctx, from, i) }) {
				if r.value {
					removed = append(removed, backends.VolumeName(some[i].name))
				}
				errs = append(errs, onVolume("settle", backends.VolumeName(some[i].name), r.err))
			}
			if err := ctx.Err(); err != nil {
				return removed, err
			}
		}
	}
	return removed, errors.Join(errs...)
}

// listedBy are the images of the pool's directory whose RBD IDs can be of a client.
func listedBy(io *rados.IOContext, client string) ([]scanned, error) {
	const atOnce, byID = 512, "id_"
	var found []scanned
	for _, beginning := range beginnings(client) {
		raw, err := io.GetAllOmapValues(directoryObject, "", byID+beginning, atOnce)
		if err = ignore(err, syscall.ENOENT); err != nil {
			return nil, fmt.Errorf("read the directory: %w", err)
		}
		for key, text := range raw {
			name, ok := decodeName(text)
			if !ok {
				return nil, fmt.Errorf("the directory has %q for %s", text, key)
			}
			found = append(found, scanned{name: name, rbdID: strings.TrimPrefix(key, byID)})
		}
	}
	slices.SortFunc(found, func(x, y scanned) int { return strings.Compare(x.rbdID, y.rbdID) })
	return slices.CompactFunc(found, func(x, y scanned) bool { return x.rbdID == y.rbdID }), nil
}

// beginnings are how RBD IDs of a client can begin: with its number, or with what is left of that where the ID was cut.
func beginnings(client string) []string {
	var all []string
	for digits := 1; digits <= randomDigits; digits++ {
		all = append(all, client[max(0, len(client)+digits-idDigits):])
	}
	return slices.Compact(all)
}

// decodeName decodes a string as Ceph encodes it: its length in 4 bytes, little endian, and itself.
func decodeName(text []byte) (string, bool) {
	if len(text) < 4 || int(binary.LittleEndian.Uint32(text)) != len(text)-4 {
		return "", false
	}
	return string(text[4:]), true
}

// inheritOne removes an image of the directory if a daemon that is gone has left it half made.
func (b *Backend) inheritOne(ctx context.Context, from string, i scanned) (bool, error) {
	if strings.HasPrefix(i.name, prefix) { // an image-volume: the index has it
		return false, nil
	}
	return do(ctx, b, func(w *work) (bool, error) {
		r, err := readVolumeRecord(w.volumes, i.rbdID)
		if err == nil && r.State != writing || err != nil && !errors.Is(err, backends.ErrNotOurs) {
			return false, err // whole, or being removed; or not to be told
		}
		by, err := b.makerAmong(w.session, i.rbdID, from)
		if err != nil || by == another {
			return false, err
		}
		leave, err := b.names.alone(w.ctx, i.name)
		if err != nil {
			return false, err
		}
		defer leave()
		if half, err := b.leftHalf(w, i.rbdID, by); err != nil || !half {
			return false, err
		}
		if err := b.strangersAway(w, i.rbdID, from); err != nil {
			return false, ignoreInUse(err)
		}
		return true, notYet(b.removeVolume(w, backends.VolumeName(i.name), i.rbdID, true))
	})
}

// leftHalf tells whether an image that is not whole by any record was left by a client that is shut out.
func (b *Backend) leftHalf(w *work, rbdID string, by maker) (bool, error) {
	r, err := readVolumeRecord(w.volumes, rbdID)
	switch {
	case err == nil:
		return r.State == writing && by == own, nil
	case !errors.Is(err, backends.ErrNotOurs):
		return false, err
	}
	l, err := b.lookAt(w.session, rbdID, backends.VolumeSpec{})
	switch {
	case err != nil || l == touched:
		return false, err
	case by == own:
		return true, nil
	case l != unopenable && l != cloned: // blank, or somebody else's clone
		return false, nil
	}
	return true, b.perhapsOurs(rbdID, false)
}

// inheritRemovals ends the removals that a daemon had begun.
func (b *Backend) inheritRemovals(ctx context.Context, from string) error {
	all, err := do(ctx, b, func(w *work) (map[string]removal, error) { return readIndex[removal](w.images, removalKeys) })
	if err != nil {
		return fmt.Errorf("read removals: %w", err)
	}
	var errs []error
	for rbdID, r := range all {
		if r.Holder == from {
			errs = append(errs, onVolume("end the removal of", r.Name, b.try(ctx, func(w *work) error { return b.endOne(w, rbdID) })))
		}
	}
	return errors.Join(errs...)
}

// forget drops clients from the index: nothing of theirs is half made any more.
func forget(w *work, clients map[string]client) error {
	var keys []string
	for id := range clients {
		keys = append(keys, clientKeys+id)
	}
	return dropFromIndex(w.images, keys...)
}

// ignoreInUse leaves to who has it what somebody has open.
func ignoreInUse(err error) error {
	if errors.Is(err, backends.ErrInUse) {
		return nil
	}
	return err
}
