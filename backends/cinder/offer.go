package cinder

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/transfers"

	"github.com/clonecache/clonecache/backends"
)

// Offered implements backends.Offerer.
func (b *Backend) Offered(ctx context.Context, name backends.VolumeName) (string, error) {
	v, err := b.named(ctx, backends.VolumeRef{Name: name})
	if errors.Is(err, backends.ErrNotExist) {
		return "", nil
	}
	id := ""
	if err == nil && v.Status == statusOffered {
		id, err = b.transferOf(ctx, v.ID)
	}
	if err != nil {
		return "", fmt.Errorf("look for an offer of volume %s: %w", name, err)
	}
	return id, nil
}

// Offer implements backends.Offerer by a transfer of Cinder's, which any project may accept that has the key. Cinder keeps a hash of
// the key; nobody is told it again. It makes no second transfer of a volume, and none is withdrawn but by its ID.
func (b *Backend) Offer(ctx context.Context, ref backends.VolumeRef, instead string) (backends.Offer, error) {
	offer, err := b.offer(ctx, ref, instead)
	if err != nil {
		return offer, fmt.Errorf("offer volume %s: %w", ref.Name, err)
	}
	return offer, nil
}

func (b *Backend) offer(ctx context.Context, ref backends.VolumeRef, instead string) (backends.Offer, error) {
	v, err := b.meant(ctx, ref)
	if err != nil {
		return backends.Offer{}, err
	}
	if err := b.makeWay(ctx, v, instead); err != nil {
		return backends.Offer{}, err
	}
	api, err := b.call(ctx)
	if err != nil {
		return backends.Offer{}, err
	}
	made, err := transfers.Create(ctx, api, transfers.CreateOpts{VolumeID: v.ID, Name: "clonecache"}).Extract()
	if err != nil {
		err = explain(ctx, "transfer volume "+v.ID, err)
		if now, _ := b.get(ctx, v.ID); now.Status == statusOffered { // another process was first
			err = fmt.Errorf("%w: %w", backends.ErrExist, err)
		}
		return backends.Offer{}, err
	}
	return backends.Offer{ID: made.ID, Key: backends.Secret(made.AuthKey)}, nil
}

// makeWay ends the offer of a volume, if it is the one that is meant. backends.ErrExist: it is another one.
// backends.ErrNotExist: somebody has accepted it.
func (b *Backend) makeWay(ctx context.Context, v volume, offer string) error {
	if v.Status != statusOffered {
		return nil
	}
	now, err := b.transferOf(ctx, v.ID)
	switch {
	case err != nil:
		return err
	case now != "" && now != offer:
		return fmt.Errorf("%w: transfer %s", backends.ErrExist, now)
	case now != "":
		if err := b.withdraw(ctx, v.ID, now); err != nil {
			return err
		}
	}
	_, err = b.get(ctx, v.ID) // somebody may have accepted it meanwhile
	return err
}

// TakeBack implements backends.Offerer.
func (b *Backend) TakeBack(ctx context.Context, ref backends.VolumeRef, offer string) error {
	v, err := b.meant(ctx, ref)
	if err == nil {
		err = b.makeWay(ctx, v, offer)
	}
	if err == nil {
		err = b.removeAfter(ctx, v.ID, func() error { return backends.ErrExist })
	}
	if errors.Is(err, backends.ErrExist) {
		err = fmt.Errorf("%w: it is offered to somebody else: %w", backends.ErrInUse, err)
	}
	if err != nil {
		return fmt.Errorf("take back volume %s: %w", ref.Name, err)
	}
	return nil
}

// meant is the volume of a name, if it still is the one of that ID. ErrNotExist. ErrInUse: it is attached.
func (b *Backend) meant(ctx context.Context, ref backends.VolumeRef) (volume, error) {
	v, err := b.named(ctx, ref)
	switch {
	case err != nil:
		return volume{}, err
	case v.attached():
		return volume{}, backends.ErrInUse
	}
	return v, nil
}

// transferOf is the ID of the transfer of a volume; "": there is none.
func (b *Backend) transferOf(ctx context.Context, volume string) (string, error) {
	api, err := b.call(ctx)
	if err != nil {
		return "", err
	}
	pages, err := transfers.List(api, transfersOf(volume)).AllPages(ctx)
	if err != nil {
		return "", explain(ctx, "list transfers", err)
	}
	all, err := transfers.ExtractTransfers(pages)
	if err != nil {
		return "", explain(ctx, "list transfers", err)
	}
	for _, t := range all {
		if t.VolumeID == volume {
			return t.ID, nil
		}
	}
	return "", nil
}

// transfersOf asks for those of one volume. Cinder tells of the oldest 1000 (osapi_max_limit) otherwise; by the versions of its
// API before 3.59 it does not page, and tells of none where it is asked to.
type transfersOf string

// ToTransferListQuery implements transfers.ListOptsBuilder.
func (volume transfersOf) ToTransferListQuery() (string, error) {
	return "?" + url.Values{"volume_id": {string(volume)}}.Encode(), nil
}

// withdraw ends an offer of a volume. One that somebody has accepted or withdrawn meanwhile is none any more.
func (b *Backend) withdraw(ctx context.Context, volume, transfer string) error {
	api, err := b.call(ctx)
	if err != nil {
		return err
	}
	err = explain(ctx, "withdraw the transfer of volume "+volume, transfers.Delete(ctx, api, transfer).ExtractErr())
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

// withdrawAny ends whatever offer a volume has.
func (b *Backend) withdrawAny(ctx context.Context, volume string) error {
	transfer, err := b.transferOf(ctx, volume)
	if err != nil || transfer == "" {
		return err
	}
	return b.withdraw(ctx, volume, transfer)
}
