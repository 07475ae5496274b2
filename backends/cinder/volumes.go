package cinder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"

	"github.com/clonecache/clonecache/backends"
)

// Volumes for programs without the hook are made through Cinder's API, in the internal tenant's project. Cinder gives them
// their names on the driver; the name that was asked for is what Cinder shows.

// What the metadata of such a volume says.
const (
	metaVolume = "clonecache_volume" // its name
	metaToken  = "clonecache_token"
	metaOrigin = "clonecache_origin_" // and a number, as metaAbout
)

// Clone implements backends.Backend: Cinder copies from the image-volume's volume, and its driver clones. Cinder itself
// keeps the source from being deleted meanwhile.
func (b *Backend) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	if _, err := b.StatVolume(ctx, spec.Name); !errors.Is(err, backends.ErrNotExist) {
		if err == nil {
			err = backends.ErrExist
		}
		return backends.Volume{}, fmt.Errorf("clone to volume %s: %w", spec.Name, err)
	}
	lent, err := b.Lend(ctx, id, "")
	if err != nil {
		return backends.Volume{}, err
	}
	v, err := b.cloneFrom(ctx, lent.Generation, spec)
	if err != nil {
		b.Returned(id, lent.Generation, backends.NotMade)
		return backends.Volume{}, fmt.Errorf("clone image-volume %s to volume %s: %w", id, spec.Name, err)
	}
	b.Returned(id, lent.Generation, backends.Made)
	return volumeOf(v), nil
}

// cloneFrom makes the volume, and leaves nothing of one that did not become whole.
func (b *Backend) cloneFrom(ctx context.Context, from backends.GenerationID, spec backends.VolumeSpec) (volume, error) {
	catalog, err := b.mine()
	if err != nil {
		return volume{}, err
	}
	api, err := b.call(ctx)
	if err != nil {
		return volume{}, err
	}
	origin, err := json.Marshal(spec.Origin)
	if err != nil {
		return volume{}, err
	}
	metadata := map[string]string{metaCatalog: catalog, metaVolume: string(spec.Name), metaToken: spec.Token}
	for i, piece := range pieces(string(origin)) {
		metadata[metaOrigin+strings.TrimPrefix(i, metaAbout)] = piece
	}
	if err := ctx.Err(); err != nil {
		return volume{}, err
	}
	// Cinder makes what it was asked for, whoever has gone meanwhile, and says which volume that is. The client's own patience
	// bounds this; where that is at its end, the volume may come still: ErrUnavailable.
	asking := context.WithoutCancel(ctx)
	made, err := volumes.Create(asking, api, volumes.CreateOpts{
		Size: int((spec.SizeBytes-1)>>30) + 1, Name: string(spec.Name), SourceVolID: string(from), Metadata: metadata,
	}, nil).Extract()
	if err != nil {
		return volume{}, explain(asking, "create a volume", err)
	}
	v, err := b.await(ctx, made.ID, b.c.Patience)
	if err != nil {
		return v, errors.Join(err, b.undo(ctx, made.ID))
	}
	return v, nil
}

// undo removes a volume that did not become whole, though its requester has gone.
func (b *Backend) undo(ctx context.Context, id string) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.c.Patience)
	defer cancel()
	return b.remove(late, id)
}

func volumeOf(v volume) backends.Volume {
	out := backends.Volume{
		Name: backends.VolumeName(v.Metadata[metaVolume]), ID: backends.VolumeID(v.ID), SizeBytes: int64(v.Size) << 30,
		Token: v.Metadata[metaToken], Complete: v.Status == statusAvailable || v.Status == statusOffered || v.Status == statusInUse,
	}
	var origin strings.Builder
	for i := 0; v.Metadata[metaOrigin+strconv.Itoa(i)] != ""; i++ {
		origin.WriteString(v.Metadata[metaOrigin+strconv.Itoa(i)])
	}
	_ = json.Unmarshal([]byte(origin.String()), &out.Origin) // of what its owner has changed, nothing is known
	return out
}

// CreateVolume implements backends.Volumes. ErrCannotClone: Cinder alone writes its volumes, so there are no copies.
func (*Backend) CreateVolume(_ context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
	return nil, fmt.Errorf("volume %s: %w: %w", spec.Name, backends.ErrCannotClone, errCinderWrites)
}

// StatVolume implements backends.Volumes.
func (b *Backend) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	v, err := b.named(ctx, backends.VolumeRef{Name: name})
	if err != nil {
		return backends.Volume{}, fmt.Errorf("volume %s: %w", name, err)
	}
	return volumeOf(v), nil
}

// named looks for a volume that we had made, by its name and, where that is known, its ID. ErrNotExist. ErrExist: without an ID,
// as Cinder has several of that name.
func (b *Backend) named(ctx context.Context, ref backends.VolumeRef) (volume, error) {
	all, err := b.madeWith(ctx, metaVolume, string(ref.Name))
	if err != nil {
		return volume{}, err
	}
	if ref.ID != "" {
		all = slices.DeleteFunc(all, func(v volume) bool { return backends.VolumeID(v.ID) != ref.ID })
	}
	switch len(all) {
	case 0:
		return volume{}, backends.ErrNotExist
	case 1:
		return all[0], nil
	default:
		var ids []string
		for _, v := range all {
			ids = append(ids, v.ID)
		}
		return volume{}, fmt.Errorf("%w: Cinder has several volumes of that name: %s", backends.ErrExist, strings.Join(ids, ", "))
	}
}

// attempted looks for the volume that an attempt has made. ErrNotExist.
func (b *Backend) attempted(ctx context.Context, token string) (volume, error) {
	all, err := b.madeWith(ctx, metaToken, token)
	if err == nil && len(all) == 0 {
		err = backends.ErrNotExist
	}
	if err != nil {
		return volume{}, err
	}
	return all[0], nil
}

// madeWith are the volumes that we had made whose metadata says that.
func (b *Backend) madeWith(ctx context.Context, key, value string) ([]volume, error) {
	all, err := b.allMade(ctx, map[string]string{key: value})
	return slices.DeleteFunc(all, func(v volume) bool { return v.Metadata[key] != value }), err
}

func (b *Backend) allMade(ctx context.Context, metadata map[string]string) ([]volume, error) {
	ours, err := b.ours(ctx)
	if err != nil {
		return nil, err
	}
	metadata[metaCatalog] = ours.catalog
	all, err := b.list(ctx, metadata)
	if err != nil {
		return nil, err
	}
	var made []volume
	for _, v := range all {
		if v.Metadata[metaVolume] != "" && ours.has(v) && v.Status != statusDeleting {
			made = append(made, v)
		}
	}
	return made, nil
}

// ListVolumes implements backends.Volumes.
func (b *Backend) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	return func(yield func(backends.Volume, error) bool) {
		all, err := b.allMade(ctx, map[string]string{})
		if err != nil {
			yield(backends.Volume{}, err)
			return
		}
		for _, v := range all {
			if !yield(volumeOf(v), nil) {
				return
			}
		}
	}
}

// DeleteVolume implements backends.Volumes. What Cinder does not delete, as it is attached or has snapshots, is ErrInUse. Of several
// volumes of one name none is deleted but by its ID: ErrExist.
func (b *Backend) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	v, err := b.named(ctx, ref)
	if err == nil && v.attached() {
		err = backends.ErrInUse
	}
	if err == nil {
		err = b.remove(ctx, v.ID)
	}
	if err != nil {
		return fmt.Errorf("delete volume %s: %w", ref.Name, err)
	}
	return nil
}

// Settle implements backends.Volumes.
func (b *Backend) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	v, err := b.attempted(ctx, spec.Token)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return backends.Absent, nil
	case err != nil:
		return 0, fmt.Errorf("settle volume %s: %w", spec.Name, err)
	case v.Status == statusCreating:
		return 0, fmt.Errorf("settle volume %s: %w: Cinder is making it", spec.Name, backends.ErrUnavailable)
	case strings.HasPrefix(v.Status, "error"):
		if err := b.remove(ctx, v.ID); err != nil {
			return 0, fmt.Errorf("settle volume %s: %w", spec.Name, err)
		}
		return backends.Removed, nil
	}
	return backends.Whole, nil
}
