package internaltenant_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/ownertest"
	"github.com/clonecache/clonecache/plugin/words"
)

func TestLocalKeepsTheContract(t *testing.T) {
	ownertest.Run(t, func(_ context.Context, limits ownertest.Limits) (internaltenant.Owner, error) {
		return internaltenant.NewLocal(internaltenant.LocalConfig{
			ProjectID: "clonecache", UserID: "clonecache", MaxVolumes: limits.Volumes, MaxGigabytes: limits.Gigabytes,
		}, &internaltenant.MemoryLedger{})
	})
}

func TestNewLocalNamesEveryBadKey(t *testing.T) {
	_, err := internaltenant.NewLocal(internaltenant.LocalConfig{MaxVolumes: -1, MaxGigabytes: -2}, nil)
	if !errors.Is(err, internaltenant.ErrNoTenant) {
		t.Errorf("error = %v, want ErrNoTenant", err)
	}
	for _, key := range []string{"project_id", "user_id", "max_volumes", "max_gigabytes", "ledger"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("error %v does not name %s", err, key)
		}
	}
}

func TestProjectsDoNotShareAQuota(t *testing.T) {
	ledger := &internaltenant.MemoryLedger{}
	for _, project := range []string{"one", "two"} {
		owner, err := internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: project, UserID: "u", MaxVolumes: 1}, ledger)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := owner.Claim(t.Context(), internaltenant.ClaimSpec{EntryID: words.EntryID(project), VirtualBytes: 1}); err != nil {
			t.Errorf("claim of %s: %v", project, err)
		}
	}
}

func TestClaimRefusesWhatIsNoClaim(t *testing.T) {
	owner, err := internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "p", UserID: "u"}, &internaltenant.MemoryLedger{})
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []internaltenant.ClaimSpec{{VirtualBytes: 1}, {EntryID: "e", VirtualBytes: -1}} {
		if c, err := owner.Claim(t.Context(), spec); err == nil {
			t.Errorf("claim %+v = %+v, want an error", spec, c)
		}
	}
}

func TestQuotaErrorSaysLimitAndUse(t *testing.T) {
	used := internaltenant.Usage{Volumes: internaltenant.Amounts{Limit: internaltenant.Unlimited}, Gigabytes: internaltenant.Amounts{Limit: 200, InUse: 150, Reserved: 45}}
	err := internaltenant.CheckQuota(used, 10)
	const want = "over the internal tenant's quota: max_gigabytes is 200, 195 used, 10 more wanted"
	if err == nil || err.Error() != want || !errors.Is(err, internaltenant.ErrOverQuota) {
		t.Errorf("error = %v, want %s", err, want)
	}
	if err := internaltenant.CheckQuota(used, 5); err != nil {
		t.Errorf("exactly full: %v", err)
	}
	used.Volumes.Limit = 0
	if err := internaltenant.CheckQuota(used, 5); !errors.Is(err, internaltenant.ErrOverQuota) {
		t.Errorf("no volume is allowed: %v, want ErrOverQuota", err)
	}
}

func TestGigabytes(t *testing.T) {
	const gib = 1 << 30
	for bytes, want := range map[int64]int64{-1: 0, 0: 0, 1: 1, gib: 1, gib + 1: 2, 10 * gib: 10, math.MaxInt64: 1 << 33} {
		if got := internaltenant.Gigabytes(bytes); got != want {
			t.Errorf("Gigabytes(%d) = %d, want %d", bytes, got, want)
		}
	}
}
