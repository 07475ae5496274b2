//go:build ceph

package rbd

import (
	"fmt"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// prefix begins the names of image-volumes; no volume may have it.
const prefix = "clonecache-"

// imageName is the RBD image of an image-volume.
func imageName(id backends.ImageVolumeID) string { return prefix + string(id) }

// maxName is what RBD takes, less what it puts before a name in an object's name, in bytes.
const maxName = 200

func checkID(id backends.ImageVolumeID) error {
	usable := func(r rune) bool {
		return r == '.' || r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if id == "" || len(id) > maxName-len(prefix) || strings.ContainsFunc(string(id), func(r rune) bool { return !usable(r) }) {
		return fmt.Errorf("image-volume %q: %w", id, backends.ErrBadName)
	}
	return nil
}

// CheckVolumeName implements backends.VolumeNamer.
func (*Backend) CheckVolumeName(name backends.VolumeName) error { return checkName(name) }

// checkName refuses what rbd's command line could not name, and the names of image-volumes.
func checkName(name backends.VolumeName) error {
	switch n := string(name); {
	case n == "", n == ".", n == "..":
		return fmt.Errorf("volume %q: %w", name, backends.ErrBadName)
	case len(n) > maxName:
		return fmt.Errorf("volume %q: longer than %d bytes: %w", name, maxName, backends.ErrBadName)
	case strings.ContainsAny(n, "/@\x00\n"):
		return fmt.Errorf("volume %q: '/', '@', NUL and newlines are not possible: %w", name, backends.ErrBadName)
	case strings.HasPrefix(n, prefix):
		return fmt.Errorf("volume %q: %q begins the names of image-volumes: %w", name, prefix, backends.ErrBadName)
	}
	return nil
}

// mostObjects is for how many objects Ceph keeps an object map. Larger images would take days to remove without one.
// Source: MAX_OBJECT_MAP_OBJECT_COUNT in Ceph's src/cls/rbd/cls_rbd_types.h.
const (
	mostObjects = 256_000_000
	objectBytes = 4 << 20 // the usual ones
)

// checkSpec refuses what cannot be a volume here.
func checkSpec(spec backends.VolumeSpec) error {
	if spec.SizeBytes <= 0 {
		return fmt.Errorf("size %d is not positive", spec.SizeBytes)
	}
	if spec.SizeBytes > mostObjects*objectBytes {
		return fmt.Errorf("%d bytes are asked for, an object map is for %d: %w", spec.SizeBytes, int64(mostObjects*objectBytes), backends.ErrTooLarge)
	}
	return checkName(spec.Name)
}

func onVolume(does string, name backends.VolumeName, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s volume %q: %w", does, name, err)
}

func onImage(does string, id backends.ImageVolumeID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s image-volume %s: %w", does, id, err)
}
