package catalog

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
)

// Holder is the process that holds a lease. Instance outlives a restart; Incarnation does not.
type Holder struct {
	Instance    InstanceID
	Incarnation string
}

// Entry is one row. Times are UTC, in microseconds.
type Entry struct {
	ID      EntryID
	Store   backends.StoreID // the backend or file cache that holds the image-volume
	Key     Key
	Domain  string // whose bytes were read: an owner, "" everybody's; of earlier versions "" may be anybody's
	State   State
	Attempt int // counts fills; the image-volume's ID ends in it

	ImageVolume backends.ImageVolumeID // "" until RecordStage
	Form        backends.Form
	ImageIDs    []string // SOURCE:ID of every image known to have this content

	backends.Content
	ReservedBytes int64 // counted while filling
	HeldBytes     int64 // counted afterwards

	Claim  internaltenant.ClaimID
	Pinned bool
	// PinnedByRule tells that a rule by which images are followed has pinned it, and no person.
	PinnedByRule bool
	Hits         int64
	Clones       int // live clones that depend on the image-volume, when last seen
	EvictCause   EvictCause

	// SupersededAt is when the last of its images came to have other content, or went from its source; zero while
	// it is what one of them is. SupersededBy is the entry that came after it; "" where the image went.
	SupersededBy EntryID
	SupersededAt time.Time
	// Generation counts the contents that its image had on this store, as far as their entries were there; the
	// first is 1.
	Generation int64

	// VerifiedAt is when the image-volume was last read back and was what it should be; zero: never. QuarantinedAt is
	// since when nothing is made from it, as it was not; Quarantine is why.
	VerifiedAt    time.Time
	QuarantinedAt time.Time
	Quarantine    string

	CreatedAt  time.Time
	FilledAt   time.Time // zero until ready
	LastUsedAt time.Time // zero until ready

	Lease      Holder // while filling, and while evicting
	LeaseUntil time.Time
	LastError  string    // of the last failed fill
	Failure    string    // what the caller of FailFill wants to know of it later
	FailedAt   time.Time // zero unless failed
	RetryAfter time.Time // no new fill before, after a failed one
}

// CountedBytes is what limits count for the entry: what it holds, or has reserved.
func (e Entry) CountedBytes() int64 { return max(e.ReservedBytes, e.HeldBytes) }

// live is the value of live_key: what an entry is found by, in one text. The quotes keep a store or a
// domain from running into its neighbour.
func live(store backends.StoreID, domain string, key Key) string {
	return strconv.Quote(string(store)) + strconv.Quote(domain) + string(key)
}

// entryColumns are the columns of entries but live_key, in the order of scanEntry and entryValues.
const entryColumns = `e.id, e.store, e.content_key, e.domain, e.state, e.attempt, e.image_volume, e.form,
	e.digest, e.disk_format, e.source_bytes, e.virtual_bytes, e.reserved_bytes, e.held_bytes, e.claim,
	e.pinned, e.hits, e.clones, e.inspector_version, e.evict_cause, e.created_at, e.filled_at,
	e.last_used_at, e.lease_host, e.lease_incarnation, e.lease_until, e.last_error, e.retry_after, e.content_sum, e.superseded_by, e.superseded_at, e.generation,
	e.failed_at, e.failure, e.verified_at, e.quarantined_at, e.quarantine, e.pinned_by_rule`

const insertEntry = `INSERT INTO entries (id, store, content_key, domain, state, attempt, image_volume, form,
	digest, disk_format, source_bytes, virtual_bytes, reserved_bytes, held_bytes, claim,
	pinned, hits, clones, inspector_version, evict_cause, created_at, filled_at,
	last_used_at, lease_host, lease_incarnation, lease_until, last_error, retry_after, content_sum, failed_at, failure, live_key)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// insert adds an entry; its images are added apart.
func (t tx) insert(ctx context.Context, e Entry) error {
	key := sql.NullString{String: live(e.Store, e.Domain, e.Key), Valid: e.State != Evicting && e.State != Detached}
	if e.Quarantine != "" {
		key.String = inQuarantine(e.ID)
	}
	return t.change(ctx, insertEntry, e.ID, e.Store, e.Key, e.Domain, e.State, e.Attempt, e.ImageVolume, e.Form,
		e.Digest, e.DiskFormat, e.SourceBytes, e.VirtualBytes, e.ReservedBytes, e.HeldBytes, e.Claim,
		number(e.Pinned), e.Hits, e.Clones, e.InspectorVersion, e.EvictCause, micros(e.CreatedAt), micros(e.FilledAt),
		micros(e.LastUsedAt), e.Lease.Instance, e.Lease.Incarnation, micros(e.LeaseUntil), e.LastError, micros(e.RetryAfter), e.ContentSum, micros(e.FailedAt), e.Failure, key)
}

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(into ...any) error }

// scanEntry reads entryColumns; ImageIDs are read apart.
func scanEntry(row scanner) (Entry, error) {
	var e Entry
	var created, filled, used, lease, retry, superseded, failed, verified, quarantined int64
	err := row.Scan(&e.ID, &e.Store, &e.Key, &e.Domain, &e.State, &e.Attempt, &e.ImageVolume, &e.Form,
		&e.Digest, &e.DiskFormat, &e.SourceBytes, &e.VirtualBytes, &e.ReservedBytes, &e.HeldBytes, &e.Claim,
		&e.Pinned, &e.Hits, &e.Clones, &e.InspectorVersion, &e.EvictCause, &created, &filled,
		&used, &e.Lease.Instance, &e.Lease.Incarnation, &lease, &e.LastError, &retry, &e.ContentSum, &e.SupersededBy, &superseded, &e.Generation,
		&failed, &e.Failure, &verified, &quarantined, &e.Quarantine, &e.PinnedByRule)
	if errors.Is(err, sql.ErrNoRows) {
		return Entry{}, ErrNotFound
	}
	e.CreatedAt, e.FilledAt, e.LastUsedAt = fromMicros(created), fromMicros(filled), fromMicros(used)
	e.LeaseUntil, e.RetryAfter, e.SupersededAt = fromMicros(lease), fromMicros(retry), fromMicros(superseded)
	e.FailedAt, e.VerifiedAt, e.QuarantinedAt = fromMicros(failed), fromMicros(verified), fromMicros(quarantined)
	return e, err
}

// number is how a truth value is stored.
func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

const (
	selectEntry = `SELECT ` + entryColumns + ` FROM entries e WHERE e.id = ?`
	selectLive  = `SELECT ` + entryColumns + ` FROM entries e WHERE e.live_key = ?`
	// CROSS JOIN keeps SQLite from going through a whole store for one revision.
	selectAlias = `SELECT ` + entryColumns + ` FROM entry_images i CROSS JOIN entries e
		WHERE i.revision_key = ? AND e.id = i.entry_id AND e.store = ? AND e.live_key IS NOT NULL AND e.quarantined_at = 0
			AND (e.state <> 'ready' OR e.inspector_version >= ?)
		ORDER BY CASE e.state WHEN 'ready' THEN 0 ELSE 1 END, e.id DESC LIMIT 1`
	selectImages = `SELECT image_id FROM entry_images WHERE entry_id = ? ORDER BY added_at, image_id`
)

// entry reads one entry, whole.
func (t tx) entry(ctx context.Context, id EntryID) (Entry, error) {
	e, err := scanEntry(t.row(ctx, selectEntry, id))
	if err != nil {
		return Entry{}, err
	}
	return t.withImages(ctx, e)
}

// held reads the filling entry that the caller holds at that attempt. ErrLost.
func (t tx) held(ctx context.Context, id EntryID, attempt int) (Entry, error) {
	e, err := t.entry(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && (e.State != Filling || e.Attempt != attempt) {
		return Entry{}, ErrLost
	}
	return e, err
}

// find reads the live entry of a key and a domain, or of an alias, whichever domain that has: it says that the
// image's own bytes were read. A ready one by alias goes before one by key that is not: after a fill turned out
// to be of known content, the former is what counts. One that older rules than those of inspector let through
// is not found by an alias.
func (t tx) find(ctx context.Context, store backends.StoreID, domain string, key Key, inspector int) (Entry, error) {
	byKey, keyErr := scanEntry(t.row(ctx, selectLive, live(store, domain, key)))
	if keyErr != nil && !errors.Is(keyErr, ErrNotFound) {
		return Entry{}, keyErr
	}
	if keyErr == nil && byKey.State == Ready {
		return t.withImages(ctx, byKey)
	}
	byAlias, err := scanEntry(t.row(ctx, selectAlias, key, store, inspector))
	switch {
	case err == nil && (byAlias.State == Ready || keyErr != nil):
		return t.withImages(ctx, byAlias)
	case err != nil && !errors.Is(err, ErrNotFound):
		return Entry{}, err
	case keyErr != nil:
		return Entry{}, ErrNotFound
	}
	return t.withImages(ctx, byKey)
}

func (t tx) withImages(ctx context.Context, e Entry) (Entry, error) {
	err := t.each(ctx, func(rows *sql.Rows) error {
		var image string
		if err := rows.Scan(&image); err != nil {
			return err
		}
		e.ImageIDs = addOnce(e.ImageIDs, image)
		return nil
	}, selectImages, e.ID)
	return e, err
}
