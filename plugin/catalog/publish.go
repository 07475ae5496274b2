package catalog

import (
	"context"
	"errors"
)

// Published is what is known of an image-volume once it is committed.
type Published struct {
	Key              Key // the final one, by content
	RevisionKey      Key // "" where the image came with a digest; else it becomes an alias
	Digest           string
	DiskFormat       string
	SourceBytes      int64
	VirtualBytes     int64
	HeldBytes        int64
	InspectorVersion int
	ContentSum       string // of what stands in the image-volume; "" unknown
}

// Publish makes a filling entry ready, if the attempt is still the row's. Where another live entry of
// the same store and domain already has the final key, nothing is published: duplicate is that entry
// (ready, or being filled), which has become known under this one's image ID and revision key, and this
// row is still filling, for the caller to discard and ForgetFill. A failed entry with that key gives way:
// it is removed. ErrLost.
func (c *Catalog) Publish(ctx context.Context, id EntryID, attempt int, p Published) (entry Entry, duplicate *Entry, err error) {
	op := ofFill("publish", id, attempt)
	if p.Key == "" {
		return Entry{}, nil, c.wrap(op, errors.New("no key"))
	}
	err = c.write(ctx, op, func(t tx) error {
		entry, duplicate, err = t.publish(ctx, id, attempt, p)
		return err
	})
	if err != nil {
		return Entry{}, nil, err
	}
	return entry, duplicate, nil
}

func (t tx) publish(ctx context.Context, id EntryID, attempt int, p Published) (Entry, *Entry, error) {
	e, err := t.heldAlone(ctx, id, attempt)
	if err != nil {
		return Entry{}, nil, err
	}
	other, err := t.otherLive(ctx, e, p.Key)
	if err != nil {
		return Entry{}, nil, err
	}
	if other == nil {
		e, err = t.makeReady(ctx, e, p)
		return e, nil, err
	}
	now, err := t.now(ctx)
	if err != nil {
		return Entry{}, nil, err
	}
	if err := t.addImages(ctx, other.ID, e.ImageIDs, p.RevisionKey, now); err != nil {
		return Entry{}, nil, err
	}
	if other.State == Ready {
		if err := t.allCurrent(ctx, *other, e.ImageIDs, now, now); err != nil {
			return Entry{}, nil, err
		}
	}
	*other, err = t.entry(ctx, other.ID)
	return e, other, err
}

// heldAlone is held, once the transaction is alone on the entry's store. ErrLost.
func (t tx) heldAlone(ctx context.Context, id EntryID, attempt int) (Entry, error) {
	e, err := t.held(ctx, id, attempt)
	if err != nil {
		return Entry{}, err
	}
	if err := t.lock(ctx, storeLock(e.Store)); err != nil {
		return Entry{}, err
	}
	return t.held(ctx, id, attempt)
}

// otherLive returns the other entry that has key, if any, after removing one that failed.
func (t tx) otherLive(ctx context.Context, e Entry, key Key) (*Entry, error) {
	other, err := scanEntry(t.row(ctx, selectLive, live(e.Store, e.Domain, key)))
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && other.ID == e.ID:
		return nil, nil
	case err != nil:
		return nil, err
	case other.State == Failed:
		return nil, t.change(ctx, deleteEntry, other.ID, Failed)
	}
	return &other, nil
}

const publishEntry = `UPDATE entries SET state = 'ready', content_key = ?, live_key = ?, digest = ?, disk_format = ?,
	source_bytes = ?, virtual_bytes = ?, held_bytes = ?, reserved_bytes = 0, inspector_version = ?, content_sum = ?,
	filled_at = ?, last_used_at = ?, lease_host = '', lease_incarnation = '', lease_until = 0, last_error = '', retry_after = 0
	WHERE id = ? AND state = 'filling' AND attempt = ?`

func (t tx) makeReady(ctx context.Context, e Entry, p Published) (Entry, error) {
	now, err := t.now(ctx)
	if err != nil {
		return Entry{}, err
	}
	used, err := t.usedNow(ctx, now)
	if err != nil {
		return Entry{}, err
	}
	err = t.change(ctx, publishEntry, p.Key, live(e.Store, e.Domain, p.Key), p.Digest, p.DiskFormat,
		p.SourceBytes, p.VirtualBytes, p.HeldBytes, p.InspectorVersion, p.ContentSum, micros(now), micros(used), e.ID, e.Attempt)
	if err != nil {
		return Entry{}, err
	}
	if p.RevisionKey != "" {
		if err := t.addImages(ctx, e.ID, e.ImageIDs[:1], p.RevisionKey, now); err != nil {
			return Entry{}, err
		}
	}
	if err := t.succeed(ctx, e, e.ImageIDs, now); err != nil {
		return Entry{}, err
	}
	return t.entry(ctx, e.ID)
}
