package internaltenant

import (
	"context"
	"errors"
	"fmt"
)

// LocalConfig is the internal tenant without OpenStack: names, and a quota of clonecache's own.
type LocalConfig struct {
	ProjectID    string // required
	UserID       string // required
	MaxVolumes   int64  // 0: unlimited
	MaxGigabytes int64  // GiB; 0: unlimited
}

// Local is an Owner whose quota is kept in a Ledger. What a crash leaves behind is what the ledger
// holds: a claim is either in it or was not made.
type Local struct {
	config LocalConfig
	ledger Ledger
}

var _ Owner = (*Local)(nil)

// NewLocal checks config and reports every bad key at once. A missing project or user matches
// ErrNoTenant. It does not touch the ledger.
func NewLocal(config LocalConfig, ledger Ledger) (*Local, error) {
	var problems []error
	for _, k := range []struct{ key, value string }{{"project_id", config.ProjectID}, {"user_id", config.UserID}} {
		if k.value == "" {
			problems = append(problems, fmt.Errorf("%s is empty: %w", k.key, ErrNoTenant))
		}
	}
	for _, k := range []struct {
		key   string
		value int64
	}{{"max_volumes", config.MaxVolumes}, {"max_gigabytes", config.MaxGigabytes}} {
		if k.value < 0 {
			problems = append(problems, fmt.Errorf("%s is %d: must be 0 (unlimited) or more", k.key, k.value))
		}
	}
	if ledger == nil {
		problems = append(problems, errors.New("no ledger given"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("internal tenant: %w", err)
	}
	return &Local{config: config, ledger: ledger}, nil
}

// Claim implements Owner. The spec of a repeated claim must be that of the first.
func (l *Local) Claim(ctx context.Context, spec ClaimSpec) (Claim, error) {
	if spec.EntryID == "" || spec.VirtualBytes < 0 {
		return Claim{}, fmt.Errorf("claim for entry %q of %d bytes: not a claim", spec.EntryID, spec.VirtualBytes)
	}
	line := LedgerClaim{
		ProjectID: l.config.ProjectID,
		EntryID:   spec.EntryID,
		Attempt:   spec.Attempt,
		Backend:   spec.Backend,
		ImageID:   spec.ImageID,
		Gigabytes: Gigabytes(spec.VirtualBytes),
	}
	id, err := l.ledger.Reserve(ctx, line, l.config.MaxVolumes, l.config.MaxGigabytes)
	if err != nil {
		return Claim{}, fmt.Errorf("claim for entry %s, attempt %d: %w", spec.EntryID, spec.Attempt, err)
	}
	line.ID = id
	return l.claim(line), nil
}

// Settle implements Owner.
func (l *Local) Settle(ctx context.Context, id ClaimID) error {
	if err := l.ledger.Settle(ctx, id); err != nil {
		return fmt.Errorf("settle claim %s: %w", id, err)
	}
	return nil
}

// Release implements Owner.
func (l *Local) Release(ctx context.Context, id ClaimID) error {
	if err := l.ledger.Release(ctx, id); err != nil {
		return fmt.Errorf("release claim %s: %w", id, err)
	}
	return nil
}

// Claims implements Owner.
func (l *Local) Claims(ctx context.Context) ([]Claim, error) {
	lines, err := l.lines(ctx)
	if err != nil {
		return nil, err
	}
	claims := make([]Claim, len(lines))
	for i, line := range lines {
		claims[i] = l.claim(line)
	}
	return claims, nil
}

// Usage implements Owner.
func (l *Local) Usage(ctx context.Context) (Usage, error) {
	lines, err := l.lines(ctx)
	if err != nil {
		return Usage{}, err
	}
	u := Sum(lines)
	u.ProjectID, u.UserID = l.config.ProjectID, l.config.UserID
	u.Volumes.Limit, u.Gigabytes.Limit = limit(l.config.MaxVolumes), limit(l.config.MaxGigabytes)
	return u, nil
}

// limit is the limit that a setting means; a setting of 0 means Unlimited.
func limit(setting int64) int64 {
	if setting == 0 {
		return Unlimited
	}
	return setting
}

func (l *Local) lines(ctx context.Context) ([]LedgerClaim, error) {
	lines, err := l.ledger.Claims(ctx, l.config.ProjectID)
	if err != nil {
		return nil, fmt.Errorf("claims of project %s: %w", l.config.ProjectID, err)
	}
	return lines, nil
}

func (l *Local) claim(line LedgerClaim) Claim {
	return Claim{
		ID: line.ID, ProjectID: line.ProjectID, UserID: l.config.UserID, Gigabytes: line.Gigabytes,
		EntryID: line.EntryID, Attempt: line.Attempt, InUse: line.InUse,
	}
}
