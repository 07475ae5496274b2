package words

// State is how far an entry has come.
type State string

// filling → ready → evicting → gone (the row is removed); evicting → detached → gone; filling → failed.
const (
	Filling  State = "filling"
	Ready    State = "ready"
	Evicting State = "evicting"
	Detached State = "detached"
	Failed   State = "failed"
)

// EvictCause is why an entry went.
type EvictCause string

// The causes that the report counts.
const (
	CauseSize    EvictCause = "size"    // max_size
	CauseCount   EvictCause = "count"   // max_count
	CausePercent EvictCause = "percent" // max_percent
	CauseQuota   EvictCause = "quota"   // the internal tenant's quota
	CauseFull    EvictCause = "full"    // the store was full
	CauseAdmin   EvictCause = "admin"   // entry delete
	CausePrune   EvictCause = "prune"   // prune: bounds were lowered, or too old
	CauseGone    EvictCause = "gone"    // the image-volume had vanished from the backend
	CauseStale   EvictCause = "stale"   // its image changed or is no longer there
)

// EvictCauses are all causes that there are.
func EvictCauses() []EvictCause {
	return []EvictCause{CauseSize, CauseCount, CausePercent, CauseQuota, CauseFull, CauseAdmin, CausePrune, CauseGone, CauseStale}
}
