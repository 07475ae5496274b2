package catalog

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/backends"
)

// Published is what is known of an image-volume once it is committed.
type Published struct {
	Key Key // the final one, by content
	// RevisionKey and Also are what the image that was read is looked up by: each becomes an alias. "": none.
	RevisionKey Key
	Also        []Key
	ImageID     string  // SOURCE:ID of that image; "": the first one of the row
	Sharing     Sharing // whose equal content may be the same entry's

	backends.Content
	HeldBytes int64
}

// Sharing says whose equal content may be one entry. It decides where bytes lie, never who gets them: an image is
// served by what its own bytes were found to be.
type Sharing int

const (
	// ShareOwner: entries of the same owner, and everybody's.
	ShareOwner Sharing = iota
	// ShareAll: any owner's.
	ShareAll
)

// Publish makes a filling entry ready, if the attempt is still the row's. Where another live entry of
// the same store, which may be shared, is ready and has the final key, nothing is published: duplicate is that entry,
// which has become known under this one's image ID and keys, and this
// row is still filling, for the caller to discard and ForgetFill. One that older rules of the inspector let through
// is returned, and becomes known under nothing. A failed entry with that key gives way: it is removed. ErrLost.
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
	if p.ImageID == "" {
		p.ImageID = e.ImageIDs[0]
	}
	other, key, err := t.otherLive(ctx, e, p)
	if err != nil {
		return Entry{}, nil, err
	}
	if other == nil {
		e, err = t.makeReady(ctx, e, p, key)
		return e, nil, err
	}
	if other.InspectorVersion < p.InspectorVersion {
		return e, other, nil
	}
	if err := t.addReading(ctx, other.ID, p); err != nil {
		return Entry{}, nil, err
	}
	now, err := t.now(ctx)
	if err != nil {
		return Entry{}, nil, err
	}
	if err := t.current(ctx, *other, p.ImageID, now, now); err != nil {
		return Entry{}, nil, err
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

// selectContent: a ready one first, then the oldest. Rows that earlier versions filled or failed have such keys too.
const selectContent = `SELECT ` + entryColumns + ` FROM entries e
	WHERE e.content_key = ? AND e.store = ? AND e.id <> ? AND e.live_key IS NOT NULL AND e.quarantined_at = 0 AND (? = 1 OR e.domain = ? OR e.domain = '')
	ORDER BY CASE e.state WHEN 'ready' THEN 0 WHEN 'filling' THEN 1 ELSE 2 END, e.id`

// otherLive returns another ready entry that has the key and may be shared, if any, after removing those that failed.
// Where there is none, key is what e becomes live by: its own where another one is live by the final one, and not ready.
func (t tx) otherLive(ctx context.Context, e Entry, p Published) (other *Entry, key Key, err error) {
	all, err := t.entries(ctx, selectContent, p.Key, e.Store, e.ID, number(p.Sharing == ShareAll), e.Domain)
	if err != nil {
		return nil, "", err
	}
	for _, o := range all {
		switch o.State {
		case Ready:
			return &o, "", nil
		case Failed:
			if err := t.stillThat(ctx, deleteEntry, o.ID, Failed); err != nil {
				return nil, "", err
			}
		case Filling, Evicting, Detached:
		}
	}
	taken, err := scanEntry(t.row(ctx, selectLive, live(e.Store, e.Domain, p.Key)))
	switch {
	case errors.Is(err, ErrNotFound), err == nil && taken.ID == e.ID:
		return nil, p.Key, nil
	case err != nil:
		return nil, "", err
	}
	return nil, e.Key, nil
}

// addReading makes an entry known under the image that was read.
func (t tx) addReading(ctx context.Context, id EntryID, p Published) error {
	now, err := t.now(ctx)
	if err != nil {
		return err
	}
	for _, key := range append([]Key{p.RevisionKey}, p.Also...) {
		if err := t.addImage(ctx, id, p.ImageID, key, now); err != nil {
			return err
		}
	}
	return nil
}

const publishEntry = `UPDATE entries SET state = 'ready', content_key = ?, live_key = ?, digest = ?, disk_format = ?,
	source_bytes = ?, virtual_bytes = ?, held_bytes = ?, reserved_bytes = 0, inspector_version = ?, content_sum = ?,
	filled_at = ?, last_used_at = ?, lease_host = '', lease_incarnation = '', lease_until = 0, last_error = '', retry_after = 0, failed_at = 0, failure = ''
	WHERE id = ? AND state = 'filling' AND attempt = ?`

func (t tx) makeReady(ctx context.Context, e Entry, p Published, key Key) (Entry, error) {
	now, err := t.now(ctx)
	if err != nil {
		return Entry{}, err
	}
	used, err := t.usedNow(ctx, now)
	if err != nil {
		return Entry{}, err
	}
	err = t.change(ctx, publishEntry, p.Key, live(e.Store, e.Domain, key), p.Digest, p.DiskFormat,
		p.SourceBytes, p.VirtualBytes, p.HeldBytes, p.InspectorVersion, p.ContentSum, micros(now), micros(used), e.ID, e.Attempt)
	if err != nil {
		return Entry{}, err
	}
	if err := t.addReading(ctx, e.ID, p); err != nil {
		return Entry{}, err
	}
	if err := t.succeed(ctx, e, e.ImageIDs, now); err != nil {
		return Entry{}, err
	}
	return t.entry(ctx, e.ID)
}
