package catalog

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
)

func claimOf(project string, entry EntryID, attempt int, gigabytes int64) internaltenant.LedgerClaim {
	return internaltenant.LedgerClaim{
		ProjectID: project, EntryID: entry, Attempt: attempt, Backend: "local", ImageID: "s:i", Gigabytes: gigabytes,
	}
}

func TestALedgersClaim(t *testing.T) {
	c, _ := fresh(t)
	l := c.Ledger()
	ctx := t.Context()
	id, err := l.Reserve(ctx, claimOf("p", "e", 1, 4), 1, 4)
	is(t, "reserve", err, nil)
	again, err := l.Reserve(ctx, claimOf("p", "e", 1, 4), 1, 4)
	if err != nil || again != id {
		t.Errorf("again: %s, %v, want %s", again, err, id)
	}
	for range 2 {
		is(t, "settle", l.Settle(ctx, id), nil)
	}
	want := claimOf("p", "e", 1, 4)
	want.ID, want.InUse = id, true
	if got, err := l.Claims(ctx, "p"); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("claims %+v, %v", got, err)
	}
	if got, err := l.Claims(ctx, "other"); err != nil || len(got) != 0 {
		t.Errorf("another project's claims %+v, %v", got, err)
	}
	for range 2 {
		is(t, "release", l.Release(ctx, id), nil)
	}
	is(t, "settle what is gone", l.Settle(ctx, id), internaltenant.ErrUnknownClaim)
	if got, err := l.Claims(ctx, "p"); err != nil || len(got) != 0 {
		t.Errorf("claims %+v, %v", got, err)
	}
}

func TestQuotaLimits(t *testing.T) {
	tests := []struct {
		name               string
		volumes, gigabytes int64
		ask                int64
		want               string // part of the error; "": reserved
	}{
		{"unlimited", 0, 0, 1 << 62, ""},
		{"just fits", 3, 14, 4, ""},
		{"volumes", 2, 0, 1, "max_volumes is 2, 2 used, 1 more wanted"},
		{"gigabytes", 0, 13, 4, "max_gigabytes is 13, 10 used, 4 more wanted"},
		{"far too large", 0, 13, 1<<63 - 1, "max_gigabytes is 13, 10 used, 9223372036854775807 more wanted"},
		{"lowered below what is used", 1, 5, 1, "max_volumes is 1, 2 used, 1 more wanted"},
		{"gigabytes lowered below what is used", 0, 5, 0, "max_gigabytes is 5, 10 used, 0 more wanted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, _ := fresh(t)
			l := c.Ledger()
			for n := range 2 {
				if _, err := l.Reserve(t.Context(), claimOf("p", EntryID(fmt.Sprint("e", n)), 1, 5), 0, 0); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.Reserve(t.Context(), claimOf("other", "e9", 1, 100), 0, 0); err != nil {
				t.Fatal(err)
			}
			_, err := l.Reserve(t.Context(), claimOf("p", "new", 1, test.ask), test.volumes, test.gigabytes)
			if test.want == "" {
				is(t, "reserve", err, nil)
				return
			}
			is(t, "reserve", err, internaltenant.ErrOverQuota)
			if err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
			if got, err := l.Claims(t.Context(), "p"); err != nil || len(got) != 2 {
				t.Errorf("%d claims, %v", len(got), err)
			}
		})
	}
}

func TestANegativeClaimIsRefused(t *testing.T) {
	c, _ := fresh(t)
	if _, err := c.Ledger().Reserve(t.Context(), claimOf("p", "e", 1, -1), 0, 10); err == nil {
		t.Error("reserved")
	}
}

func TestConcurrentClaimsStayWithinTheQuota(t *testing.T) {
	c, _ := fresh(t)
	l := c.Ledger()
	var wg sync.WaitGroup
	var got atomic.Int64
	for n := range 40 {
		wg.Go(func() {
			if _, err := l.Reserve(t.Context(), claimOf("p", EntryID(fmt.Sprint("e", n%30)), 1, 3), 0, 20); err == nil {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	claims, err := l.Claims(t.Context(), "p")
	if err != nil || len(claims) != 6 || got.Load() < 6 {
		t.Errorf("%d claims, %d reserved, %v", len(claims), got.Load(), err)
	}
}
