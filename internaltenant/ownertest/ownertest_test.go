package ownertest

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
)

// broken is an owner with one promise broken: the ledger that it really has is altered by bend.
func broken(bend func(*ledger)) New {
	return func(_ context.Context, limits Limits) (internaltenant.Owner, error) {
		l := &ledger{}
		bend(l)
		return internaltenant.NewLocal(internaltenant.LocalConfig{
			ProjectID: "p", UserID: "u", MaxVolumes: limits.Volumes, MaxGigabytes: limits.Gigabytes,
		}, l)
	}
}

// These shorten the signatures below.
type (
	claimID = internaltenant.ClaimID
	line    = internaltenant.LedgerClaim
)

// ledger is a MemoryLedger that can be bent.
type ledger struct {
	internaltenant.MemoryLedger
	reserve func(ctx context.Context, l *ledger, c line, volumes, gigabytes int64) (claimID, error)
	settle  func(ctx context.Context, l *ledger, id claimID) error
	release func(ctx context.Context, l *ledger, id claimID) error
	claims  func([]line) []line
}

func (l *ledger) Reserve(ctx context.Context, c line, volumes, gigabytes int64) (claimID, error) {
	if l.reserve != nil {
		return l.reserve(ctx, l, c, volumes, gigabytes)
	}
	return l.MemoryLedger.Reserve(ctx, c, volumes, gigabytes)
}

func (l *ledger) Settle(ctx context.Context, id claimID) error {
	if l.settle != nil {
		return l.settle(ctx, l, id)
	}
	return l.MemoryLedger.Settle(ctx, id)
}

func (l *ledger) Release(ctx context.Context, id claimID) error {
	if l.release != nil {
		return l.release(ctx, l, id)
	}
	return l.MemoryLedger.Release(ctx, id)
}

func (l *ledger) Claims(ctx context.Context, project string) ([]line, error) {
	got, err := l.MemoryLedger.Claims(ctx, project)
	if l.claims != nil {
		got = l.claims(got)
	}
	return got, err
}

func failures(ctx context.Context, fresh New) (names []string) {
	for _, c := range Checks() {
		if c.Run(ctx, fresh) != nil {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestSuiteRejectsBrokenOwners(t *testing.T) {
	tests := []struct {
		name string
		bend func(*ledger)
		want string // a check that must fail
	}{
		{"no limits", func(l *ledger) {
			l.reserve = func(ctx context.Context, l *ledger, c line, _, _ int64) (claimID, error) {
				return l.MemoryLedger.Reserve(ctx, c, 0, 0)
			}
		}, "ClaimOverVolumesChargesNothing"},
		{"limit of gigabytes ignored", func(l *ledger) {
			l.reserve = func(ctx context.Context, l *ledger, c line, volumes, _ int64) (claimID, error) {
				return l.MemoryLedger.Reserve(ctx, c, volumes, 0)
			}
		}, "ClaimOverGigabytesChargesNothing"},
		{"charges although over", func(l *ledger) {
			l.reserve = func(ctx context.Context, l *ledger, c line, volumes, gigabytes int64) (claimID, error) {
				id, err := l.MemoryLedger.Reserve(ctx, c, volumes, gigabytes)
				if err != nil {
					_, _ = l.MemoryLedger.Reserve(ctx, c, 0, 0)
				}
				return id, err
			}
		}, "ClaimOverGigabytesChargesNothing"},
		{"repeats are charged again", func(l *ledger) {
			var n atomic.Int64
			l.reserve = func(ctx context.Context, l *ledger, c line, volumes, gigabytes int64) (claimID, error) {
				c.Attempt = 100 + int(n.Add(1))
				return l.MemoryLedger.Reserve(ctx, c, volumes, gigabytes)
			}
		}, "RepeatedClaimIsTheSameClaimAndChargedOnce"},
		{"attempts are one", func(l *ledger) {
			l.reserve = func(ctx context.Context, l *ledger, c line, volumes, gigabytes int64) (claimID, error) {
				c.Attempt = 0
				return l.MemoryLedger.Reserve(ctx, c, volumes, gigabytes)
			}
		}, "AnotherAttemptIsAnotherClaim"},
		{"settle does nothing", func(l *ledger) {
			l.settle = func(context.Context, *ledger, claimID) error { return nil }
		}, "SettleMovesReservedToInUse"},
		{"release does nothing", func(l *ledger) {
			l.release = func(context.Context, *ledger, claimID) error { return nil }
		}, "ReleaseFreesTheQuota"},
		{"release of an unknown claim is an error", func(l *ledger) {
			l.release = func(ctx context.Context, l *ledger, id claimID) error {
				if err := l.MemoryLedger.Settle(ctx, id); err != nil {
					return err
				}
				return l.MemoryLedger.Release(ctx, id)
			}
		}, "ReleaseIsHarmlessWhenRepeatedOrUnknown"},
		{"reserved claims are not listed", func(l *ledger) {
			l.claims = func(c []line) []line {
				return slices.DeleteFunc(c, func(c line) bool { return !c.InUse })
			}
		}, "ClaimsAreWhatIsCharged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := failures(t.Context(), broken(tt.bend)); !slices.Contains(got, tt.want) {
				t.Errorf("failed checks = %v, want %s among them", got, tt.want)
			}
		})
	}
}

// zeroForUnlimited is an owner whose Usage shows 0 where nothing is limited.
type zeroForUnlimited struct{ internaltenant.Owner }

func (z zeroForUnlimited) Usage(ctx context.Context) (internaltenant.Usage, error) {
	u, err := z.Owner.Usage(ctx)
	u.Volumes.Limit, u.Gigabytes.Limit = max(u.Volumes.Limit, 0), max(u.Gigabytes.Limit, 0)
	return u, err
}

func TestSuiteRejectsAnOwnerThatShowsZeroForUnlimited(t *testing.T) {
	whole := broken(func(*ledger) {})
	got := failures(t.Context(), func(ctx context.Context, limits Limits) (internaltenant.Owner, error) {
		o, err := whole(ctx, limits)
		return zeroForUnlimited{o}, err
	})
	if want := []string{"UsageTellsUnlimitedFromALimit"}; !slices.Equal(got, want) {
		t.Errorf("failed checks = %v, want %v", got, want)
	}
}

func TestSuitePassesTheUnbrokenOwner(t *testing.T) {
	Run(t, broken(func(*ledger) {}))
}
