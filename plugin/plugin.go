// Package plugin makes volumes from images. On the first request for an image it makes a cached
// image-volume, owned by the internal tenant, on the storage backend itself; every volume, the first
// one too, is a clone of it. Where a backend cannot clone, or the cache has no room, the volume is
// copied from a plain file cache; and where that cannot be done either, the plugin steps aside and
// says why.
//
// It owns the order of things: what is made durable before what is named, what is removed before what
// is forgotten. It keeps no state of its own but a catalog and a journal below StateDir, and after a
// crash Open settles what was in flight before it serves. It never opens anything that an image names.
//
// A block-storage control plane embeds it with Open and CreateVolume; the daemon serves the same API
// over HTTP (plugin/api). The whole program is this package's Example; without what is done about errors, it is
//
//	volumes, err := file.Open(ctx, file.Config{Name: "local", Path: filepath.Join(dir, "volumes")})
//	files, err := filecache.Open(ctx, filecache.Config{Name: "files", Path: filepath.Join(dir, "files")})
//	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: dir})
//
//	cache, err := plugin.Open(ctx, plugin.Config{
//		StateDir:   filepath.Join(dir, "state"),
//		Backends:   []plugin.BackendConfig{{Name: "local", Backend: volumes, Bounds: lru.Bounds{MaxCount: 50}, Fallback: "files"}},
//		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: files}},
//		Sources:    []imagesource.Source{library},
//	})
//	defer cache.Close(ctx)
//
//	answer, err := cache.CreateVolume(ctx, plugin.Request{Image: "library:debian.raw", Volume: name, SizeBytes: 4 << 20})
//
// An answer whose Outcome is Bypassed made no volume, and nothing is wrong: the caller goes its usual way.
package plugin

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Config opens a Plugin. Zero fields have the documented defaults.
type Config struct {
	// StateDir holds the catalog, the journal and the scratch space. It is created, and locked while the
	// Plugin is open: a second one on the same directory gets ErrLocked.
	StateDir string
	// Lock is of StateDir, where the caller has it already; it stays the caller's. Default: Open takes one,
	// and Close lets it go.
	Lock *StateLock
	// Catalog is where the catalog is. Default: a SQLite file in StateDir.
	Catalog catalog.Access
	// Host is what this host is called, for people. Default: the host's name.
	Host string
	// Version is what other hosts are told of the program. Default: the module's version.
	Version string

	Backends   []BackendConfig
	FileCaches []FileCacheConfig
	Groups     []GroupConfig
	Sources    []imagesource.Source
	// Follows are images that are to be cached always.
	Follows []FollowConfig

	// NewOwner makes the internal tenant, on the catalog's ledger if it wants one. Default: the local
	// tenant "clonecache", unlimited.
	NewOwner func(internaltenant.Ledger) (internaltenant.Owner, error)

	// ScratchDir is where images are spooled that must be read out of order. Default: StateDir/scratch.
	ScratchDir string
	// ScratchMaxBytes bounds it. Default: 20 GiB.
	ScratchMaxBytes int64
	// AcceptFormats are the formats that images may have. Default: raw, qcow2 and iso.
	AcceptFormats []diskimage.Format
	// AcceptCompression is what images may be compressed with as a whole. Default, if nil: gzip, xz, zstd, bzip2.
	AcceptCompression []diskimage.Compression
	// MaxCompressionRatio is how many bytes one of a compressed image may become, beyond the first GiB and
	// where the volume's size does not bound it. Default: 1000.
	MaxCompressionRatio int64
	// LeaseFor is how long a fill is another host's to respect without a renewal. Default: 30 s.
	LeaseFor time.Duration
	// FlushEvery is how long answered requests may wait before the catalog counts them. A kill loses
	// none of them: the journal has them. Default: 1 s.
	FlushEvery time.Duration
	// FillLimit bounds concurrent fills; more wait for a place. Default: 4.
	FillLimit int
	// ProjectFillLimit bounds how many fills this daemon has at once for the requests of one project, begun or waiting for
	// another place; more wait, and reserve nothing. 0: no bound.
	ProjectFillLimit int
	// SourceLimits are, by the name of an image source, what fills may ask of it. None: no bound but FillLimit.
	SourceLimits map[string]SourceLimit
	// FreshFor is, by the name of an image source, how long an entry that nobody uses is taken for what its image is; then
	// the source is asked. 0: for ever.
	FreshFor map[string]time.Duration
	// QueueEvery is how often the queue is looked at for what other daemons have added, or what may be tried again.
	// Default: 5 s.
	QueueEvery time.Duration
	// RetryAfter is how long the queue waits after the first failed attempt at an image; the time doubles with each one, up
	// to 15 minutes. Default: 30 s.
	RetryAfter time.Duration
	// ReportRetention is how long the report's sums are kept. Default: 90 days.
	ReportRetention time.Duration
	// KeepFailed is how long the rows of failed fills are kept for people to see. Default: 24 h.
	KeepFailed time.Duration
	// CleanEvery is how often it is looked for image-volumes and claims that no entry names, and for entries whose image-volumes
	// are gone. Default: 24 h. Negative: never.
	CleanEvery time.Duration
	// ScrubEvery is how often each image-volume is read back and compared with what was written. Default: 7 days. Negative:
	// never.
	ScrubEvery time.Duration
	// ScrubShare is how much of the time that may take of each store, in percent. Default: 5.
	ScrubShare int
	// EventsMax is how many events are kept; the oldest go first. Half of them are for hits and the like, the
	// other half for all else. Default: 10,000. Negative: none.
	EventsMax int

	Log      logrus.FieldLogger // default: discards
	Now      func() time.Time   // default: time.Now
	Observer Observer           // default: none; metrics
}

// BackendConfig is one backend and what its cache may hold.
type BackendConfig struct {
	Name    backends.Name
	Backend backends.Backend
	Bounds  lru.Bounds
	// Fallback names the file cache that serves requests which the image-volume path refuses. "": none.
	Fallback backends.Name
	// ShareAll lets images of several owners with equal content share one entry, once each of them was read.
	ShareAll bool
	// MaxIdle is the age since its last use at which Prune removes an entry. 0: never.
	MaxIdle time.Duration
	// RemoveUnusedAfter is the age since its last use at which an entry goes by itself, within minutes: unless it is
	// pinned, has live clones, or is younger than Bounds.MinAge. 0: never.
	RemoveUnusedAfter time.Duration
	// RequestTimeout is the deadline of requests that bring none, or a later one, from their beginning. A
	// fill that only such a request waited for ends with it. 0: none.
	RequestTimeout time.Duration
	// MaxWaiting bounds how many requests wait for fills at once; more are answered bypassed, reason
	// too_many_waiting, while their fills go on. 0: no bound.
	MaxWaiting int
	// MaxFills bounds how many fills into it this daemon has at once; more wait, and keep no place that others could have.
	// 0: no bound but FillLimit.
	MaxFills int
	// Disabled keeps it out of use, as Controls.DisableBackend does.
	Disabled bool
	// KeepForQuota keeps entries where the internal tenant's quota refuses an image-volume: else the least
	// recently used idle ones go, as for any bound.
	KeepForQuota bool
	// VolumeType is the only volume type that clones here suit, in the control plane's words; requests
	// for another one are answered bypassed, reason unsuitable. "": any.
	VolumeType string
	// CloneTime is what a driver may need for one clone, where the backend lends its image-volumes: a loan ends so long
	// after its request's deadline. Default: 10 minutes.
	CloneTime time.Duration
}

// FileCacheConfig is one plain file cache.
type FileCacheConfig struct {
	Name   backends.Name
	Cache  FileCache
	Bounds lru.Bounds // MaxBytes 0: 10 GiB
	// MaxIdle is the age since its last use at which Prune removes an entry. 0: never.
	MaxIdle time.Duration
	// RemoveUnusedAfter is the age since its last use at which an entry goes by itself, within minutes: unless it is
	// pinned, has live clones, or is younger than Bounds.MinAge. 0: never.
	RemoveUnusedAfter time.Duration
}

// GroupConfig names several backends, or file caches, at once.
type GroupConfig struct {
	Name     string
	Backends []backends.Name
}

// OnMiss says what a request does when its image is not cached yet.
type OnMiss string

const (
	// Wait for the fill, then clone. The default.
	Wait OnMiss = "wait"
	// Background starts the fill and answers bypassed, reason filling, at once.
	Background OnMiss = "background"
)

// Request asks for a volume.
type Request struct {
	Backend   backends.Name // "": the only one
	Image     string        // SOURCE:ID, an ID that one source holds, or a URL below an http source
	Volume    backends.VolumeName
	SizeBytes int64 // of the volume; at least the image's virtual size; 0: just that; rounded up to 4096 bytes
	OnMiss    OnMiss
	Digest    imagesource.Digest // expected; zero: the source's, if it has one
	// DiskFormat is the declared format; "": the source's claim, else what detection finds.
	DiskFormat string
	// ImageVirtualBytes is the disk's size as the caller knows it; 0: unknown. It lets the internal tenant
	// be asked sooner; the image's own header decides.
	ImageVirtualBytes int64
	// ImageLocations are where the control plane knows the image to lie, as URLs ("rbd://…"), for an image
	// service that does not tell the cache. One counts only if it is named by the image's own ID.
	ImageLocations []string
	// VolumeType is the one that the control plane was asked for; "": it has none, or does not say.
	VolumeType string
	// ProjectID is whose volume it is to be. Config.ProjectFillLimit bounds the fills of its requests, but those that
	// somebody else waits for too. "": not told, and not bounded.
	ProjectID ProjectID
	// Encrypted: the volume is to be encrypted, as no clone of a shared image-volume can be. It is answered
	// bypassed, reason encrypted.
	Encrypted bool
	// Transfer offers the volume to another project: whoever has the answer's Transfer takes it over there. Of a repeated
	// request the volume is offered anew. ErrBadRequest on a backend whose volumes belong to no project.
	Transfer bool
	// Lend asks for no volume, but for an image-volume that the requester makes it from by itself (Answer.Loan), on a
	// backend that lends.
	Lend bool
	// Place is where the volume is to be, in the control plane's words ("host@backend#pool"), for Lend; "": anywhere.
	Place backends.Place
	// Renews tells that the requester renews a loan while it clones (Lent.RenewSeconds): the loan need not last until the
	// deadline then, and one whose requester has died ends the sooner.
	Renews bool
	// Token is the requester's own, for sources that authorise each request by it; "": the source acts by
	// its own account. It is never stored or logged.
	Token imagesource.Token
	// Deadline is when the caller stops listening. No clone is started in its last seconds, and a volume
	// made too late is removed again. Zero: none.
	Deadline time.Time
	// Progress, if not nil, is told how far a fill or a copy has come, at most a few times a second.
	Progress func(Progress)
	// Deliver, if not nil, hands the answer to the requester once its volume exists, before CreateVolume
	// returns; answers without a new volume, or a new offer of one, are only returned. Where it fails, nobody knows of the new
	// volume, and it is removed by the backend's own ID; one that was there stays. While it runs, nobody else is told of the volume.
	Deliver func(Answer) error
}

// Progress is how far a request has come.
type Progress struct {
	Phase string `json:"phase" enum:"waiting,filling,joined,cloning,copying" doc:"What is being done; waiting: the fill waits for its place"`
	// WaitsFor is of phase waiting.
	WaitsFor   Bound `json:"waits_for,omitempty" enum:"fills,source,backend,project" doc:"Of a fill that waits for its place: whose bound keeps it, of all fills (fill_limit), of those of its image source or backend (max_fills), or of those of its project (max_fills_per_project)"`
	ReadBytes  int64 `json:"read_bytes" doc:"Bytes of the image read so far"`
	TotalBytes int64 `json:"total_bytes" doc:"Bytes of the image to read (or to copy); -1 where the source does not say"`
	Written    int64 `json:"written_bytes" doc:"Bytes written; zeroes are skipped"`
	// Rate and ETA are of a fill.
	Rate int64      `json:"rate,omitempty" doc:"Bytes of the image that are read each second, by the last seconds; 0: not known yet"`
	ETA  *time.Time `json:"eta,omitempty" doc:"When all of the image will have been read, at the rate of the last quarter of its time; absent where nobody can tell"`
}

// Answer is what a request came to.
type Answer struct {
	Outcome         Outcome             `json:"outcome" enum:"hit,filled,joined,direct,copied,bypassed" doc:"What the request came to"`
	Reason          Reason              `json:"reason" doc:"Why"`
	Detail          string              `json:"detail" doc:"The reason in a sentence, where there is more to say"`
	MissCause       MissCause           `json:"miss_cause,omitempty" enum:"never_cached,evicted,changed,same_content,quarantined" doc:"Of an image-volume that had to be filled: why it was not there"`
	Backend         backends.Name       `json:"backend" doc:"Where the volume is"`
	ImageID         string              `json:"image_id" doc:"SOURCE:ID of the image"`
	EntryID         string              `json:"entry_id" doc:"The cache entry that was used; empty where there was none"`
	Volume          backends.VolumeName `json:"volume" doc:"The volume's name"`
	VolumeID        backends.VolumeID   `json:"volume_id" doc:"The backend's own ID of the volume; empty where none was made"`
	Path            string              `json:"path" doc:"Where the host finds the volume (file backends); else empty"`
	SizeBytes       int64               `json:"size_bytes" doc:"The volume's size in bytes"`
	Rounded         bool                `json:"rounded" doc:"The size was rounded up to a whole multiple of 4096 bytes"`
	TookMS          float64             `json:"took_ms" doc:"Milliseconds from request to answer"`
	DownloadedBytes int64               `json:"downloaded_bytes" doc:"Bytes of the image that this request downloaded"`
	CopyMethod      backends.CopyMethod `json:"copy_method" doc:"How a copy was made; empty for what is none"`
	ETA             *time.Time          `json:"eta,omitempty" doc:"Of what was bypassed while a fill goes on: when that will have read all of the image; absent where nobody can tell"`
	// Transfer is told to the requester alone, once: it is neither stored nor logged.
	Transfer *backends.Offer `json:"transfer,omitempty" doc:"Of a volume that another project may take over, as the request asked: with what. It is told this once"`
	Lent
}

// Lent is the part of an answer that lends an image-volume.
type Lent struct {
	Loan       LoanID                `json:"loan,omitempty" doc:"Of an image-volume that was lent: the loan, to be ended by PUT /v1/loans/{loan}"`
	Generation backends.GenerationID `json:"lent,omitempty" doc:"The volume to clone from, as the control plane knows it: under Cinder its ID"`
	Place      backends.Place        `json:"place,omitempty" doc:"Where that lies: Cinder's host@backend#pool; absent where it is not known"`
	LentUntil  *time.Time            `json:"lent_until,omitempty" doc:"When the loan ends by itself (RFC 3339)"`
	// RenewSeconds is a third of what each renewal lets the loan last.
	RenewSeconds float64 `json:"renew_seconds,omitempty" doc:"Of a request that renews: the loan is to be renewed (POST /v1/loans/{loan}/renew) after so many seconds, again and again; it lasts three times as long"`
	// Keeps tells that the loan may be kept once the volume is made (Lending.KeepLoan).
	Keeps bool `json:"keeps,omitempty" doc:"Of a request that renews: once the volume is made, what was lent may be kept for the next one (POST /v1/loans/{loan}/keep) instead of ending the loan"`
}

// Observer hears what happens, for metrics. Its methods must return quickly.
type Observer interface {
	Request(backend backends.Name, outcome Outcome, reason Reason, took time.Duration)
	RequestError(backend backends.Name, err error)
	FillStarted(store backends.Name)
	FillEnded(store backends.Name, took time.Duration, err error)
	// FillSpent: a fill that became ready has spent its time so.
	FillSpent(store backends.Name, phases catalog.FillPhases)
	// Downloaded: a fill that ended, well or not, has read so many bytes from the image's source.
	Downloaded(store backends.Name, bytes int64)
	// Saved: a request was served without downloading so many bytes, which it would have without the cache.
	Saved(backend backends.Name, bytes int64)
	Evicted(store backends.Name, cause string, bytes int64)
}
