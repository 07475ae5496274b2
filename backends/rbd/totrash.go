//go:build ceph

package rbd

import (
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rbd"
)

// The cluster's own wish that images which somebody removes go to the trash, and for how long they are kept
// there, as `rbd rm` heeds it; a pool may have its own.
const (
	moveToTrash  = "rbd_move_to_trash_on_remove"
	trashExpires = "rbd_move_to_trash_on_remove_expire_seconds"
)

// toTrash tells whether a volume that somebody wants to go stays in the trash, and for how long.
func toTrash(w *work) (keeps bool, delay time.Duration, err error) {
	wish, err := w.option(moveToTrash)
	if err != nil {
		return false, 0, err
	}
	if keeps, err = strconv.ParseBool(wish); err != nil || !keeps {
		return false, 0, err
	}
	text, err := w.option(trashExpires)
	if err != nil {
		return true, 0, err
	}
	seconds, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return true, 0, fmt.Errorf("%s: %w", trashExpires, err)
	}
	return true, time.Duration(seconds) * time.Second, nil
}

// option is an option of librbd's, as the volumes' pool has it.
func (s *session) option(name string) (string, error) {
	own, err := rbd.GetPoolMetadata(s.volumes, "conf_"+name)
	if err == nil || !is(err, syscall.ENOENT) {
		return own, err
	}
	return s.conn.GetConfigOption(name)
}
