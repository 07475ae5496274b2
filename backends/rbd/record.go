//go:build ceph

package rbd

import (
	"encoding/json"
	"fmt"
	"syscall"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/backends"
)

// The keys of image metadata under which our records are. RBD copies metadata to clones and copies; a
// record counts only on the image whose RBD ID it names.
const (
	imageVolumeKey = "clonecache.image-volume"
	volumeKey      = "clonecache.volume"
)

// imageRecord is what an image-volume says of itself.
type imageRecord struct {
	RBDID       string                 `json:"rbd_id"`
	ID          backends.ImageVolumeID `json:"image_volume"`
	Adopted     backends.VolumeName    `json:"adopted,omitempty"` // as the image was called then
	HeldBytes   int64                  `json:"held_bytes"`
	Retired     bool                   `json:"retired,omitempty"`
	Description backends.Description   `json:"description"`
}

// volumeState is how far a volume has come.
type volumeState string

const (
	writing  volumeState = "writing"  // being written, or left by a process that died
	whole    volumeState = "whole"    //
	removing volumeState = "removing" // earlier versions wrote so; only a person may end such a removal
)

// volumeRecord is a volume's stamp.
type volumeRecord struct {
	RBDID     string          `json:"rbd_id"`
	State     volumeState     `json:"state"`
	SizeBytes int64           `json:"size_bytes"`
	Token     string          `json:"token"`
	Origin    backends.Origin `json:"origin"`
}

// readRecord reads a record of an image. backends.ErrNotOurs: it has none, or another image's.
func readRecord[R imageRecord | volumeRecord](io *rados.IOContext, rbdID, key string, namesIt func(R) string) (R, error) {
	var r, none R
	text, err := metadata(io, rbdID, key)
	if is(err, syscall.ENOENT) {
		return none, fmt.Errorf("image %s has no record: %w", rbdID, backends.ErrNotOurs)
	}
	if err != nil {
		return none, err
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return none, fmt.Errorf("%s of image %s: %w", key, rbdID, err)
	}
	if owner := namesIt(r); owner != rbdID {
		return none, fmt.Errorf("image %s has the record of image %s: %w", rbdID, owner, backends.ErrNotOurs)
	}
	return r, nil
}

func readImageRecord(io *rados.IOContext, rbdID string) (imageRecord, error) {
	return readRecord(io, rbdID, imageVolumeKey, func(r imageRecord) string { return r.RBDID })
}

func readVolumeRecord(io *rados.IOContext, rbdID string) (volumeRecord, error) {
	return readRecord(io, rbdID, volumeKey, func(r volumeRecord) string { return r.RBDID })
}

// writeRecord puts a record on an image. -ENOENT: the image is gone.
func writeRecord[R imageRecord | volumeRecord](io *rados.IOContext, rbdID, key string, r R) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return setMetadata(io, rbdID, key, string(text))
}

// dropRecord takes a record off an image that may be gone.
func dropRecord(io *rados.IOContext, rbdID, key string) error {
	return ignore(removeMetadata(io, rbdID, key), syscall.ENOENT)
}
