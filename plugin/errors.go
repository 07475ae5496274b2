package plugin

import (
	"github.com/clonecache/clonecache/plugin/catalog"
)

import "errors"

// What CreateVolume and the admin's calls refuse, besides the errors of imagesource, diskimage,
// backends and catalog. An error means that the caller's usual way would refuse too, or that the
// request itself is wrong; all else is an Answer with outcome bypassed.
var (
	// ErrBadRequest: the request is wrong; the message names the field.
	ErrBadRequest = errors.New("bad request")
	// ErrUnknownBackend: no backend has that name, or the name is needed because there are several.
	ErrUnknownBackend = errors.New("unknown backend")
	// ErrConflict: a volume of that name exists that this request did not make; it is untouched.
	ErrConflict = errors.New("a different volume has this name")
	// ErrOffered: while the request was under way, another one for the same volume was told what takes it over.
	ErrOffered = errors.New("the volume was offered to another request for it")
	// ErrTooSmall: the volume would be smaller than the image.
	ErrTooSmall = errors.New("volume is smaller than the image")
	// ErrHasClones: the entry has live clones; force detaches it.
	ErrHasClones = errors.New("entry has live clones")
	// ErrBusy: the entry is being filled or evicted.
	ErrBusy = errors.New("entry is busy")
	// ErrElsewhere: what is meant lies on a store of another host, which is to be asked.
	ErrElsewhere = errors.New("it is another host's")
	// ErrCannotFlatten: volumes of this backend depend on their image-volumes, and it cannot change that.
	ErrCannotFlatten = errors.New("the backend cannot flatten volumes")
	// ErrLocked: another process has this state directory open.
	ErrLocked = errors.New("state directory is in use by another process")
	// ErrStopping: the plugin is closing.
	ErrStopping = errors.New("stopping")
)

// isGone tells that somebody else has already removed what was to be removed.
func isGone(err error) bool {
	return errors.Is(err, catalog.ErrLost) || errors.Is(err, catalog.ErrNotFound)
}
