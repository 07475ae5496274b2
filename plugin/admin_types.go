package plugin

import (
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/journal"
)

// EntryView is an entry as admins see it.
type EntryView struct {
	ID         string           `json:"id" doc:"The entry's ID"`
	Backend    backends.Name    `json:"backend" doc:"What the backend or file cache that holds it is called"`
	StoreID    backends.StoreID `json:"store_id" doc:"That backend's or file cache's own ID, which stays when it gets another name"`
	Configured bool             `json:"configured" doc:"False where the store is not in the configuration any more, on no host: nothing is served from it"`
	Host       string           `json:"host,omitempty" doc:"The host whose store it lies on, where this one lacks that: its file cache, say"`
	ImageIDs   []string         `json:"image_ids" doc:"SOURCE:ID of every image with this content"`
	backends.Content
	State       string    `json:"state" enum:"filling,ready,evicting,detached,failed" doc:"How far it has come"`
	Form        string    `json:"form" enum:"decoded,source" doc:"What the cached bytes are"`
	ImageVolume string    `json:"image_volume" doc:"The image-volume's ID on the backend"`
	HeldBytes   int64     `json:"held_bytes" doc:"Bytes that limits count: held, or reserved while filling"`
	Hits        int64     `json:"hits" doc:"Requests it served, the first not counted"`
	Clones      int       `json:"clones" doc:"Live clones that depend on it"`
	Pinned      bool      `json:"pinned" doc:"Never evicted while pinned"`
	PinnedBy    string    `json:"pinned_by,omitempty" enum:"person,rule" doc:"Whose the pin is: a person's, which stays until one takes it back, or a rule's that follows the image; absent where it is not pinned"`
	CreatedAt   time.Time `json:"created_at"`
	// SupersededAt is set once the entry is what none of its images is any more.
	SupersededBy string     `json:"superseded_by" doc:"The entry that has the image's later content; empty while this one is current, or where the image is gone from its source, or beyond keep of what is followed (superseded_at is set then)"`
	SupersededAt *time.Time `json:"superseded_at" doc:"When its image came to have other content, or went; null while it is current. Superseded entries go first at eviction"`
	Generation   int64      `json:"generation" doc:"Counts the contents that its image has had on this backend, as far as their entries were there; the first is 1"`
	LastUsedAt   time.Time  `json:"last_used_at" doc:"Zero until it is ready"`
	// VerifiedAt is of what was read back.
	VerifiedAt    *time.Time `json:"verified_at" doc:"When its content was last read back and was what was written; null: not since it was filled"`
	QuarantinedAt *time.Time `json:"quarantined_at,omitempty" doc:"Since when nothing is made from it, as its content is not what was written; absent where it is right"`
	Quarantine    string     `json:"quarantine,omitempty" doc:"What was found wrong with it"`
	Error         string     `json:"error,omitempty" doc:"Why the last fill failed"`
	ReadBytes     int64      `json:"read_bytes,omitempty" doc:"While filling: bytes of the image read so far"`
	// Place and Volumes are of image-volumes that are lent, as far as they are known.
	Place   backends.Place `json:"place,omitempty" doc:"Where it lies, in its control plane's words: Cinder's host@backend#pool"`
	Volumes int            `json:"volumes,omitempty" doc:"How many volumes it consists of, where they are lent: each takes so many clones"`
	// ListPlace is where a list goes on that is not by age.
	ListPlace string `json:"list_place,omitempty" doc:"In a list of another order than by age: what after is for the entries that come after this one"`
	// Dependents are told of a single entry only, since they take a look at every volume.
	Dependents []backends.VolumeName `json:"dependents,omitzero" doc:"Volumes that still depend on it, by name; only where one entry is shown"`
	// MadeFrom is told of an entry in quarantine.
	MadeFrom []backends.VolumeName `json:"made_from,omitempty" doc:"Of one in quarantine: volumes that were made from it, whether they depend on it or not; only where one entry is shown"`
}

// EntryFilter selects entries; the zero filter selects all but failed ones.
type EntryFilter struct {
	Backend backends.Name
	State   string
	ImageID string
	// Contains is a part of the entry's ID, or of the SOURCE:ID of one of its images.
	Contains string
	Sort     EntrySort // "": by age
	After    string    // the last entry's ID, for paging; of another order than by age its ListPlace
	Limit    int       // 0: no limit
}

// EntrySort is an order of entries.
type EntrySort string

// The orders of entries: by age the oldest first, else the greatest first and of equal ones the youngest.
const (
	SortAge    EntrySort = "age"
	SortHeld   EntrySort = "held"
	SortHits   EntrySort = "hits"
	SortUsed   EntrySort = "used"
	SortClones EntrySort = "clones"
)

// EntrySorts are all of them, the default first.
var EntrySorts = []EntrySort{SortAge, SortHeld, SortHits, SortUsed, SortClones}

// VolumeView is a volume as admins see it.
type VolumeView struct {
	Volume    backends.VolumeName `json:"volume"`
	VolumeID  backends.VolumeID   `json:"volume_id"`
	Backend   backends.Name       `json:"backend"`
	ImageID   string              `json:"image_id"`
	EntryID   string              `json:"entry_id"`
	SizeBytes int64               `json:"size_bytes"`
	Path      string              `json:"path" doc:"Where the host finds it (file backends); else empty"`
	Complete  bool                `json:"complete"`
	DependsOn string              `json:"depends_on" doc:"The image-volume, or the image's location, whose blocks it still shares; empty where it depends on nothing"`
	Kept      journal.Kept        `json:"kept" enum:",unanswered,unproved,in_use" doc:"Empty for ordinary volumes. Else it stays, and perhaps nobody knows of it: its requester was not answered, or it is not proved that it was not, or somebody has it though its requester was told that there is none"`
}

// BackendView is a backend or a file cache as admins see it.
type BackendView struct {
	Name          backends.Name    `json:"name"`
	StoreID       backends.StoreID `json:"store_id" doc:"Its own ID, whatever it is called; empty where it never answered"`
	Kind          string           `json:"kind" enum:"file,rbd,cinder,filecache"`
	Location      string           `json:"location"`
	CanClone      bool             `json:"can_clone"`
	CloneMethod   string           `json:"clone_method,omitempty"`
	NoClone       string           `json:"no_clone,omitempty" doc:"Why it cannot clone"`
	Fallback      backends.Name    `json:"fallback,omitempty"`
	Available     bool             `json:"available"`
	Disabled      bool             `json:"disabled" doc:"Somebody has put it out of use: requests step aside, nothing is filled, and nothing goes by itself"`
	Error         string           `json:"error,omitempty"`
	Entries       int              `json:"entries"`
	HeldBytes     int64            `json:"held_bytes"`
	DetachedBytes int64            `json:"detached_bytes"`
	MaxSizeBytes  int64            `json:"max_size_bytes" doc:"0: unbounded"`
	MaxCount      int              `json:"max_count" doc:"0: unbounded"`
	MaxPercent    int              `json:"max_percent" doc:"0: unbounded"`
	TotalBytes    int64            `json:"total_bytes" doc:"0: unknown"`
	FreeBytes     int64            `json:"free_bytes"`
	Scrub         ScrubView        `json:"scrub" doc:"How far the reading back of its image-volumes has come"`
}

// ScrubView is how far the reading back of a store's image-volumes has come.
type ScrubView struct {
	Due         int64      `json:"due" doc:"Image-volumes that were not read back for scrub_every"`
	OldestAt    *time.Time `json:"oldest_at" doc:"When the one was that has waited longest, as filled at the earliest; null where there is none"`
	Quarantined int64      `json:"quarantined" doc:"Image-volumes in quarantine: their content is not what was written, and nothing is made from them"`
}

// UnavailableView is a backend or a file cache that does not answer.
type UnavailableView struct {
	Name  backends.Name `json:"name"`
	Since time.Time     `json:"since" doc:"When that was first noticed"`
	Error string        `json:"error" doc:"Why, as it was first noticed"`
}

// FillView is a fill in flight.
type FillView struct {
	EntryID      string        `json:"entry_id"`
	InstanceID   InstanceID    `json:"instance_id" doc:"The daemon that makes it: another one's figures are as of its last renewal of the lease, and its waiters those that wait here"`
	Backend      backends.Name `json:"backend"`
	ImageID      string        `json:"image_id"`
	Waiters      int           `json:"waiters"`
	ReadBytes    int64         `json:"read_bytes"`
	TotalBytes   int64         `json:"total_bytes" doc:"-1: unknown"`
	WrittenBytes int64         `json:"written_bytes"`
	StartedAt    time.Time     `json:"started_at"`
	Rate         int64         `json:"rate" doc:"Bytes of the image that are read each second, by the last seconds; 0: not known, as of another daemon's fill that nobody waits for here"`
	ETA          *time.Time    `json:"eta" doc:"When all of the image will have been read, at the rate of the last quarter of its time; null where nobody can tell"`
	WaitsFor     Bound         `json:"waits_for,omitempty" enum:"fills,source,backend,project" doc:"Absent unless the fill waits for its place, in this daemon: whose bound keeps it, of all fills (fill_limit), of those of its image source or backend (max_fills), or of those of its project (max_fills_per_project)"`
}

// Status is how the plugin is.
type Status struct {
	Version string `json:"version"`
	Host    string `json:"host"`
	// InstanceID and CatalogID are those in StateDir.
	InstanceID InstanceID         `json:"instance_id" doc:"Names this daemon, whatever its host is called"`
	CatalogID  backends.CatalogID `json:"catalog_id" doc:"Names the catalog: what each store says that it is held by"`
	StartedAt  time.Time          `json:"started_at"`
	StateDir   string             `json:"state_dir"`
	Ready      bool               `json:"ready"`
	Fills      []FillView         `json:"fills"`
	Backends   []BackendView      `json:"backends"`
	Sources    []SourceView       `json:"sources"`
	Clean      CleaningView       `json:"clean" doc:"How it is looked for what no entry names"`
}

// Problem is something that catalog, backend and quota do not agree on.
type Problem struct {
	Kind     string        `json:"kind" doc:"catalog-damaged, missing-image-volume, damaged-image-volume, unreadable-image-volume, unknown-image-volume, wrong-claim, unknown-claim, held-bytes, content, half-made-volume, kept-volume, quarantined, stray-image-volume, stray-volume, backend-unavailable, not-configured, …"`
	Backend  backends.Name `json:"backend"`
	ID       string        `json:"id" doc:"The entry, image-volume, claim or volume"`
	Detail   string        `json:"detail"`
	Remedy   string        `json:"remedy"`
	Repaired bool          `json:"repaired"`
}

// CheckOptions say how far Check goes.
type CheckOptions struct {
	Repair bool // mend what can be mended, rebuilding the catalog where it is lost
	Deep   bool // also read every image-volume and compare its content, and scan whole backends
	// Progress, if not nil, is told how many bytes a deep check has read.
	Progress func(readBytes, totalBytes int64)
}

// CheckResult is what Check found. OK: no problem is left.
type CheckResult struct {
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
}

// PruneResult is what Prune or a deletion of entries removed.
type PruneResult struct {
	Removed    []EntryView `json:"removed"`
	FreedBytes int64       `json:"freed_bytes"`
	Detached   int         `json:"detached" doc:"Of the removed, those whose space is held until nothing needs it: their last clone, or who has them open"`
	// DetachedOpen are those of Detached on which no clone depends.
	DetachedOpen int `json:"detached_open" doc:"Of the detached, those without a clone: a client has them open, or has died so lately that its cluster has not missed it"`
	// Planned is filled where nothing was to be done but to say what would go, and why.
	Planned []PlannedRemoval `json:"planned" doc:"dry_run: what would go, in this order, and what would stay, and why; nothing is removed then"`
	// Unavailable are the stores that were left out.
	Unavailable []UnavailableView `json:"unavailable" doc:"Backends and file caches that do not answer: what they hold stays, or goes once they answer"`
	// Left are image-volumes that stay where they are, since their store is not configured.
	Left []LeftBehind `json:"left,omitempty" doc:"Image-volumes that stay where they are: their store is not configured"`
}

// PlannedRemoval is an entry that would go, or that would stay though all were to go.
type PlannedRemoval struct {
	Entry    EntryView `json:"entry"`
	Goes     bool      `json:"goes"`
	Detached bool      `json:"detached" doc:"It goes, and its space is held until its last clone is gone"`
	Why      string    `json:"why" doc:"For people: the bound that is exceeded, how long it is idle, or what keeps it"`
}

// LeftBehind is an image-volume whose entry was deleted while its store was not configured.
type LeftBehind struct {
	Backend     backends.Name          `json:"backend"`
	StoreID     backends.StoreID       `json:"store_id"`
	ImageVolume backends.ImageVolumeID `json:"image_volume"`
}

// CleanResult is what Clean removed.
type CleanResult struct {
	FailedEntries int   `json:"failed_entries" doc:"Rows of failed fills"`
	Leftovers     int   `json:"leftovers" doc:"Image-volumes that no entry names"`
	Reaped        int   `json:"reaped" doc:"Detached image-volumes whose last clone is gone"`
	Claims        int   `json:"claims" doc:"Quota claims without an image-volume"`
	FreedBytes    int64 `json:"freed_bytes"`
	// Unavailable are the stores that were left out.
	Unavailable []UnavailableView `json:"unavailable" doc:"Backends and file caches that do not answer: what they hold stays"`
	// Planned is filled where nothing was to be done but to say what would go, and why.
	Planned []PlannedCleaning `json:"planned,omitempty" doc:"dry_run: what would go, and why; nothing is removed then"`
}
