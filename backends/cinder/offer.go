package cinder

import (
	"context"
	"errors"
	"fmt"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/transfers"

	"github.com/clonecache/clonecache/backends"
)

// Offer implements backends.Offerer by a transfer of Cinder's, which any project may accept that has the key. Cinder keeps a hash of
// the key; nobody is told it again.
func (b *Backend) Offer(ctx context.Context, ref backends.VolumeRef) (backends.Offer, error) {
	offer, err := b.offer(ctx, ref)
	if err != nil {
		return offer, fmt.Errorf("offer volume %s: %w", ref.Name, err)
	}
	return offer, nil
}

func (b *Backend) offer(ctx context.Context, ref backends.VolumeRef) (backends.Offer, error) {
	v, err := b.made(ctx, metaVolume, string(ref.Name))
	switch {
	case err != nil:
		return backends.Offer{}, err
	case ref.ID != "" && backends.VolumeID(v.ID) != ref.ID:
		return backends.Offer{}, backends.ErrNotExist
	case v.attached():
		return backends.Offer{}, backends.ErrInUse
	case v.Status == statusOffered:
		if err := b.withdraw(ctx, v.ID); err != nil {
			return backends.Offer{}, err
		}
		if _, err := b.get(ctx, v.ID); err != nil { // somebody may have accepted it meanwhile
			return backends.Offer{}, err
		}
	}
	api, err := b.call(ctx)
	if err != nil {
		return backends.Offer{}, err
	}
	made, err := transfers.Create(ctx, api, transfers.CreateOpts{VolumeID: v.ID, Name: "clonecache"}).Extract()
	if err != nil {
		return backends.Offer{}, explain(ctx, "transfer volume "+v.ID, err)
	}
	return backends.Offer{ID: made.ID, Key: backends.Secret(made.AuthKey)}, nil
}

// withdraw ends the offers of a volume. One that somebody has accepted meanwhile is none any more.
func (b *Backend) withdraw(ctx context.Context, id string) error {
	api, err := b.call(ctx)
	if err != nil {
		return err
	}
	pages, err := transfers.List(api, transfers.ListOpts{}).AllPages(ctx)
	if err != nil {
		return explain(ctx, "list transfers", err)
	}
	all, err := transfers.ExtractTransfers(pages)
	if err != nil {
		return explain(ctx, "list transfers", err)
	}
	for _, t := range all {
		if t.VolumeID != id {
			continue
		}
		err := explain(ctx, "withdraw the transfer of volume "+id, transfers.Delete(ctx, api, t.ID).ExtractErr())
		if err != nil && !errors.Is(err, backends.ErrNotExist) {
			return err
		}
	}
	return nil
}
