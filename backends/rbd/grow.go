//go:build ceph

package rbd

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// librbd's resize opens the image, takes its lock and tells its watchers: forty operations. An image that
// nobody has seen yet needs two of them: its object map grows, then the size in its header. Methods and
// encodings are those of Ceph's src/cls/rbd/cls_rbd_client.cc; the order is that of
// src/librbd/operation/ResizeRequest.cc.

const (
	objectMap = "rbd_object_map." // + ID

	headSnapshot = ^uint64(1) // CEPH_NOSNAP: the image itself
	nonexistent  = 0          // OBJECT_NONEXISTENT: what an object map says of an object that was never written
)

// growable are the features of images whose size is in the header and the object map alone. Each clone has
// FeatureOperations, which says that it is one.
const growable = rbd.FeatureLayering | rbd.FeatureStripingV2 | rbd.FeatureExclusiveLock | rbd.FeatureObjectMap |
	rbd.FeatureFastDiff | rbd.FeatureDeepFlatten | rbd.FeatureOperations

// growAndStamp makes an image that this process has just made, and nobody else has seen, size bytes long,
// and writes its record. It has its record only if it has its size.
func growAndStamp(w *work, rbdID string, size int64, r volumeRecord) error {
	h, err := headOf(w.volumes, rbdID)
	if err != nil {
		return err
	}
	if h.features&^growable != 0 { // such as journaling, which is told of each change
		if err := resize(w, rbdID, size); err != nil {
			return err
		}
		return writeRecord(w.volumes, rbdID, volumeKey, r)
	}
	if h.features&rbd.FeatureObjectMap != 0 {
		if err := growMap(w.volumes, rbdID, (uint64(size)+h.objectBytes-1)/h.objectBytes); err != nil {
			return err
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	op := rados.CreateWriteOp()
	defer op.Release()
	op.AssertExists()
	op.Exec("rbd", "set_size", binary.LittleEndian.AppendUint64(nil, uint64(size)))
	op.Exec("rbd", "metadata_set", encodeMetadata(volumeKey, string(text)))
	return op.Operate(w.volumes, headerObject+rbdID, rados.OperationNoFlag)
}

// growMap lets an image's object map cover that many objects.
func growMap(io *rados.IOContext, rbdID string, objects uint64) error {
	if objects > mostObjects {
		return fmt.Errorf("%d objects, and an object map is for %d: %w", objects, mostObjects, backends.ErrTooLarge)
	}
	op := rados.CreateWriteOp()
	defer op.Release()
	op.AssertExists()
	op.Exec("rbd", "object_map_resize", append(binary.LittleEndian.AppendUint64(nil, objects), nonexistent))
	return op.Operate(io, objectMap+rbdID, rados.OperationNoFlag)
}

// head is what an image's header says of its shape.
type head struct {
	objectBytes uint64
	features    uint64
}

func headOf(io *rados.IOContext, rbdID string) (head, error) {
	op := rados.CreateReadOp()
	defer op.Release()
	of := binary.LittleEndian.AppendUint64(nil, headSnapshot)
	size := op.Exec("rbd", "get_size", of)
	features := op.Exec("rbd", "get_features", append(of, 1)) // as for one that only reads
	if err := op.Operate(io, headerObject+rbdID, rados.OperationNoFlag); err != nil {
		return head{}, err
	}
	order, err := size.Bytes() // a byte, the logarithm of the objects' size, and the image's size
	if err != nil {
		return head{}, err
	}
	set, err := features.Bytes()
	if err != nil {
		return head{}, err
	}
	if len(order) < 9 || order[0] > 62 || len(set) < 8 {
		return head{}, errDecode
	}
	return head{objectBytes: 1 << order[0], features: binary.LittleEndian.Uint64(set)}, nil
}
