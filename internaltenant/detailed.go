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

// Renamer is an optional capability of an Owner that knows claims by the name of their backend.
type Renamer interface {
	// Renamed tells that what bears the name formerly is the backend's that is called name now. It asks nobody
	// anything, and may be repeated.
	Renamed(formerly, name string)
}
