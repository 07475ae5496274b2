package internaltenant

import "context"

// ResourceUsage counts one resource of a quota under the name that its keeper gives it, such as
// "gigabytes" or "volumes_rbd1". Limit may be Unlimited.
type ResourceUsage struct {
	Name     string `json:"name"`
	Limit    int64  `json:"limit"`
	InUse    int64  `json:"in_use"`
	Reserved int64  `json:"reserved"`
}

// VolumeMaker is an optional capability of an Owner whose claims may bring volumes to adopt.
type VolumeMaker interface {
	// MakesVolumes tells, without I/O, whether claims for a backend bring one.
	MakesVolumes(backend string) bool
}

// Detailed is an optional capability of an Owner whose quota has more limits than Usage tells.
type Detailed interface {
	// Details lists the resources as the quota's keeper counts them, whoever uses them. ErrNoTenant,
	// ErrUnavailable.
	Details(ctx context.Context) ([]ResourceUsage, error)
}

// Finder is an optional capability of an Owner whose claims are shared with other installations' in one book.
type Finder interface {
	// Find looks for the claim that was made for an image-volume, by EntryID and Attempt, whichever installation
	// made it and whatever its backend was called, and makes it this one's. The caller holds the store that the
	// image-volume lies on. ErrUnknownClaim, ErrNoTenant, ErrUnavailable.
	Find(ctx context.Context, spec ClaimSpec) (Claim, error)
}
