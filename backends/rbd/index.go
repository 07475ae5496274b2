//go:build ceph

package rbd

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/backends"
)

// indexObject is the index of a pool's image-volumes. Its omap has a key for each image-volume, written
// before its image is made and removed after the image is gone, one for each client of the cluster
// that we were, and one for each volume that is being removed.
const indexObject = "clonecache.index"

const (
	imageKeys  = "image-volume/" // + ImageVolumeID
	clientKeys = "client/"       // + session.client
	// removalKeys are of volumes that are being removed, written before they go to the trash.
	removalKeys = "removal/" // + RBD ID
)

// indexed is what the index says of an image-volume.
type indexed struct {
	ID    backends.ImageVolumeID `json:"-"`
	RBDID string                 `json:"rbd_id,omitempty"` // empty until the image is made
	At    time.Time              `json:"at"`
	// Adopted is set where the image is the internal tenant's own volume, and is how it was called when it
	// was adopted. We never remove such an image.
	Adopted backends.VolumeName `json:"adopted,omitempty"`
}

// name is what the image-volume's image is called, unless somebody has renamed it.
func (e indexed) name() string {
	if e.Adopted != "" {
		return string(e.Adopted)
	}
	return imageName(e.ID)
}

// client is one client of the cluster that an installation was.
type client struct {
	Holder  string    `json:"holder"`
	At      time.Time `json:"at"`
	Process process   `json:"process,omitzero"`
	// Addresses are those by which the cluster can be told to shut it out; none where an earlier version noted it.
	Addresses []string `json:"addresses,omitempty"`
}

// readIndex reads the keys that begin with a prefix, without it. None where there is no index yet.
func readIndex[V any](io *rados.IOContext, prefix string) (map[string]V, error) {
	const atOnce = 512
	raw, err := io.GetAllOmapValues(indexObject, "", prefix, atOnce)
	if is(err, syscall.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	found := make(map[string]V, len(raw))
	for key, text := range raw {
		var v V
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, fmt.Errorf("index: %s: %w", key, err)
		}
		found[strings.TrimPrefix(key, prefix)] = v
	}
	return found, nil
}

// lookUp finds one image-volume in the index; backends.ErrNotExist.
func lookUp(io *rados.IOContext, id backends.ImageVolumeID) (indexed, error) {
	key := imageKeys + string(id)
	op := rados.CreateReadOp()
	defer op.Release()
	step := op.GetOmapValuesByKeys([]string{key})
	if err := ignore(op.Operate(io, indexObject, rados.OperationNoFlag), syscall.ENOENT); err != nil {
		return indexed{}, fmt.Errorf("read index: %w", err)
	}
	e := indexed{ID: id}
	kv, err := step.Next()
	if err != nil || kv == nil {
		return e, fmt.Errorf("not in the index: %w", backends.ErrNotExist)
	}
	if err := json.Unmarshal(kv.Value, &e); err != nil {
		return e, fmt.Errorf("index: %s: %w", key, err)
	}
	return e, nil
}

func writeIndex(io *rados.IOContext, key string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := io.SetOmap(indexObject, map[string][]byte{key: text}); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func dropFromIndex(io *rados.IOContext, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := ignore(io.RmOmapKeys(indexObject, keys), syscall.ENOENT); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}
