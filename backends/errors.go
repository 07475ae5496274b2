package backends

import "errors"

// Each of these is a decision that some caller makes. They are wrapped with the operation and its
// subject, and matched with errors.Is.
var (
	// ErrExist: the name or ID is taken; what is there is untouched.
	ErrExist = errors.New("already exists")
	// ErrNotExist: there is nothing by that name or ID.
	ErrNotExist = errors.New("does not exist")
	// ErrNotOurs: it is there, but does not carry clonecache's mark, and stays untouched.
	ErrNotOurs = errors.New("was not made by clonecache")
	// ErrNoSpace: the backend is full.
	ErrNoSpace = errors.New("no space left on the backend")
	// ErrLimit: the backend makes no more clones of this image-volume.
	ErrLimit = errors.New("clone limit reached")
	// ErrCannotClone: this backend has no clones; Info.NoClone says why.
	ErrCannotClone = errors.New("the backend cannot clone")
	// ErrTooSmall: the volume would be smaller than the image.
	ErrTooSmall = errors.New("smaller than the image")
	// ErrTooLarge: the backend makes no volumes of that size.
	ErrTooLarge = errors.New("larger than the backend makes volumes")
	// ErrBadName: the backend cannot call a volume or an image-volume that.
	ErrBadName = errors.New("not a usable name")
	// ErrInUse: something still needs it.
	ErrInUse = errors.New("in use")
	// ErrElsewhere: it lies in another place than what is to be made of it.
	ErrElsewhere = errors.New("lies elsewhere")
	// ErrUnavailable: the backend does not answer; the same call may succeed later.
	ErrUnavailable = errors.New("backend unavailable")
)
