package backends

import (
	"context"
	"io"
	"iter"
	"os"
	"strings"
)

// Late is a Store that may not be open yet; package late has them.
type Late interface {
	Store
	// Down is why it cannot be used at all, an ErrUnavailable, so that nobody begins anything; nil once it is
	// open. It costs nothing.
	Down() error
	// Opened is the store itself, once it is open.
	Opened() (Store, bool)
}

// Capability is an optional capability of a store, or of the store that a Late one has opened.
func Capability[C any](s Store) (C, bool) {
	if late, ok := s.(Late); ok {
		opened, open := late.Opened()
		if !open {
			var none C
			return none, false
		}
		s = opened
	}
	c, ok := s.(C)
	return c, ok
}

// VolumeNamer is a Volumes that tells which names volumes may have, so that no image is read for one that could not
// be made.
type VolumeNamer interface {
	// CheckVolumeName is the ErrBadName with which a new volume of that name would be refused, else nil. It asks
	// nobody and changes nothing.
	CheckVolumeName(name VolumeName) error
}

// Adopter is an optional capability of a Store: its Stage takes StageSpec.Adopt. An adopted volume keeps
// its name. Stage makes it exactly VirtualBytes long; ErrNotExist: it is not on this backend (another one
// may share the volume type); ErrNotOurs: it is not empty, or has snapshots, and stays untouched. Retire,
// Reap and Discard remove our snapshot and mark; the content may stay. The volume itself is left to its owner's service,
// which removes it when the claim is released. Gone then means that nothing hinders that removal.
type Adopter interface {
	CanAdopt() bool
}

// DirectCloner is an optional capability of a backend: cloning a volume from where the image service
// itself keeps the image.
type DirectCloner interface {
	// CanCloneDirect tells, without I/O, whether location could be cloned here.
	CanCloneDirect(location string) bool
	// CloneDirect makes a volume as Clone does, with the image at location as its parent; Origin.DirectFrom
	// is location. The image stays untouched. Errors as Clone's: ErrNotExist where there is no such image or
	// snapshot, or it may not be read.
	CloneDirect(ctx context.Context, location string, spec VolumeSpec) (Volume, error)
}

// Flattener is an optional capability of a backend whose clones depend on their image-volume.
type Flattener interface {
	// Flatten copies into a volume what it still shares, so that it depends on nothing any more. It takes
	// as long as a copy; progress may be nil. A volume that is flat already stays as it is. The volume may
	// be in use. ErrNotExist, ErrNotOurs, ErrNoSpace. A crash leaves it partly copied and whole: repeat it.
	Flatten(ctx context.Context, name VolumeName, progress func(done, total int64)) error
}

// DeepLister is an optional capability of a backend that finds its image-volumes by an index: a search for strays, which
// carry our mark while no listing names them, because the index was lost or changed by others.
type DeepLister interface {
	// ListStrays looks at everything there is, and changes nothing; it costs a look at each volume. A fill
	// that is under way is no stray. An error is yielded for what cannot be read, with its Place, and the
	// listing goes on; an error without a Place ends it.
	ListStrays(ctx context.Context) iter.Seq2[Stray, error]
	// Recover makes a stray ordinary again: an image-volume is put back into the index, from where
	// ListImageVolumes yields it and Retire or Reap end it; an unfinished volume is removed. ErrNotOurs: only a
	// person can tell whether that is right (Stray.Remedy says how); nothing is done. ErrInUse: somebody has it
	// open. ErrNotExist: it is gone, or no stray any more.
	Recover(ctx context.Context, s Stray) error
}

// Stray is something with our mark that no listing names.
type Stray struct {
	Place       string        // as the backend's own tools name it: "images/clonecache-e-1", "images trash 1f3a"
	ID          VolumeID      // the backend's own
	ImageVolume ImageVolumeID // which one it says it is, or is of; empty for a volume
	Volume      VolumeName    // empty for an image-volume
	HeldBytes   int64         // 0 where unknown
	Detail      string        // what is wrong with it, as a sentence
	Remedy      string        // what Recover does; where it may do nothing, the command for a person
	Recoverable bool          // Recover may act
}

// Heir is an optional capability of a backend that several hosts share: finding what a daemon has left half made that is gone for good,
// and with it what it had noted.
type Heir interface {
	// Inherit removes the volumes that a daemon, known by its instance's ID, had half made, and ends the removals that it had begun.
	// Volumes that are whole stay: somebody may have been told of them. First it sees to it that the daemon, if it lives
	// after all, goes on with none of it; it may begin anew. removed are the volumes that are gone, also where the rest was not
	// to be settled yet: ErrUnavailable, repeat it. Once it has succeeded, nothing is left to be inherited. A crash leaves the
	// rest to the next call; two at once do no harm.
	Inherit(ctx context.Context, from string) (removed []VolumeName, err error)
}

// FileCopier is an optional capability of a backend: making a volume from an open file on the host
// without moving the bytes through this process. Content beyond the file reads as zeroes; holes stay
// holes. progress may be nil; else it is called with the count of src's bytes that are done, holes
// included, and last with all of them. Errors as VolumeStage's and Volumes.CreateVolume's; ErrTooSmall:
// SizeBytes is below the file's size. If ctx is cancelled, the copy ends soon and leaves nothing.
type FileCopier interface {
	CopyFromFile(ctx context.Context, src *os.File, spec VolumeSpec, progress func(copied int64)) (Volume, CopyMethod, error)
}

// CopyMethod is how a copy was made, for the answer and the report.
type CopyMethod string

const (
	// CopiedByReflink: the file cache and the backend share a filesystem that has reflinks.
	CopiedByReflink CopyMethod = "reflink"
	// CopiedInKernel: copy_file_range, holes kept.
	CopiedInKernel CopyMethod = "copy_file_range"
	// CopiedByWriting: read and written through VolumeStage, zeroes skipped.
	CopiedByWriting CopyMethod = "written"
)

// ImageVolumeStater is an optional capability of a Store whose clones depend on their image-volumes: looking
// at one without listing all.
type ImageVolumeStater interface {
	// StatImageVolume describes an image-volume as ListImageVolumes does. ErrNotExist: there is none.
	StatImageVolume(ctx context.Context, id ImageVolumeID) (ImageVolume, error)
}

// ImageVolumeReader is an optional capability of a Store: reading a committed image-volume's content,
// for a deep check. ErrNotExist.
type ImageVolumeReader interface {
	OpenImageVolume(ctx context.Context, id ImageVolumeID) (ImageVolumeContent, error)
}

// HoleTeller is an optional capability of an ImageVolumeContent, which can say what need not be read.
type HoleTeller interface {
	// NextData is the first range [from, to) at or behind off that may hold other bytes than zeroes; the bytes between off
	// and from read as zeroes. Where no such range follows, both are the size. It takes time in proportion to the
	// allocated bytes, or to the number of pieces in the store.
	NextData(ctx context.Context, off int64) (from, to int64, err error)
}

// CacheForgetter is an optional capability of an ImageVolumeContent that the host keeps parts of in memory.
type CacheForgetter interface {
	// ForgetCached lets what is read from now on come from the disk, as far as the host can: what is cached would hide that
	// the disk has something else.
	ForgetCached()
}

// ImageVolumeContent is an open image-volume; it stays readable while the image-volume is retired.
type ImageVolumeContent interface {
	io.ReaderAt
	io.Closer
}

// Offerer is an optional capability of a backend whose volumes belong to projects of a control plane. What several processes do
// to one volume's offers is told apart by the offers' IDs, and so harms none of which another one has told somebody.
type Offerer interface {
	// Offered is the ID of the offer of a volume; "": there is none, or no such volume. ErrUnavailable.
	Offered(ctx context.Context, name VolumeName) (string, error)
	// Offer lets whoever is told of it take the volume over into a project of their own; until then it stays ours, and is
	// deleted as any other. It takes the place of the offer instead, which is void; "": of none. ErrExist: there is another one
	// than that, which stays. ErrNotExist: the volume is not there, or somebody has taken it over. ErrInUse: it is attached.
	// ErrUnavailable. A crash, or an answer that was lost, leaves an offer of which nobody has the key: offering in its place,
	// or deleting the volume, ends it.
	Offer(ctx context.Context, ref VolumeRef, instead string) (Offer, error)
	// TakeBack deletes a volume with its offer; offer is "" where it has none. ErrInUse: it has another offer by now, or is attached,
	// and stays. ErrNotExist, ErrUnavailable.
	TakeBack(ctx context.Context, ref VolumeRef, offer string) error
}

// Offer is what takes a volume over.
type Offer struct {
	ID  string `json:"id" doc:"Names the transfer: under Cinder its ID"`
	Key Secret `json:"auth_key" doc:"What accepts it. It is told this once, and neither stored nor logged"`
}

// Secret is what nobody else is to read. It is printed as [secret], and encoded as it is.
type Secret string

// String keeps it out of logs.
func (Secret) String() string { return "[secret]" }

// GoString keeps it out of logs.
func (Secret) GoString() string { return "[secret]" }

// GenerationID names one of the volumes that an image-volume consists of, as its control plane knows it.
type GenerationID string

// Place is where something lies, as its control plane says it: Cinder's "host@backend#pool". "" is not known.
type Place string

// Backend is the place without its pool: "host@backend".
func (p Place) Backend() Place {
	at, _, _ := strings.Cut(string(p), "#")
	return Place(at)
}

// Lent is what somebody makes a clone of by itself.
type Lent struct {
	Generation GenerationID
	Place      Place // where it lies
}

// Lender is an optional capability of a Backend whose volumes are cloned by others, from an image-volume that is lent to
// them. An image-volume consists of generations then: volumes of equal content, each of which takes so many clones. All
// of them are held, and retired, as one. Who lends keeps count of what is lent: a Lender knows nothing of it.
type Lender interface {
	// Lend names the generation that takes one more clone. It asks nobody where the image-volume is known.
	// ErrNotExist: it is not there, or not committed. ErrLimit: all generations are full. ErrElsewhere: it
	// does not lie where the clone is to be.
	Lend(ctx context.Context, id ImageVolumeID, at Place) (Lent, error)
	// Generations are those of an image-volume as far as they are known without asking anybody, the first one first.
	Generations(id ImageVolumeID) []Lent
	// Returned says how a loan of a generation ended. One that is full is not lent for some time.
	Returned(id ImageVolumeID, g GenerationID, how Return)
	// Next looks once more at what there is, and numbers the generation that is to be made: 2 is the second one. ErrExist:
	// there is one that takes clones by now. ErrNotExist.
	Next(ctx context.Context, id ImageVolumeID) (int, error)
	// Grow makes the volume that its owner's service is filling with the image a generation, once that has ended, and
	// returns the image-volume as it then is. A process that dies before leaves a claim; the image-volume is as it was.
	// ErrNotExist, ErrNotOurs, ErrUnavailable.
	Grow(ctx context.Context, id ImageVolumeID, adopt VolumeName) (ImageVolume, error)
}

// Return is how a loan ended.
type Return string

const (
	// Made: the clone is there.
	Made Return = "made"
	// NotMade: there is no clone, and nothing of one.
	NotMade Return = "not_made"
	// Full: there is none, since the generation takes no more.
	Full Return = "full"
	// Gone: there is none, since the generation is not there any more. It is looked at before it is lent again.
	Gone Return = "gone"
)

// Filler is an optional capability of a Store whose image-volumes are filled by another service, from the image itself.
type Filler interface {
	// Fill waits until the staged image-volume has its image's content, which nothing else writes. filled is told of the
	// bytes as far as the service says. If ctx ends, Discard the stage. ErrUnavailable: the service could not fill it.
	Fill(ctx context.Context, stage ImageVolumeStage, filled func(bytes int64)) error
}
