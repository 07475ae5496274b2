//go:build ceph

package cephproof

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/e2e/harness"
)

// image is an RBD image as the cluster has it.
type image struct {
	id        string
	name      string // in the trash: as it was called before
	trashed   bool
	broken    error // it cannot be opened
	size      int64
	parent    string   // RBD ID; "": none
	children  []string // RBD IDs
	snapshots []string

	// What clonecache says of it; empty where it says nothing, or says it of another image.
	volume      volumeRecord
	imageVolume imageRecord
}

// volumeRecord and imageRecord are what clonecache stores with an image (docs/ceph.md).
type volumeRecord struct {
	RBDID     string `json:"rbd_id"`
	State     string `json:"state"`
	SizeBytes int64  `json:"size_bytes"`
	Origin    struct {
		Store   string `json:"store"`
		ImageID string `json:"image_id"`
	} `json:"origin"`
}

type imageRecord struct {
	RBDID       string `json:"rbd_id"`
	ID          string `json:"image_volume"`
	Description struct {
		ImageIDs []string `json:"image_ids"`
	} `json:"description"`
}

// look finds all images of a pool by RBD ID, those in the trash too.
func look(tb testing.TB, p pool) map[string]image {
	tb.Helper()
	found := make(map[string]image)
	names, err := rbd.GetImageNames(p.IOContext)
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		i := image{name: name, id: "named " + name}
		open, err := rbd.OpenImageReadOnly(p.IOContext, name, rbd.NoSnapshot)
		if err == nil {
			i.id, err = open.GetId()
		}
		i.describe(open, err)
		found[i.id] = i
	}
	trash, err := rbd.GetTrashList(p.IOContext)
	if err != nil {
		tb.Fatal(err)
	}
	for _, t := range trash {
		i := image{name: t.Name, id: t.Id, trashed: true}
		open, err := rbd.OpenImageByIdReadOnly(p.IOContext, t.Id, rbd.NoSnapshot)
		i.describe(open, err)
		found[i.id] = i
	}
	return found
}

// describe reads all from the opened image, and closes it.
func (i *image) describe(open *rbd.Image, err error) {
	if err != nil {
		i.broken = err
		return
	}
	defer open.Close()
	size, sizeErr := open.GetSize()
	parent, parentErr := open.GetParent()
	if errors.Is(parentErr, rbd.ErrNotFound) {
		parentErr = nil
	}
	children, childErr := open.ListChildrenAttributes()
	snapshots, snapErr := open.GetSnapshotNames()
	i.size, i.broken = int64(size), errors.Join(sizeErr, parentErr, childErr, snapErr)
	if parent != nil {
		i.parent = parent.Image.ImageID
	}
	for _, c := range children {
		i.children = append(i.children, c.ImageID)
	}
	for _, s := range snapshots {
		i.snapshots = append(i.snapshots, s.Name)
	}
	i.volume = record(open, i.id, "clonecache.volume", func(r volumeRecord) string { return r.RBDID })
	i.imageVolume = record(open, i.id, "clonecache.image-volume", func(r imageRecord) string { return r.RBDID })
}

// record reads what the image's metadata has under a key, if it is the image's own.
func record[R any](open *rbd.Image, id, key string, of func(R) string) R {
	var r, none R
	text, err := open.GetMetadata(key)
	if err != nil || json.Unmarshal([]byte(text), &r) != nil || of(r) != id {
		return none
	}
	return r
}

// label is what an image-volume was made from.
func (i image) label() string { return strings.Join(i.imageVolume.Description.ImageIDs, " ") }

// lines tell what the pools hold, without what differs between two runs that did the same.
func (s *site) lines(tb testing.TB) []string {
	tb.Helper()
	volumes, images := look(tb, s.volumes), look(tb, s.images)
	var lines []string
	for _, v := range volumes {
		parent := "no parent"
		if v.parent != "" {
			parent = "a clone of " + images[v.parent].label()
		}
		lines = append(lines, fmt.Sprintf("volume %s of %d bytes, %s, snapshots %q, trashed %t", v.name, v.size, parent, v.snapshots, v.trashed))
	}
	for _, i := range images {
		var clones []string
		for _, c := range i.children {
			clones = append(clones, volumes[c].name)
		}
		slices.Sort(clones)
		lines = append(lines, fmt.Sprintf("image-volume of %s of %d bytes, clones %q, trashed %t", i.label(), i.size, clones, i.trashed))
	}
	slices.Sort(lines)
	return lines
}

// wholeVolume checks that all bytes of a volume are those of an image's disk, and zeroes behind them.
func (s *site) wholeVolume(tb testing.TB, v harness.Volume, disk string) {
	tb.Helper()
	open, err := rbd.OpenImageReadOnly(s.volumes.IOContext, v.Name, rbd.NoSnapshot)
	if err != nil {
		tb.Fatalf("open volume %s: %v", v.Name, err)
	}
	defer open.Close()
	size, err := open.GetSize()
	if err != nil || int64(size) != v.Size {
		tb.Fatalf("size of volume %s: got %d, %v, want %d", v.Name, size, err, v.Size)
	}
	harness.SameBytes(tb, v, open, disk)
}

// names of all volumes there are.
func (s *site) names(tb testing.TB) []string {
	tb.Helper()
	names, err := rbd.GetImageNames(s.volumes.IOContext)
	if err != nil {
		tb.Fatal(err)
	}
	return slices.Sorted(slices.Values(names))
}

// indexed are the image-volumes that the index names.
func (s *site) indexed(tb testing.TB) []string {
	tb.Helper()
	const prefix = "image-volume/"
	keys, err := s.images.GetAllOmapValues("clonecache.index", "", prefix, 512)
	if err != nil && !errors.Is(err, rbd.ErrNotFound) && len(keys) > 0 {
		tb.Fatal(err)
	}
	var ids []string
	for key := range maps.Keys(keys) {
		ids = append(ids, strings.TrimPrefix(key, prefix))
	}
	slices.Sort(ids)
	return ids
}
