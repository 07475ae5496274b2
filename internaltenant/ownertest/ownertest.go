// Package ownertest is the contract of internaltenant.Owner as a suite of checks: an Owner is accepted
// when it passes all of them. Each check gets a fresh owner that has no claims.
package ownertest

import (
	"context"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
)

// Limits are the quota of the owner that a check asks for; 0 is unlimited.
type Limits struct {
	Volumes   int64
	Gigabytes int64
}

// New makes an owner without claims and with that quota, for one check.
type New func(ctx context.Context, limits Limits) (internaltenant.Owner, error)

// Check is one promise of the contract. Run returns nil where it is kept.
type Check struct {
	Name string
	Run  func(ctx context.Context, fresh New) error
}

// Run runs every check as a subtest.
func Run(t *testing.T, fresh New) {
	for _, check := range Checks() {
		t.Run(check.Name, func(t *testing.T) {
			if err := check.Run(t.Context(), fresh); err != nil {
				t.Error(err)
			}
		})
	}
}

// Checks lists the contract.
func Checks() []Check {
	return []Check{
		{"ClaimIsReservedAndRoundedUpToGiB", claimIsReserved},
		{"RepeatedClaimIsTheSameClaimAndChargedOnce", repeatedClaim},
		{"RepeatedClaimIsReturnedWhenTheQuotaIsFull", repeatedClaimWhenFull},
		{"AnotherAttemptIsAnotherClaim", anotherAttempt},
		{"ClaimOverVolumesChargesNothing", overVolumes},
		{"ClaimOverGigabytesChargesNothing", overGigabytes},
		{"ZeroLimitIsUnlimited", unlimited},
		{"UsageTellsUnlimitedFromALimit", unlimitedIsTold},
		{"SettleMovesReservedToInUse", settle},
		{"SettleOfAnUnknownClaimSaysSo", settleUnknown},
		{"RepeatedClaimStaysSettled", repeatedClaimStaysSettled},
		{"ReleaseFreesTheQuota", release},
		{"ReleaseIsHarmlessWhenRepeatedOrUnknown", releaseRepeated},
		{"ReleasedClaimIsChargedAgainWhenClaimedAgain", releaseAndClaim},
		{"ClaimsAreWhatIsCharged", claims},
		{"ConcurrentClaimsNeverExceedTheQuota", concurrentClaims},
		{"ConcurrentRepeatsAreChargedOnce", concurrentRepeats},
		{"CancelledClaimIsChargedOnlyWhenItSucceeds", cancelled},
	}
}
