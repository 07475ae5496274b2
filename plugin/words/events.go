package words

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventHit           EventKind = "hit"
	EventJoined        EventKind = "joined"
	EventMiss          EventKind = "miss"
	EventDirect        EventKind = "direct"
	EventCopied        EventKind = "copied"
	EventBypassed      EventKind = "bypassed"
	EventFilled        EventKind = "filled"
	EventFillFailed    EventKind = "fill_failed"
	EventEvicted       EventKind = "evicted"
	EventDetached      EventKind = "detached"
	EventReaped        EventKind = "reaped"
	EventVanished      EventKind = "vanished"
	EventAdopted       EventKind = "adopted"
	EventMended        EventKind = "mended"
	EventQuarantined   EventKind = "quarantined"
	EventReleased      EventKind = "released"
	EventPinned        EventKind = "pinned"
	EventUnpinned      EventKind = "unpinned"
	EventDeleted       EventKind = "deleted"
	EventVolumeDeleted EventKind = "volume_deleted"
	EventKept          EventKind = "kept"
	EventUnreachable   EventKind = "unreachable"
	EventBack          EventKind = "back"
	EventActed         EventKind = "acted"
	EventStarted       EventKind = "started"
	EventStopped       EventKind = "stopped"
)

// KindOfEvent is an EventKind and what it tells of.
type KindOfEvent struct {
	Kind    EventKind
	Meaning string
}

// EventKinds are all kinds that there are. The words are stable.
func EventKinds() []KindOfEvent {
	return []KindOfEvent{
		{EventHit, "a request was served from what was cached"},
		{EventJoined, "a request waited for another one's fill, and was served from it"},
		{EventMiss, "a request found nothing cached, made the image-volume, and was served from it"},
		{EventDirect, "a request was served by a clone of the image itself"},
		{EventCopied, "a request was served by a copy from the file cache; reason: what kept it from a clone"},
		{EventBypassed, "a request was left to its usual way; reason: why"},
		{EventFilled, "an image-volume, or a cached file, is ready; bytes: what it holds"},
		{EventFillFailed, "a fill came to nothing; reason: why"},
		{EventEvicted, "an image-volume, or a cached file, was evicted; reason: the bound or the cause; bytes: what came free"},
		{EventDetached, "an image-volume was retired while clones depend on it, or a client has it open; reason: the cause; bytes: what it holds"},
		{EventReaped, "a detached image-volume is gone, as nothing holds it any more; bytes: what came free"},
		{EventVanished, "an image-volume was no longer usable, behind our back; its entry is dropped"},
		{EventAdopted, "an image-volume that no entry named was taken into the catalog"},
		{EventMended, "catalog, backend and quota did not agree, and do now; reason: the kind of problem"},
		{EventQuarantined, "an image-volume is not what was written any more: nothing is made from it; detail: what was found, and what was made from it"},
		{EventReleased, "an image-volume that was in quarantine was read again, and is what was written"},
		{EventPinned, "somebody, or a rule of `[[follow]]`, pinned an entry"},
		{EventUnpinned, "somebody, or a rule of `[[follow]]`, unpinned an entry"},
		{EventDeleted, "somebody deleted an entry through the API; bytes: what came free"},
		{EventVolumeDeleted, "somebody deleted a volume through the API"},
		{EventKept, "a volume stays of which perhaps nobody knows; reason: `unanswered`, `unproved` or `in_use`; detail: what a person can do"},
		{EventUnreachable, "a backend or a file cache does not answer; detail: its error"},
		{EventBack, "a backend or a file cache answers again"},
		{EventActed, "somebody asked through the API for a change, and had it; who: who; detail: what"},
		{EventStarted, "the daemon has started"},
		{EventStopped, "the daemon was stopped"},
	}
}
