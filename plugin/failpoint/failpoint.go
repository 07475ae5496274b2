// Package failpoint names every step after which the process may die, in one list. A build with the tag
// `failpoints` can be told to kill itself after a step; any other build compiles the calls to nothing.
//
// The crash tests walk All, so that a new step cannot be forgotten: one that is not in All does not
// compile, and one that no request reaches fails the test.
package failpoint

// Step is one arrow of a request, an eviction, a copy, or a migration, named after what was just done.
type Step string

// The steps, in the order in which a request meets them.
const (
	Reserve Step = "reserve" // the row is filling
	Source  Step = "source"  // the stream is open and its headers were inspected
	Room    Step = "room"    // the reservation stands, its victims are gone
	Claim   Step = "claim"   // the quota is charged
	Name    Step = "name"    // the row names the image-volume that will be staged
	Stage   Step = "stage"   // the image-volume is staged
	Write   Step = "write"   // its content is written
	Verify  Step = "verify"  // the digest is right
	Commit  Step = "commit"  // the image-volume is durable
	Publish Step = "publish" // the row is ready
	Settle  Step = "settle"  // the claim is in use
	Intent  Step = "intent"  // the journal names the volume that will be made
	Clone   Step = "clone"   // the volume exists, as a clone
	Copy    Step = "copy"    // the volume exists, as a copy
	Touch   Step = "touch"   // the journal has the answer
	Flush   Step = "flush"   // the catalog has counted it

	Evict   Step = "evict"   // the row is evicting
	Retire  Step = "retire"  // the image-volume is gone or detached
	Detach  Step = "detach"  // the row is detached
	Release Step = "release" // the claim is released
	Remove  Step = "remove"  // the row is gone
	Reap    Step = "reap"    // detached image-volumes whose clones are gone were freed

	Lend   Step = "lend"   // the loan is noted, and nobody was told of it
	Grow   Step = "grow"   // the image-volume has another generation
	Return Step = "return" // the loan is gone
	Keep   Step = "keep"   // the loan is kept for the next volume
	Offer  Step = "offer"  // the volume is offered to another project, and nobody was told

	Migrate Step = "migrate" // a migration of the catalog was applied
)

// All is every step there is.
func All() []Step { return append(Made(), Lent()...) }

// Lent are the steps that are reached only where image-volumes are lent, or volumes offered to other projects.
func Lent() []Step { return []Step{Lend, Grow, Return, Keep, Offer} }

// Made are the others.
func Made() []Step {
	return []Step{
		Reserve, Source, Room, Claim, Name, Stage, Write, Verify, Commit, Publish, Settle,
		Intent, Clone, Copy, Touch, Flush,
		Evict, Retire, Detach, Release, Remove, Reap,
		Migrate,
	}
}
