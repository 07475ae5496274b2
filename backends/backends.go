// Package backends holds the contract between clonecache and the places where volumes live: a
// directory, a Ceph pool. One Backend has two sides. Its image-volumes are the cache: written once,
// committed, cloned many times, retired. Its volumes are what requesters get.
//
// The package defines types and errors and does no I/O. Each backend is a folder below this one, and
// backends/backendtest is the suite that accepts it. A backend never decides what to cache or to
// evict, never reads an image, and never touches what does not carry clonecache's mark.
package backends

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

// Name is the name that the configuration gives to a backend or a file cache.
type Name string

// CatalogID names the catalog of an installation, for ever.
type CatalogID string

// ImageVolumeID names one attempt at one image-volume on one backend. It is used once: it ends in the
// attempt's number, so that a late writer harms nobody. Letters, digits, '.', '_' and '-' only.
type ImageVolumeID string

// VolumeName is what the requester calls a volume on the backend: a file's or an RBD image's name.
type VolumeName string

// VolumeID is the backend's own ID of one volume, never used again for another one. A name may be
// taken over by another volume; an ID cannot.
type VolumeID string

// Info is what a backend found out about itself when it was opened. It does not change afterwards; before (Late)
// it is what is expected.
type Info struct {
	Kind     string // "file", "rbd", "cinder", "filecache"
	Location string // a directory, a pool: for people

	CanClone    bool   // Clone works here
	CloneMethod string // "reflink", "rbd-v2"; empty where CanClone is false
	NoClone     string // where CanClone is false: why, as a sentence for the operator

	// IndependentClones: a clone shares nothing with its image-volume that would keep the latter from
	// being removed, so Retire never detaches. True for reflinks, false for RBD.
	IndependentClones bool

	// Paths: a Volume has a Path which the host can open.
	Paths bool

	// EqualNames: nothing keeps two processes that make a volume of one name at once from making two.
	EqualNames bool
}

// Capacity is the size of what lies below the backend, in bytes. All zero means unknown, never full.
type Capacity struct {
	TotalBytes int64
	FreeBytes  int64
}

// Known tells whether the backend could say how large it is.
func (c Capacity) Known() bool { return c.TotalBytes > 0 }

// Description is what an image-volume says of itself. It is stored with the image-volume, so that a
// lost catalog can be rebuilt from the backend.
type Description struct {
	EntryID     words.EntryID `json:"entry_id"`
	Attempt     int           `json:"attempt"`
	ContentKey  words.Key     `json:"content_key"` // final only once committed
	Domain      string        `json:"domain"`      // who may share it; "" is everybody
	ImageIDs    []string      `json:"image_ids"`   // as SOURCE:ID, at least the one that was filled from
	RevisionKey words.Key     `json:"revision_key,omitempty"`
	Content
	ProjectID string        `json:"project_id"` // the internal tenant that owns it
	UserID    string        `json:"user_id"`
	ClaimID   words.ClaimID `json:"claim_id"` // the internal tenant's claim; a Cinder volume's ID under Cinder
	Form      Form          `json:"form"`
	CreatedAt time.Time     `json:"created_at"`
}

// Form is what the bytes of a cached image are.
type Form string

const (
	// Decoded is the disk's content, which volumes are cloned or written from.
	Decoded Form = "decoded"
	// Source is the image's own bytes, for serving them on.
	Source Form = "source"
)

// ImageVolumeState is how far an image-volume has come on its backend.
type ImageVolumeState int

const (
	// Staged: being written, or left by a process that died. Nothing can be cloned from it.
	Staged ImageVolumeState = iota + 1
	// Committed: durable, read-only, and clones may be made.
	Committed
	// Detached: retired while clones live. No new clones; Reap frees it once the last one is gone.
	Detached
)

func (s ImageVolumeState) String() string {
	switch s {
	case Staged:
		return "staged"
	case Committed:
		return "committed"
	case Detached:
		return "detached"
	}
	return "unknown"
}

// ImageVolume is one image-volume as the backend sees it.
type ImageVolume struct {
	ID           ImageVolumeID
	State        ImageVolumeState
	VirtualBytes int64 // the disk's size
	HeldBytes    int64 // what it occupies; holes and zeroes do not count
	Clones       int   // live clones that depend on it; always 0 with IndependentClones
	Description  Description
}

// StageSpec asks for a new image-volume.
type StageSpec struct {
	ID           ImageVolumeID
	VirtualBytes int64       // > 0; rounded up to a whole multiple of SizeUnit
	Description  Description // as far as it is known; Commit brings the final one
	// Adopt names an empty volume which the internal tenant's own service has made on this backend, to
	// become the image-volume; "": make a new one. Only an Adopter takes it.
	Adopt VolumeName
	// Room is asked before the stage comes to occupy more than it was granted; nil: there is room for all.
	Room Room
}

// Room grants space to a stage, in bytes of everything that the stage will occupy. It grants at least need, and up to
// ample where no entry has to be evicted for that; what it granted before it always grants again. An error means that
// nothing was granted: WriteAt returns that error, and the stage occupies no more than before. Room may wait for
// evictions, and may be called from several goroutines. Its caller holds no lock that a Retire of another image-volume takes.
type Room func(need, ample int64) (granted int64, err error)

// Origin tells what a volume was made from. It is the volume's stamp: kept with it where the backend
// can, and what a repeated request is compared with.
type Origin struct {
	EntryID     words.EntryID `json:"entry_id"`
	ContentKey  words.Key     `json:"content_key"`
	LookupKey   words.Key     `json:"lookup_key,omitempty"`  // what the request was looked up by, where that is another key
	ImageID     string        `json:"image_id"`              // SOURCE:ID as it was asked for
	Store       Name          `json:"store"`                 // the backend or the file cache that holds the image-volume
	ImageVolume ImageVolumeID `json:"image_volume"`          // in that store
	DirectFrom  string        `json:"direct_from,omitempty"` // the image's own location, for a direct clone
}

// VolumeSpec asks for a volume.
type VolumeSpec struct {
	Name      VolumeName
	SizeBytes int64  // > 0; at least the image-volume's virtual size for a clone; rounded up to a whole multiple of SizeUnit
	Token     string // names this attempt, used once; stamped on the volume where the backend can
	Origin    Origin
}

// Volume is one volume that clonecache made, as the backend sees it.
type Volume struct {
	Name      VolumeName
	ID        VolumeID
	SizeBytes int64
	HeldBytes int64  // what it occupies by itself or shared, as the backend counts; 0 where unknown
	Path      string // where the host finds it; empty without Info.Paths
	Token     string // of the attempt that made it; empty where the backend cannot keep it
	Origin    Origin
	Complete  bool // whole: at its full size, and (RBD) a registered child of its parent
	// DependsOn is what the volume still shares blocks with, for people: an image-volume's ID, or the
	// image's own location; "" where it depends on nothing: a copy, an independent clone, flattened.
	DependsOn string
}

// VolumeRef names a volume to remove. Without an ID the volume of that name goes, whatever it holds: its owner asks for it.
// With an ID a volume is taken back, because its requester was never told of it: only that very volume is meant, and only
// as it was made. Another volume that has taken over the name stays (ErrNotExist). A volume that is in use stays too: it is
// open, has snapshots or was written since, or the backend cannot tell (ErrInUse; ErrNotOurs where it belongs to its user
// from now on).
type VolumeRef struct {
	Name VolumeName
	ID   VolumeID // empty: whichever volume of ours bears Name
}

// Retired is what became of an image-volume that was retired.
type Retired struct {
	Gone       bool  // nothing is left of it; otherwise it is detached
	Clones     int   // live clones, where it is detached
	FreedBytes int64 // held bytes that came free at once
}

// Reaped is what a Reap removed.
type Reaped struct {
	ImageVolumes []ImageVolumeID
	FreedBytes   int64
}

// Stage is something being written. WriteAt may be called from several goroutines for ranges that do
// not overlap; what was not written reads as zeroes. Writing beyond its size is an error. Discard
// removes it and may be called at any time, also after Commit failed; after a Commit that succeeded it
// does nothing. If the process dies first, what is left is found by the backend's sweep
// (ListImageVolumes reports it as Staged; Sweep removes an unfinished volume).
type Stage interface {
	io.WriterAt
	Discard(ctx context.Context) error
}

// ImageVolumeStage is an image-volume being written.
type ImageVolumeStage interface {
	Stage
	// Commit makes the content durable, stores the final description, and only then lets clones be
	// made: a process that dies in it leaves a Staged or a Committed image-volume, nothing between.
	// ErrNoSpace: the backend is full; Discard it.
	Commit(ctx context.Context, final Description) (ImageVolume, error)
	// HeldBytes counts what the writes up to now occupy, or will occupy once they are on disk, in the store's own unit: a
	// filesystem's block, a piece of an RBD object. Commit's answer says no more than that, except for records beside the
	// content. HeldBytes is never more than StageSpec.Room granted.
	HeldBytes() int64
}

// VolumeStage is a volume being written, for copies.
type VolumeStage interface {
	Stage
	// Commit makes the volume durable and lets it appear under its name, whole.
	// ErrExist: the name was taken in the meantime; that volume is untouched.
	Commit(ctx context.Context) (Volume, error)
}

// Store keeps image-volumes: what a fill, an eviction and a reconcile need. Backends and file caches
// are Stores.
type Store interface {
	Belonging
	Info() Info
	// Stage reserves spec.ID and returns a place to write its content, spec.VirtualBytes long, which
	// reads as zeroes where nothing was written. Nothing can be cloned from it before Commit. If the
	// process dies first, ListImageVolumes reports it as Staged and Retire removes it.
	// ErrExist: the ID is taken, staged or committed. ErrNoSpace: the backend is full.
	Stage(ctx context.Context, spec StageSpec) (ImageVolumeStage, error)
	// Retire ends an image-volume in whatever state: from now on nothing is cloned from it, and it is
	// gone, or detached while clones live. Clones, also those in the making, are never harmed. It may
	// be repeated, and is, after a crash. ErrNotExist: there is nothing by that ID (any more).
	Retire(ctx context.Context, id ImageVolumeID) (Retired, error)
	// Reap frees detached image-volumes whose last clone is gone, and what a Retire that died left.
	// Only such as carry our mark.
	Reap(ctx context.Context) (Reaped, error)
	// ListImageVolumes yields every image-volume that carries our mark, in any state and in no order.
	// An error is yielded for one that cannot be read, with its ID set where that is known, and the
	// listing goes on; an error with an empty ID ends it. It costs the number of image-volumes, not of
	// volumes.
	ListImageVolumes(ctx context.Context) iter.Seq2[ImageVolume, error]
	Capacity(ctx context.Context) (Capacity, error)
	Close() error
}

// Volumes is the requester's side of a backend.
type Volumes interface {
	// CreateVolume returns a place to write a new volume's content. ErrExist: the name is taken, by
	// whomever. ErrBadName: no volume can be called that here.
	CreateVolume(ctx context.Context, spec VolumeSpec) (VolumeStage, error)
	// StatVolume describes the volume of that name. ErrNotExist: there is none. ErrNotOurs: there is
	// one, without our mark. ErrExist: there are several (Info.EqualNames).
	StatVolume(ctx context.Context, name VolumeName) (Volume, error)
	// ListVolumes yields the volumes that carry our mark.
	ListVolumes(ctx context.Context) iter.Seq2[Volume, error]
	// DeleteVolume removes a volume. ErrNotExist: it is not there, or (with ref.ID) another one has its
	// name. ErrNotOurs: no mark, or theirs by now. ErrInUse: something still needs it, or, with ref.ID,
	// the volume is in use (see VolumeRef): it stays, and trying again later would be wrong.
	DeleteVolume(ctx context.Context, ref VolumeRef) error
	// Settle ends the clone or copy of spec after the process that made it has died. A volume that bears spec.Token and was
	// whole once stays (Whole), whatever its owner has made of it. Anything less that is certainly of that attempt is
	// removed (Removed). Where nothing of the attempt is there, nothing is done (Absent), whichever volume has the name now.
	// It may be repeated. ErrInUse: something half made is open elsewhere, and stays. ErrUnavailable: the backend cannot
	// tell yet, as while the cluster has not noticed the process's death; repeat the call.
	Settle(ctx context.Context, spec VolumeSpec) (Settled, error)
}

// Settled is what Settle found and did.
type Settled int

const (
	// Absent: nothing of that attempt was there.
	Absent Settled = iota + 1
	// Whole: the attempt had made its volume, which stays.
	Whole
	// Removed: something half made was there and is gone now.
	Removed
)

func (s Settled) String() string {
	switch s {
	case Absent:
		return "absent"
	case Whole:
		return "whole"
	case Removed:
		return "removed"
	}
	return "unknown"
}

// Backend is a place where volumes live and image-volumes are cloned.
type Backend interface {
	Store
	Volumes
	// Clone makes volume spec.Name from a committed image-volume, grown to spec.SizeBytes, reading
	// zeroes beyond the image. It is there whole or not at all, also after a crash (with Settle), and
	// durable when Clone returns.
	// ErrNotExist: the image-volume is not there (any more), or not committed. ErrExist: the name is
	// taken; that volume is untouched. ErrTooSmall: SizeBytes is below the image-volume's virtual size. ErrTooLarge.
	// ErrLimit: the backend makes no more clones of this one. ErrCannotClone: not on this backend.
	// ErrNoSpace, ErrUnavailable.
	Clone(ctx context.Context, id ImageVolumeID, spec VolumeSpec) (Volume, error)
}
