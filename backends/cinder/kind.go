package cinder

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumetypes"

	"github.com/clonecache/clonecache/backends"
)

// A volume type can be renamed while volumes are of it. So a store is held by its type's ID, and the ID of the configured name
// is asked for once.

// typeID names a volume type, for ever.
type typeID string

// showsTypeID is the first version of Cinder's API (of release Train) whose volumes tell the ID of their type.
const showsTypeID = "3.63"

// volume is one as Cinder shows it. TypeID is first: the client reads a struct that begins with an embedded one by parts, and
// never asks the whole how it is read.
type volume struct {
	TypeID typeID // "" where it was not asked for
	volumes.Volume
}

// UnmarshalJSON reads what the client's own type leaves out.
func (v *volume) UnmarshalJSON(data []byte) error {
	var more struct {
		TypeID typeID `json:"volume_type_id"`
	}
	if err := json.Unmarshal(data, &more); err != nil {
		return err
	}
	v.TypeID = more.TypeID
	return json.Unmarshal(data, &v.Volume)
}

// kind is the ID of the configured volume type. ErrUnavailable: Cinder does not say, or has no such type.
func (b *Backend) kind(ctx context.Context) (typeID, error) {
	if known := b.typeID.Load(); known != nil {
		return *known, nil
	}
	api, err := b.call(ctx)
	if err != nil {
		return "", err
	}
	pages, err := volumetypes.List(api, volumetypes.ListOpts{}).AllPages(ctx)
	if err != nil {
		return "", explain(ctx, "list volume types", err)
	}
	all, err := volumetypes.ExtractVolumeTypes(pages)
	if err != nil {
		return "", explain(ctx, "list volume types", err)
	}
	id, err := named(b.c.VolumeType, all)
	if err == nil {
		b.typeID.Store(&id)
	}
	return id, err
}

// named is the type of that name.
func named(name string, all []volumetypes.VolumeType) (typeID, error) {
	names := make([]string, len(all))
	for i, t := range all {
		if t.Name == name {
			return typeID(t.ID), nil
		}
		names[i] = t.Name
	}
	slices.Sort(names)
	return "", fmt.Errorf("%w: Cinder has no volume type %s for this project, but %s; if it was renamed, correct volume_type: its image-volumes stay",
		backends.ErrUnavailable, name, strings.Join(names, ", "))
}

// owned tells our volumes from others.
type owned struct {
	catalog string
	kind    typeID
}

// ours says which volumes are ours. ErrUnavailable: nobody said yet which catalog's are meant, or Cinder does not say of which
// type these are.
func (b *Backend) ours(ctx context.Context) (owned, error) {
	catalog, err := b.mine()
	if err != nil {
		return owned{}, err
	}
	kind, err := b.kind(ctx)
	return owned{catalog, kind}, err
}

func (o owned) has(v volume) bool { return v.Metadata[metaCatalog] == o.catalog && v.TypeID == o.kind }

// attached tells that somebody uses a volume.
func (v volume) attached() bool { return v.Status == statusInUse || len(v.Attachments) > 0 }
