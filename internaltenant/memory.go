package internaltenant

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
)

// MemoryLedger is a Ledger in memory, for tests and for programs that embed the plugin and rebuild
// their claims at start. It is not durable: when the process ends, nothing is charged any more. The
// zero MemoryLedger is empty and ready. It may be used from several goroutines.
type MemoryLedger struct {
	mu     sync.Mutex
	claims map[ClaimID]LedgerClaim
}

var _ Ledger = (*MemoryLedger)(nil)

// Reserve implements Ledger.
func (m *MemoryLedger) Reserve(ctx context.Context, c LedgerClaim, maxVolumes, maxGigabytes int64) (ClaimID, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	c.ID = ClaimID(fmt.Sprintf("%s-%d", c.EntryID, c.Attempt))
	c.InUse = false
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, found := m.claims[c.ID]; found {
		return c.ID, nil
	}
	used := Sum(m.of(c.ProjectID))
	used.Volumes.Limit, used.Gigabytes.Limit = limit(maxVolumes), limit(maxGigabytes)
	if err := CheckQuota(used, c.Gigabytes); err != nil {
		return "", err
	}
	if m.claims == nil {
		m.claims = map[ClaimID]LedgerClaim{}
	}
	m.claims[c.ID] = c
	return c.ID, nil
}

// Settle implements Ledger.
func (m *MemoryLedger) Settle(ctx context.Context, id ClaimID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c, found := m.claims[id]
	if !found {
		return ErrUnknownClaim
	}
	c.InUse = true
	m.claims[id] = c
	return nil
}

// Release implements Ledger.
func (m *MemoryLedger) Release(ctx context.Context, id ClaimID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claims, id)
	return nil
}

// Claims implements Ledger, ordered by ID.
func (m *MemoryLedger) Claims(ctx context.Context, projectID string) ([]LedgerClaim, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	claims := m.of(projectID)
	slices.SortFunc(claims, func(a, b LedgerClaim) int { return cmp.Compare(a.ID, b.ID) })
	return claims, nil
}

// of lists a project's claims; m.mu is held.
func (m *MemoryLedger) of(projectID string) []LedgerClaim {
	var claims []LedgerClaim
	for _, c := range m.claims {
		if c.ProjectID == projectID {
			claims = append(claims, c)
		}
	}
	return claims
}
