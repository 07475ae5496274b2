// Package catalog is what clonecache knows: one row an entry, who fills it, what it holds, who owns
// it, and what requests came to. It is SQL: SQLite embedded for one host; MariaDB and PostgreSQL are
// dialects of the same statements for several.
//
// Every change of state is one compare-and-set that may be the last thing the process did: it is
// durable when the method returns, or has not happened. The catalog never touches a backend; it names
// image-volumes only once they are durable (state ready), or so that they can be removed.
package catalog

import (
	"context"
	"errors"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
)

var (
	// ErrNotFound: there is no such entry.
	ErrNotFound = errors.New("no such entry")
	// ErrLost: the row is no longer in the state, or at the attempt, that the caller holds; another
	// process has taken over. The caller must stop what it does for this entry and discard it.
	ErrLost = errors.New("entry was taken over")
	// ErrPinned: a pinned entry is not evicted.
	ErrPinned = errors.New("entry is pinned")
	// ErrDamaged: the database cannot be read.
	ErrDamaged = errors.New("catalog is damaged")
)

// EntryID names one entry, for ever.
type EntryID string

// Key names content: what an entry is found by, together with its store and domain.
type Key string

// ContentKey is the key of verified content: digest is "sha256:<hex>" or "sha512:<hex>".
func ContentKey(digest, diskFormat string) Key { return Key(digest + "/" + diskFormat) }

// RevisionKey is the key of an image whose digest nobody knows yet.
func RevisionKey(imageRef, revision, diskFormat string) Key {
	return Key("rev:" + imageRef + "@" + revision + "/" + diskFormat)
}

// State is how far an entry has come.
type State string

// filling → ready → evicting → gone (the row is removed); evicting → detached → gone; filling → failed.
const (
	Filling  State = "filling"
	Ready    State = "ready"
	Evicting State = "evicting"
	Detached State = "detached"
	Failed   State = "failed"
)

// Holder is the process that holds a lease. Host outlives a restart; Incarnation does not.
type Holder struct {
	Host        string
	Incarnation string
}

// Entry is one row. Times are UTC.
type Entry struct {
	ID      EntryID
	Store   backends.Name // the backend or file cache that holds the image-volume
	Key     Key
	Domain  string // who may share it; "" is everybody
	State   State
	Attempt int // counts fills; the image-volume's ID ends in it

	ImageVolume backends.ImageVolumeID // "" until RecordStage
	Form        backends.Form
	ImageIDs    []string // SOURCE:ID of every image known to have this content
	Digest      string
	DiskFormat  string

	SourceBytes   int64
	VirtualBytes  int64
	ReservedBytes int64 // counted while filling
	HeldBytes     int64 // counted afterwards

	Claim            internaltenant.ClaimID
	Pinned           bool
	Hits             int64
	Clones           int // live clones that depend on the image-volume, when last seen
	InspectorVersion int
	EvictCause       EvictCause

	CreatedAt  time.Time
	FilledAt   time.Time // zero until ready
	LastUsedAt time.Time // zero until ready

	Lease      Holder // while filling
	LeaseUntil time.Time
	LastError  string    // of the last failed fill
	RetryAfter time.Time // no new fill before, after a failed one
}

// CountedBytes is what limits count for the entry: what it holds, or has reserved.
func (e Entry) CountedBytes() int64 { return max(e.ReservedBytes, e.HeldBytes) }

// EvictCause is why an entry went.
type EvictCause string

// The causes that the report counts.
const (
	CauseSize    EvictCause = "size"    // max_size
	CauseCount   EvictCause = "count"   // max_count
	CausePercent EvictCause = "percent" // max_percent
	CauseAdmin   EvictCause = "admin"   // entry delete
	CausePrune   EvictCause = "prune"   // prune: bounds were lowered, or too old
	CauseGone    EvictCause = "gone"    // the image-volume had vanished from the backend
	CauseStale   EvictCause = "stale"   // its image changed or is no longer there
)

// FillSpec asks to be the one who fills.
type FillSpec struct {
	Store    backends.Name
	Key      Key
	Domain   string
	ImageID  string // SOURCE:ID
	Holder   Holder
	LeaseFor time.Duration
}

// FillStart is BeginFill's answer.
type FillStart int

const (
	// Started: the caller holds the fill; Entry.Attempt is its attempt.
	Started FillStart = iota + 1
	// Busy: another holder with a live lease fills it.
	Busy
	// AlreadyReady: it is there.
	AlreadyReady
	// Waiting: the last fill failed, and RetryAfter has not come.
	Waiting
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
}

// Holdings is what counts against a store's bounds.
type Holdings struct {
	Entries       []Entry // filling, ready and evicting
	Detached      int
	DetachedBytes int64
}

// Filter selects entries. The zero Filter selects all.
type Filter struct {
	Store   backends.Name
	States  []State
	ImageID string  // SOURCE:ID
	After   EntryID // entries whose ID sorts after it, for paging
	Limit   int     // 0: no limit
}

// Outcome and Reason are the plugin's words, kept as text.
type (
	Outcome string
	Reason  string
)

// Request is one answered request, for the report and for last-used.
type Request struct {
	Seq             int64 // of the journal's record; what was applied is not applied again
	At              time.Time
	Backend         backends.Name
	ImageID         string
	Entry           EntryID // "" where none was used
	Outcome         Outcome
	Reason          Reason
	Took            time.Duration
	DownloadedBytes int64
	SavedBytes      int64 // what a request without the cache would have downloaded
	Clones          int   // 1 where it added a clone that depends on the image-volume
}

// FillRecord is one fill that ended, for the report.
type FillRecord struct {
	At           time.Time
	Store        backends.Name
	ImageID      string
	Took         time.Duration
	SourceBytes  int64
	WrittenBytes int64
	Error        string // "" where it became ready
}

// RequestStat sums requests of one backend, image, outcome and reason.
type RequestStat struct {
	Backend         backends.Name
	ImageID         string
	Outcome         Outcome
	Reason          Reason
	Requests        int64
	DownloadedBytes int64
	SavedBytes      int64
	Took            time.Duration // sum
}

// EvictionStat sums evictions of one store and cause.
type EvictionStat struct {
	Store backends.Name
	Cause EvictCause
	Count int64
	Bytes int64
}

// FillStat sums fills of one store and image.
type FillStat struct {
	Store        backends.Name
	ImageID      string
	Fills        int64
	Failed       int64
	Took         time.Duration // sum over those that became ready
	Longest      time.Duration
	SourceBytes  int64
	WrittenBytes int64
}

// Config opens a catalog.
type Config struct {
	Path string           // the SQLite file; its directory must exist
	Now  func() time.Time // nil: the database's clock
}

// Catalog is the open database. It may be used from several goroutines.
type Catalog struct{}

// Open opens or creates the catalog and brings its schema up to date. ErrDamaged: it cannot be read;
// `clonecache check --repair` rebuilds it from the backends.
func Open(ctx context.Context, cfg Config) (*Catalog, error) { panic("contract") }

// Close closes the database.
func (c *Catalog) Close() error { panic("contract") }

// BeginFill makes the caller the one who fills (row filling, next attempt, lease), or says why not. A
// filling row whose lease has run out is taken over: then Entry still names the old attempt's
// ImageVolume and Claim in the returned previous entry, for the caller to remove first.
func (c *Catalog) BeginFill(ctx context.Context, spec FillSpec) (entry, previous Entry, start FillStart, err error) {
	panic("contract")
}

// Renew keeps the lease of a fill. ErrLost.
func (c *Catalog) Renew(ctx context.Context, id EntryID, attempt int, h Holder, leaseFor time.Duration) error {
	panic("contract")
}

// RecordClaim notes the internal tenant's claim of a fill. ErrLost.
func (c *Catalog) RecordClaim(ctx context.Context, id EntryID, attempt int, claim internaltenant.ClaimID) error {
	panic("contract")
}

// RecordStage notes the image-volume that a fill is about to stage, before it is. ErrLost.
func (c *Catalog) RecordStage(ctx context.Context, id EntryID, attempt int, iv backends.ImageVolumeID, form backends.Form, virtualBytes int64) error {
	panic("contract")
}

// ReserveRoom decides, in one transaction that is alone on this store, what goes so that the fill's
// reservation may grow to bytes: decide gets all that counts (the fill's own row left out) and returns
// the victims, which become evicting with their cause; the fill's row counts bytes from now on. An error
// of decide changes nothing and is returned as it is. ErrLost.
func (c *Catalog) ReserveRoom(ctx context.Context, id EntryID, attempt int, bytes int64, decide func(Holdings) (map[EntryID]EvictCause, error)) (victims []Entry, err error) {
	panic("contract")
}

// Publish makes a filling entry ready, if the attempt is still the row's. Where another live entry of
// the same store and domain already has the final key, nothing is published: duplicate is that entry,
// which has become known under this one's image ID and revision key, and this row is still filling, for
// the caller to discard and ForgetFill. ErrLost.
func (c *Catalog) Publish(ctx context.Context, id EntryID, attempt int, p Published) (entry Entry, duplicate *Entry, err error) {
	panic("contract")
}

// FailFill ends a fill: failed, with its error and when it may be tried again. What was staged and claimed
// must be gone before. ErrLost.
func (c *Catalog) FailFill(ctx context.Context, id EntryID, attempt int, cause string, retryAfter time.Time) error {
	panic("contract")
}

// ForgetFill removes a filling row without a trace. What was staged and claimed must be gone before. ErrLost.
func (c *Catalog) ForgetFill(ctx context.Context, id EntryID, attempt int) error { panic("contract") }

// BeginEvict makes a ready entry evicting. ErrPinned, ErrLost (not ready), ErrNotFound.
func (c *Catalog) BeginEvict(ctx context.Context, id EntryID, cause EvictCause) (Entry, error) {
	panic("contract")
}

// SetDetached makes an evicting entry detached, with the clones that hold it. Repeating it on a detached
// entry updates the figures. ErrLost.
func (c *Catalog) SetDetached(ctx context.Context, id EntryID, clones int, heldBytes int64) error {
	panic("contract")
}

// Remove deletes an evicting, detached or failed row, after its image-volume and claim are gone; an
// eviction is counted under its cause, once. Removing what is not there is harmless.
func (c *Catalog) Remove(ctx context.Context, id EntryID) error { panic("contract") }

// SetPinned pins or unpins. ErrNotFound.
func (c *Catalog) SetPinned(ctx context.Context, id EntryID, pinned bool) error { panic("contract") }

// SetObserved corrects what the backend says of an entry: held bytes and live clones.
func (c *Catalog) SetObserved(ctx context.Context, id EntryID, heldBytes int64, clones int) error {
	panic("contract")
}

// AddImage makes an entry known under another image ID, and revision key where that is not "".
func (c *Catalog) AddImage(ctx context.Context, id EntryID, imageID string, revision Key) error {
	panic("contract")
}

// Adopt inserts a ready entry for a committed image-volume that no row names (check --repair). Where its
// key is taken by another live entry, ErrLost.
func (c *Catalog) Adopt(ctx context.Context, e Entry, revision Key) error { panic("contract") }

// TakeOver returns the fills of an earlier incarnation of this host, now leased to h. They are the
// caller's to undo.
func (c *Catalog) TakeOver(ctx context.Context, h Holder, leaseFor time.Duration) ([]Entry, error) {
	panic("contract")
}

// Get returns one entry. ErrNotFound.
func (c *Catalog) Get(ctx context.Context, id EntryID) (Entry, error) { panic("contract") }

// Find returns the live entry (filling, ready or failed) of a store and domain by key or alias. ErrNotFound.
func (c *Catalog) Find(ctx context.Context, store backends.Name, domain string, key Key) (Entry, error) {
	panic("contract")
}

// List returns entries ordered by ID.
func (c *Catalog) List(ctx context.Context, f Filter) ([]Entry, error) { panic("contract") }

// Aliases returns every revision key of ready entries, for the in-memory view.
func (c *Catalog) Aliases(ctx context.Context) (map[Key][]EntryID, error) { panic("contract") }

// Applied is the highest journal sequence of host that Record has applied; 0 for none.
func (c *Catalog) Applied(ctx context.Context, host string) (int64, error) { panic("contract") }

// Record applies answered requests, in one transaction: hits, last-used, clones and the report's sums.
// Those with a Seq at or below Applied(host) are skipped; Seq 0 is always applied.
func (c *Catalog) Record(ctx context.Context, host string, upTo int64, requests []Request) error {
	panic("contract")
}

// RecordFill notes a fill that ended.
func (c *Catalog) RecordFill(ctx context.Context, f FillRecord) error { panic("contract") }

// Requests sums answered requests since then; the zero time is all.
func (c *Catalog) Requests(ctx context.Context, since time.Time) ([]RequestStat, error) {
	panic("contract")
}

// Evictions sums evictions since then.
func (c *Catalog) Evictions(ctx context.Context, since time.Time) ([]EvictionStat, error) {
	panic("contract")
}

// Fills sums fills since then.
func (c *Catalog) Fills(ctx context.Context, since time.Time) ([]FillStat, error) { panic("contract") }

// Check runs the database's own integrity check. ErrDamaged.
func (c *Catalog) Check(ctx context.Context) error { panic("contract") }

// Ledger is the local quota's book in the same database; it implements internaltenant.Ledger.
func (c *Catalog) Ledger() *Ledger { panic("contract") }

// Ledger keeps claims. It may be used from several goroutines.
type Ledger struct{}
