// Package words holds the words that clonecache tells its users and keeps on disk: what a request came to and why,
// what happened to an entry, how far it has come, and what entries are found by. They are stable: a word is added, never
// renamed, since it stands in catalogs, journals, metrics and the programs of users.
//
// The package imports nothing of the project, so that every other package can speak in its types.
package words

// Outcome is what a request came to.
type Outcome string

// The outcomes.
const (
	Hit      Outcome = "hit"      // cloned from an image-volume that was there
	Filled   Outcome = "filled"   // made the image-volume, then cloned it
	Joined   Outcome = "joined"   // waited for another request's fill, then cloned
	Direct   Outcome = "direct"   // cloned from the image itself
	Copied   Outcome = "copied"   // written from the file cache
	Bypassed Outcome = "bypassed" // no volume was made, nothing is wrong: go your usual way
)

// UsesEntry tells that a request of this outcome used an entry which was there, or on its way, for somebody else.
func (o Outcome) UsesEntry() bool {
	switch o {
	case Hit, Joined, Copied:
		return true
	case Filled, Direct, Bypassed:
	}
	return false
}

// Reason says why a request came to its outcome.
type Reason string

// The reasons.
const (
	ReasonReady       Reason = "ready"               // hit: the image-volume was there
	ReasonMiss        Reason = "miss"                // filled: it was not
	ReasonInFlight    Reason = "fill_in_flight"      // joined: another request was making it
	ReasonRepeated    Reason = "already_made"        // hit: the volume was made by an earlier request
	ReasonOnBackend   Reason = "image_on_backend"    // direct
	ReasonCannotClone Reason = "cannot_clone"        // copied, bypassed: the backend has no clones
	ReasonCloneLimit  Reason = "clone_limit"         // the backend makes no more clones of this one
	ReasonOverQuota   Reason = "over_quota"          // the internal tenant's quota
	ReasonNoTenant    Reason = "no_internal_tenant"  // project, user or role is missing
	ReasonTenantDown  Reason = "tenant_unavailable"  // the service that keeps the tenant or its quota does not answer
	ReasonMismatch    Reason = "backend_mismatch"    // the tenant's volume is not on this backend, or not empty
	ReasonNoRoom      Reason = "no_room"             // nothing more may be evicted
	ReasonTooLarge    Reason = "larger_than_cache"   // the image alone is over the bound
	ReasonBackendFull Reason = "backend_full"        // no space left
	ReasonUnavailable Reason = "backend_unavailable" // the backend does not answer
	ReasonCatalogDown Reason = "catalog_unavailable" // the catalog's database does not answer; hits go on
	ReasonFilling     Reason = "filling"             // bypassed: the fill goes on in the background
	ReasonManyWaiting Reason = "too_many_waiting"    // bypassed: as many as may wait do so; the fill goes on
	ReasonEncrypted   Reason = "encrypted"           // bypassed: the volume is to be encrypted
	ReasonUnsuitable  Reason = "unsuitable"          // bypassed: image-volumes here are of another volume type
	ReasonDisabled    Reason = "backend_disabled"    // somebody has put the backend, or the file cache, out of use
	ReasonUndelivered Reason = "undelivered"         // bypassed: nobody took the answer; the volume was removed
	ReasonDeadline    Reason = "deadline"            // the caller's time is over
	ReasonScratchFull Reason = "scratch_full"        // the spool for out-of-order images is full
	ReasonCacheError  Reason = "cache_error"         // something went wrong in the cache; the log says what
	ReasonStopping    Reason = "stopping"            // the daemon is going down
)

// MissCause says why an image-volume was not there.
type MissCause string

// The causes of a miss.
const (
	MissNeverCached MissCause = "never_cached"
	MissEvicted     MissCause = "evicted"      // it was, and went: by a bound, an admin, from behind our back
	MissChanged     MissCause = "changed"      // other content of the image is cached
	MissQuarantined MissCause = "quarantined"  // what is cached of it was found damaged
	MissSameContent MissCause = "same_content" // the image was read, and its content is another entry's: none was made
)

// Outcomes are all outcomes, each with the reasons that it may have. A test holds that all reasons are there.
func Outcomes() map[Outcome][]Reason {
	elsewhere := []Reason{
		ReasonCannotClone, ReasonCloneLimit, ReasonOverQuota, ReasonNoTenant, ReasonTenantDown, ReasonMismatch, ReasonNoRoom,
		ReasonTooLarge, ReasonBackendFull, ReasonUnavailable, ReasonCatalogDown, ReasonDisabled, ReasonScratchFull, ReasonCacheError,
	}
	return map[Outcome][]Reason{
		Hit:    {ReasonReady, ReasonRepeated},
		Filled: {ReasonMiss},
		Joined: {ReasonInFlight},
		Direct: {ReasonOnBackend},
		Copied: elsewhere,
		Bypassed: append([]Reason{
			ReasonFilling, ReasonManyWaiting, ReasonEncrypted, ReasonUnsuitable, ReasonUndelivered, ReasonDeadline, ReasonStopping,
		}, elsewhere...),
	}
}
