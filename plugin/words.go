package plugin

import "github.com/clonecache/clonecache/plugin/words"

// The words of package words that programs which embed the plugin meet.
type (
	Outcome     = words.Outcome
	Reason      = words.Reason
	MissCause   = words.MissCause
	EventKind   = words.EventKind
	KindOfEvent = words.KindOfEvent
	EntryID     = words.EntryID
)

// The outcomes of requests.
const (
	Hit      = words.Hit
	Filled   = words.Filled
	Joined   = words.Joined
	Direct   = words.Direct
	Copied   = words.Copied
	Bypassed = words.Bypassed
)

// The reasons of outcomes.
const (
	ReasonReady       = words.ReasonReady
	ReasonMiss        = words.ReasonMiss
	ReasonInFlight    = words.ReasonInFlight
	ReasonRepeated    = words.ReasonRepeated
	ReasonOnBackend   = words.ReasonOnBackend
	ReasonCannotClone = words.ReasonCannotClone
	ReasonCloneLimit  = words.ReasonCloneLimit
	ReasonOverQuota   = words.ReasonOverQuota
	ReasonNoTenant    = words.ReasonNoTenant
	ReasonTenantDown  = words.ReasonTenantDown
	ReasonMismatch    = words.ReasonMismatch
	ReasonNoRoom      = words.ReasonNoRoom
	ReasonTooLarge    = words.ReasonTooLarge
	ReasonBackendFull = words.ReasonBackendFull
	ReasonUnavailable = words.ReasonUnavailable
	ReasonCatalogDown = words.ReasonCatalogDown
	ReasonFilling     = words.ReasonFilling
	ReasonManyWaiting = words.ReasonManyWaiting
	ReasonEncrypted   = words.ReasonEncrypted
	ReasonUnsuitable  = words.ReasonUnsuitable
	ReasonDisabled    = words.ReasonDisabled
	ReasonUndelivered = words.ReasonUndelivered
	ReasonDeadline    = words.ReasonDeadline
	ReasonScratchFull = words.ReasonScratchFull
	ReasonCacheError  = words.ReasonCacheError
	ReasonStopping    = words.ReasonStopping
)

// The causes of a miss.
const (
	MissNeverCached = words.MissNeverCached
	MissEvicted     = words.MissEvicted
	MissChanged     = words.MissChanged
	MissQuarantined = words.MissQuarantined
	MissSameContent = words.MissSameContent
)

// The kinds of events.
const (
	EventHit           = words.EventHit
	EventJoined        = words.EventJoined
	EventMiss          = words.EventMiss
	EventDirect        = words.EventDirect
	EventCopied        = words.EventCopied
	EventBypassed      = words.EventBypassed
	EventFilled        = words.EventFilled
	EventFillFailed    = words.EventFillFailed
	EventEvicted       = words.EventEvicted
	EventDetached      = words.EventDetached
	EventReaped        = words.EventReaped
	EventVanished      = words.EventVanished
	EventAdopted       = words.EventAdopted
	EventMended        = words.EventMended
	EventQuarantined   = words.EventQuarantined
	EventReleased      = words.EventReleased
	EventPinned        = words.EventPinned
	EventUnpinned      = words.EventUnpinned
	EventDeleted       = words.EventDeleted
	EventVolumeDeleted = words.EventVolumeDeleted
	EventKept          = words.EventKept
	EventUnreachable   = words.EventUnreachable
	EventBack          = words.EventBack
	EventActed         = words.EventActed
	EventStarted       = words.EventStarted
	EventStopped       = words.EventStopped
)

// Outcomes are all outcomes, each with the reasons that it may have.
func Outcomes() map[Outcome][]Reason { return words.Outcomes() }

// EventKinds are all kinds of events that there are, each with its meaning.
func EventKinds() []KindOfEvent { return words.EventKinds() }
