package ownertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/words"
)

const gib = 1 << 30

// spec is a claim of so many GiB for a numbered entry.
func spec(entry int, gigabytes int64) internaltenant.ClaimSpec {
	return internaltenant.ClaimSpec{
		EntryID:      words.EntryID(fmt.Sprintf("entry-%d", entry)),
		Attempt:      1,
		Backend:      "local",
		ImageID:      "library:debian-12.qcow2",
		VirtualBytes: gigabytes * gib,
	}
}

// subject is the owner under test; its methods turn what should not be into an error that says so.
type subject struct{ internaltenant.Owner }

func open(ctx context.Context, fresh New, limits Limits) (subject, error) {
	owner, err := fresh(ctx, limits)
	if err != nil {
		return subject{}, fmt.Errorf("open a fresh owner: %w", err)
	}
	return subject{owner}, nil
}

// claimAll makes several claims, and returns them.
func (s subject) claimAll(ctx context.Context, specs ...internaltenant.ClaimSpec) ([]internaltenant.Claim, error) {
	var made []internaltenant.Claim
	for _, sp := range specs {
		c, err := s.Claim(ctx, sp)
		if err != nil {
			return nil, fmt.Errorf("claim %+v: %w", sp, err)
		}
		made = append(made, c)
	}
	return made, nil
}

// figures are volumes in use and reserved, gigabytes in use and reserved.
type figures [4]int64

func (s subject) wantUsage(ctx context.Context, want figures) error {
	u, err := s.Usage(ctx)
	if err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	got := figures{u.Volumes.InUse, u.Volumes.Reserved, u.Gigabytes.InUse, u.Gigabytes.Reserved}
	if got != want {
		return fmt.Errorf("usage is volumes in use, reserved, gigabytes in use, reserved = %v, want %v", got, want)
	}
	return nil
}

func claimIsReserved(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{Volumes: 5, Gigabytes: 50})
	if err != nil {
		return err
	}
	odd := spec(1, 3)
	odd.VirtualBytes++
	made, err := s.claimAll(ctx, odd)
	if err != nil {
		return err
	}
	if made[0].ID == "" || made[0].Gigabytes != 4 {
		return fmt.Errorf("claim of 3 GiB and a byte is %+v, want 4 gigabytes and an ID", made[0])
	}
	u, err := s.Usage(ctx)
	if err != nil {
		return err
	}
	if u.Volumes.Limit != 5 || u.Gigabytes.Limit != 50 {
		return fmt.Errorf("limits are %d volumes, %d gigabytes; want 5, 50", u.Volumes.Limit, u.Gigabytes.Limit)
	}
	return s.wantUsage(ctx, figures{0, 1, 0, 4})
}

func repeatedClaim(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, spec(1, 2), spec(1, 2))
	if err != nil {
		return err
	}
	if made[0] != made[1] {
		return fmt.Errorf("repeated claim is %+v, want %+v", made[1], made[0])
	}
	return s.wantUsage(ctx, figures{0, 1, 0, 2})
}

func repeatedClaimWhenFull(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{Volumes: 1, Gigabytes: 2})
	if err != nil {
		return err
	}
	if _, err := s.claimAll(ctx, spec(1, 2), spec(1, 2)); err != nil {
		return err
	}
	return s.wantUsage(ctx, figures{0, 1, 0, 2})
}

func anotherAttempt(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	again := spec(1, 2)
	again.Attempt = 2
	made, err := s.claimAll(ctx, spec(1, 2), again)
	if err != nil {
		return err
	}
	if made[0].ID == made[1].ID {
		return fmt.Errorf("attempts 1 and 2 have one claim %s", made[0].ID)
	}
	return s.wantUsage(ctx, figures{0, 2, 0, 4})
}

func overVolumes(ctx context.Context, fresh New) error {
	return overQuota(ctx, fresh, Limits{Volumes: 2}, []internaltenant.ClaimSpec{spec(1, 1), spec(2, 1)}, spec(3, 1))
}

func overGigabytes(ctx context.Context, fresh New) error {
	return overQuota(ctx, fresh, Limits{Gigabytes: 10}, []internaltenant.ClaimSpec{spec(1, 4), spec(2, 4)}, spec(3, 3))
}

// overQuota makes claims that fit, then one that does not.
func overQuota(ctx context.Context, fresh New, limits Limits, fit []internaltenant.ClaimSpec, over internaltenant.ClaimSpec) error {
	s, err := open(ctx, fresh, limits)
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, fit...)
	if err != nil {
		return err
	}
	if _, err := s.Claim(ctx, over); !errors.Is(err, internaltenant.ErrOverQuota) {
		return fmt.Errorf("a claim over the quota: %v, want ErrOverQuota", err)
	} else if limit := fmt.Sprint(limits.Volumes + limits.Gigabytes); !strings.Contains(err.Error(), limit) {
		return fmt.Errorf("%q does not say the limit %s", err, limit)
	}
	var gigabytes int64
	for _, c := range made {
		gigabytes += c.Gigabytes
	}
	return s.wantUsage(ctx, figures{0, int64(len(made)), 0, gigabytes})
}

func unlimited(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	for i := range 20 {
		if _, err := s.claimAll(ctx, spec(i, 1000)); err != nil {
			return err
		}
	}
	return s.wantUsage(ctx, figures{0, 20, 0, 20000})
}

func unlimitedIsTold(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{Gigabytes: 7})
	if err != nil {
		return err
	}
	u, err := s.Usage(ctx)
	if err != nil {
		return err
	}
	if u.Volumes.Limit != internaltenant.Unlimited || u.Gigabytes.Limit != 7 {
		return fmt.Errorf("limits are %d volumes, %d gigabytes; want %d, 7", u.Volumes.Limit, u.Gigabytes.Limit, internaltenant.Unlimited)
	}
	return nil
}

func settle(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{Volumes: 2})
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, spec(1, 3), spec(2, 4))
	if err != nil {
		return err
	}
	for range 2 {
		if err := s.Settle(ctx, made[0].ID); err != nil {
			return err
		}
		if err := s.wantUsage(ctx, figures{1, 1, 3, 4}); err != nil {
			return err
		}
	}
	if _, err := s.Claim(ctx, spec(3, 1)); !errors.Is(err, internaltenant.ErrOverQuota) {
		return fmt.Errorf("a third claim beside one in use and one reserved: %v, want ErrOverQuota", err)
	}
	return nil
}

func settleUnknown(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	if err := s.Settle(ctx, "no-such-claim"); !errors.Is(err, internaltenant.ErrUnknownClaim) {
		return fmt.Errorf("settle an unknown claim: %v, want ErrUnknownClaim", err)
	}
	made, err := s.claimAll(ctx, spec(1, 1))
	if err != nil {
		return err
	}
	if err := s.Release(ctx, made[0].ID); err != nil {
		return err
	}
	if err := s.Settle(ctx, made[0].ID); !errors.Is(err, internaltenant.ErrUnknownClaim) {
		return fmt.Errorf("settle a released claim: %v, want ErrUnknownClaim", err)
	}
	return s.wantUsage(ctx, figures{})
}

func repeatedClaimStaysSettled(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, spec(1, 2))
	if err != nil {
		return err
	}
	if err := s.Settle(ctx, made[0].ID); err != nil {
		return err
	}
	if _, err := s.claimAll(ctx, spec(1, 2)); err != nil {
		return err
	}
	return s.wantUsage(ctx, figures{1, 0, 2, 0})
}

func release(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{Volumes: 2, Gigabytes: 5})
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, spec(1, 2), spec(2, 3))
	if err != nil {
		return err
	}
	if err := s.Settle(ctx, made[0].ID); err != nil {
		return err
	}
	for _, step := range []struct {
		id   internaltenant.ClaimID
		want figures
	}{{made[0].ID, figures{0, 1, 0, 3}}, {made[1].ID, figures{}}} {
		if err := s.Release(ctx, step.id); err != nil {
			return err
		}
		if err := s.wantUsage(ctx, step.want); err != nil {
			return err
		}
	}
	_, err = s.claimAll(ctx, spec(3, 5))
	return err
}

func releaseRepeated(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, spec(1, 2), spec(2, 3))
	if err != nil {
		return err
	}
	for _, id := range []internaltenant.ClaimID{made[0].ID, made[0].ID, "no-such-claim"} {
		if err := s.Release(ctx, id); err != nil {
			return fmt.Errorf("release %s: %w", id, err)
		}
		if err := s.wantUsage(ctx, figures{0, 1, 0, 3}); err != nil {
			return err
		}
	}
	return nil
}

func releaseAndClaim(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, spec(1, 2))
	if err != nil {
		return err
	}
	if err := s.Settle(ctx, made[0].ID); err != nil {
		return err
	}
	if err := s.Release(ctx, made[0].ID); err != nil {
		return err
	}
	if _, err := s.claimAll(ctx, spec(1, 2)); err != nil {
		return err
	}
	return s.wantUsage(ctx, figures{0, 1, 0, 2})
}

func claims(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	made, err := s.claimAll(ctx, spec(1, 2), spec(2, 3), spec(3, 4))
	if err != nil {
		return err
	}
	if err := errors.Join(s.Settle(ctx, made[0].ID), s.Release(ctx, made[1].ID)); err != nil {
		return err
	}
	got, err := s.Claims(ctx)
	if err != nil {
		return err
	}
	made[0].InUse = true
	want := []internaltenant.Claim{made[0], made[2]}
	for _, list := range [][]internaltenant.Claim{got, want} {
		slices.SortFunc(list, func(a, b internaltenant.Claim) int { return strings.Compare(string(a.ID), string(b.ID)) })
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("claims are %+v, want %+v", got, want)
	}
	u, err := s.Usage(ctx)
	if err == nil && (u.ProjectID == "" || u.ProjectID != want[0].ProjectID || u.UserID != want[0].UserID) {
		return fmt.Errorf("usage is of %s/%s, claims of %s/%s", u.ProjectID, u.UserID, want[0].ProjectID, want[0].UserID)
	}
	return err
}
