//go:build ceph

package rbd

/*
#cgo LDFLAGS: -lrados
#include <rados/librados.h>
*/
import "C"

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"syscall"

	"github.com/ceph/go-ceph/rados"
)

// A snapshot's ID comes from the mons, which commit at most once in a second (paxos_propose_interval), and
// librbd asks for it while the image waits. The image of a stage has neither snapshots nor another writer,
// so its ID may as well be asked for while it is being written: an ID means only that it is greater than
// those before it, and it has no effect until the header names it. One that no header ever names costs
// the cluster nothing.

// snapshotID is the ID of a snapshot that is still to be made.
type snapshotID struct {
	came chan struct{} // closed once id and err are there
	id   uint64
	err  error
}

// askSnapshotID asks the mons for the ID of a snapshot in io's pool. Close waits for their answer.
func (b *Backend) askSnapshotID(io *rados.IOContext) *snapshotID {
	s := &snapshotID{came: make(chan struct{})}
	if s.err = b.enter(); s.err != nil {
		close(s.came)
		return s
	}
	go func() {
		defer b.running.Done()
		defer close(s.came)
		s.id, s.err = newSnapshotID(io)
	}()
	return s
}

// wait returns the ID. A call that waits too long is given up as others are, see do.
func (s *snapshotID) wait() (uint64, error) {
	<-s.came
	return s.id, s.err
}

func newSnapshotID(io *rados.IOContext) (uint64, error) {
	var id C.rados_snap_t
	if code := C.rados_ioctx_selfmanaged_snap_create(C.rados_ioctx_t(io.Pointer()), &id); code < 0 {
		return 0, answer(code)
	}
	return uint64(id), nil
}

// answer is a negative number that librados answered with.
type answer int

// Error says what the number means.
func (a answer) Error() string {
	return fmt.Sprintf("rados: ret=%d, %v", a.ErrorCode(), syscall.Errno(-a))
}

// ErrorCode is the number, as go-ceph's errors have it.
func (a answer) ErrorCode() int { return int(a) }

// writeRecordAndSnapshot makes the one snapshot of an image that has FeatureLayering alone, and writes its
// record: both or neither. -EEXIST, -ESTALE: it has a snapshot already. Nobody is told: whoever has the image
// open sees the snapshot when he opens it anew.
//
// The method and its input are those of Ceph's src/cls/rbd/cls_rbd_client.cc, snapshot_add: name, ID, and
// the namespace of snapshots that users make.
func writeRecordAndSnapshot(io *rados.IOContext, rbdID string, r imageRecord, snapshot uint64) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	op := rados.CreateWriteOp()
	defer op.Release()
	op.AssertExists()
	op.Exec("rbd", "metadata_set", encodeMetadata(imageVolumeKey, string(text)))
	op.Exec("rbd", "snapshot_add", append(binary.LittleEndian.AppendUint64(encodeString(snapshotName), snapshot), userSnapshots...))
	return op.Operate(io, headerObject+rbdID, rados.OperationNoFlag)
}

// userSnapshots is Ceph's encoding of the namespace of snapshots that users make: version 1, readable by
// version 1, 4 bytes long, number 0.
var userSnapshots = []byte{1, 1, 4, 0, 0, 0, 0, 0, 0, 0}
