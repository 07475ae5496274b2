package internaltenant

import (
	"context"

	"github.com/clonecache/clonecache/plugin/words"
)

// Ledger is the book that Local keeps its claims in; the catalog has one.
type Ledger interface {
	// Reserve adds a reserved claim unless it would exceed limits, atomically, also among hosts; the same
	// EntryID and Attempt get the claim that they have. ErrOverQuota.
	Reserve(ctx context.Context, c LedgerClaim, maxVolumes, maxGigabytes int64) (ClaimID, error)
	// Settle marks a claim as in use. ErrUnknownClaim.
	Settle(ctx context.Context, id ClaimID) error
	// Release removes a claim; an unknown one is harmless.
	Release(ctx context.Context, id ClaimID) error
	// Claims lists a project's claims.
	Claims(ctx context.Context, projectID string) ([]LedgerClaim, error)
}

// LedgerClaim is one line of the ledger.
type LedgerClaim struct {
	ID        ClaimID // set by Reserve
	ProjectID string
	EntryID   words.EntryID
	Attempt   int
	Backend   string
	ImageID   string
	Gigabytes int64
	InUse     bool // settled; else reserved
}
