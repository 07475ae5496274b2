// Package internaltenant is the owner of image-volumes: a project and a user whose quota they count
// against. Local keeps the quota in clonecache's own ledger; under OpenStack the ledger is Cinder's.
//
// A claim is made before a byte is downloaded and released when the image-volume is really gone, so
// that quota charged equals image-volumes that exist (invariant I6). The package never touches a
// backend and never decides what to evict.
package internaltenant

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/plugin/words"
)

var (
	// ErrOverQuota: the claim would exceed a limit; nothing was charged. The message says which limit,
	// its value and what is used.
	ErrOverQuota = errors.New("over the internal tenant's quota")
	// ErrUnknownClaim: there is no such claim (any more).
	ErrUnknownClaim = errors.New("unknown claim")
	// ErrNoTenant: project, user or role is missing, so nothing can be owned.
	ErrNoTenant = errors.New("no usable internal tenant")
	// ErrImageHidden: the tenant may not read the image that its volume is to be made of.
	ErrImageHidden = errors.New("the internal tenant may not read the image")
	// ErrUnavailable: the service that keeps the tenant or its quota does not answer; the same call may
	// succeed later.
	ErrUnavailable = errors.New("internal tenant unavailable")
)

// ClaimID names a charge against the quota. Under Cinder it is the ID of the volume that Cinder made.
type ClaimID = words.ClaimID

// ClaimSpec says what is to be owned.
type ClaimSpec struct {
	EntryID      words.EntryID
	Attempt      int
	Backend      string
	ImageID      string // SOURCE:ID, for people
	VirtualBytes int64  // charged as GiB, rounded up, as Cinder counts
	// Generation tells the claims of an image-volume that consists of several volumes apart: 2 is the second one's; 0 and
	// 1 are the first one's.
	Generation int
}

// Claim is a charge that was made.
type Claim struct {
	ID        ClaimID
	ProjectID string
	UserID    string
	Gigabytes int64 // GiB, rounded up
	EntryID   words.EntryID
	Attempt   int
	// Generation is above 1 for a further volume of the same image-volume, which goes with it.
	Generation int
	InUse      bool // settled; else reserved
	// Backend is what its backend was called when the claim was made; "" where that does not matter.
	Backend string
	// Unsure: it may be another installation's, unless an entry or an image-volume of ours names it. Claims of
	// older versions do not say whose they are.
	Unsure bool
	// Volume is the empty volume, by its name on the backend, that came with the claim and becomes the
	// image-volume; "" where the backend makes one itself.
	Volume string
}

// Unlimited is the limit of a resource without one. A limit of 0 allows nothing at all.
const Unlimited int64 = -1

// Amounts counts one resource.
type Amounts struct {
	Limit    int64 `json:"limit"`    // or Unlimited
	InUse    int64 `json:"in_use"`   // image-volumes that are committed
	Reserved int64 `json:"reserved"` // fills in flight
}

// Usage is what the internal tenant may use and uses.
type Usage struct {
	ProjectID string
	UserID    string
	Volumes   Amounts
	Gigabytes Amounts // GiB
}

// Owner owns image-volumes. It may be used from several goroutines.
type Owner interface {
	// Claim charges the quota for one image-volume, as reserved. Repeating it for the same EntryID and
	// Attempt returns the same claim. ErrOverQuota, ErrNoTenant, ErrUnavailable.
	Claim(ctx context.Context, spec ClaimSpec) (Claim, error)
	// Settle turns a reserved claim into one in use, once its image-volume is committed. Repeating it
	// is harmless. ErrUnknownClaim.
	Settle(ctx context.Context, id ClaimID) error
	// Release ends a claim after its image-volume is gone. Repeating it, or an unknown claim, is
	// harmless.
	Release(ctx context.Context, id ClaimID) error
	// Claims lists what is charged, for reconciling with what exists.
	Claims(ctx context.Context) ([]Claim, error)
	Usage(ctx context.Context) (Usage, error)
}

// Gigabytes is how Cinder counts a size: GiB, rounded up; nothing for nothing.
func Gigabytes(bytes int64) int64 {
	const gib = 1 << 30
	if bytes <= 0 {
		return 0
	}
	return (bytes-1)/gib + 1
}
