package plugin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// The internal tenant's quota is one more bound. Where it refuses a claim, the least recently used idle
// entries of the same tenant go, as many as the claim needs, and the claim is asked for once more. Entries
// with live clones never go for it: they are charged until their last clone is gone.

// quotaRounds bounds how often a claim is asked for once more: a quota has several limits, and where its
// keeper does not say what is missing, one entry goes at a time.
const quotaRounds = 8

// chargeQuota charges the quota, and makes room in it where that is refused. internaltenant.ErrOverQuota: all
// that may go would not be enough, and nothing went; or it was not enough.
func (k *stock) chargeQuota(ctx context.Context, s *store, spec internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	claim, err := k.owner.Claim(ctx, spec)
	if !errors.Is(err, internaltenant.ErrOverQuota) || s.limit().keepForQuota {
		return claim, err
	}
	unlock, turnErr := k.quotaTurn.lock(ctx)
	if turnErr != nil {
		return claim, turnErr
	}
	defer unlock()
	for range quotaRounds {
		made, evictErr := k.makeQuota(ctx, s, err)
		if evictErr != nil {
			return claim, errors.Join(err, evictErr)
		}
		if !made {
			return claim, err
		}
		if claim, err = k.owner.Claim(ctx, spec); !errors.Is(err, internaltenant.ErrOverQuota) {
			return claim, err
		}
	}
	return claim, err
}

// makeQuota evicts what refusal says is missing; false where that cannot be done, and then nothing went.
func (k *stock) makeQuota(ctx context.Context, s *store, refusal error) (bool, error) {
	if err := k.books.flush(ctx); err != nil { // last-used decides
		return false, err
	}
	missing, err := k.missingQuota(ctx, refusal)
	if err != nil || missing.amount <= 0 {
		return false, err
	}
	sharers := k.sharers(s, missing)
	victims, err := k.quotaVictims(ctx, sharers, missing)
	if err == nil && victims == nil { // clones may be gone that the catalog believes in
		for _, s := range sharers {
			_, reapErr := k.reap(ctx, s)
			err = errors.Join(err, reapErr, k.observeClones(ctx, s))
		}
		if err == nil {
			victims, err = k.quotaVictims(ctx, sharers, missing)
		}
	}
	gone := false
	for _, v := range victims {
		if err != nil {
			break
		}
		of := k.storeOf(v.Store)
		if of == nil { // it has left the configuration meanwhile
			continue
		}
		switch _, err = k.evict(ctx, of, v.ID, catalog.CauseQuota); {
		case err == nil:
			gone = true
		case isGone(err) || errors.Is(err, catalog.ErrPinned):
			err = nil
		}
	}
	return gone, err
}

// quotaGap is what a claim is short of.
type quotaGap struct {
	amount     int64  // of volumes, or of GiB
	gigabytes  bool   // GiB are missing, else volumes
	volumeType string // the limit is of this type alone; "": of all
}

// of is how much of what is missing an entry is charged for.
func (g quotaGap) of(e catalog.Entry) int64 {
	if g.gigabytes {
		return internaltenant.Gigabytes(e.VirtualBytes)
	}
	return 1
}

// missingQuota is what is missing, as the refusal says, or the tenant's use, or one volume where neither
// does. Its amount is 0 where nothing that goes could help.
func (k *stock) missingQuota(ctx context.Context, refusal error) (quotaGap, error) {
	var q *internaltenant.QuotaError
	if !errors.As(refusal, &q) {
		return quotaGap{amount: 1}, nil
	}
	kind, volumeType, _ := strings.Cut(string(q.Resource), "_")
	gap := quotaGap{amount: q.Used + q.Wanted - q.Limit, gigabytes: kind == string(internaltenant.GigabytesTotal), volumeType: volumeType}
	switch {
	case !gap.gigabytes && kind != string(internaltenant.Volumes), q.Wanted > q.Limit:
		return quotaGap{}, nil
	case q.Used != internaltenant.UnknownUse:
		return gap, nil
	}
	gap.amount = 1
	detailed, ok := k.owner.(internaltenant.Detailed)
	if !ok {
		return gap, nil
	}
	resources, err := detailed.Details(ctx)
	for _, r := range resources {
		if r.Name == string(q.Resource) && r.Limit >= 0 {
			gap.amount = max(1, r.InUse+r.Reserved+q.Wanted-r.Limit)
		}
	}
	return gap, err
}

// sharers are the backends whose entries the same limit counts as those of s.
func (k *stock) sharers(s *store, g quotaGap) []*store {
	var all []*store
	for _, other := range k.orderedStores() {
		same := other.outOfUse() == nil && other.charged() && k.adopting(other) == k.adopting(s)
		if same && (g.volumeType == "" || other.volumeType == g.volumeType || other == s) {
			all = append(all, other)
		}
	}
	return all
}

// fewIdle is how many idle entries of each store are looked at first.
const fewIdle = 64

// quotaVictims are the least recently used idle entries that are charged for what is missing, no more than
// are needed; nil where all together are not.
func (k *stock) quotaVictims(ctx context.Context, among []*store, missing quotaGap) ([]catalog.Entry, error) {
	for n := fewIdle; ; n *= 8 {
		var all []catalog.Entry
		whole := true
		for _, s := range among {
			idle, err := k.catalog.Idle(ctx, s.id(), n)
			if err != nil {
				return nil, err
			}
			whole = whole && len(idle) < n
			all = append(all, slices.DeleteFunc(idle, func(e catalog.Entry) bool { return e.Claim == "" || s.tooYoung(e, k.catalogTime()) })...)
		}
		slices.SortStableFunc(all, func(a, b catalog.Entry) int { return cmp.Compare(lastUse(a).UnixNano(), lastUse(b).UnixNano()) })
		if victims := fewest(all, missing); victims != nil || whole {
			return victims, nil
		}
	}
}

// fewest takes entries in order until nothing is missing, and leaves out what turns out not to be needed.
func fewest(all []catalog.Entry, missing quotaGap) []catalog.Entry {
	left := missing.amount
	var taken []catalog.Entry
	for _, e := range all {
		if left <= 0 {
			break
		}
		taken, left = append(taken, e), left-missing.of(e)
	}
	if left > 0 {
		return nil
	}
	for i := len(taken) - 1; i >= 0; i-- {
		if n := missing.of(taken[i]); left+n <= 0 {
			taken, left = slices.Delete(taken, i, i+1), left+n
		}
	}
	return taken
}

// tooYoung tells whether min_age keeps an entry.
func (s *store) tooYoung(e catalog.Entry, now time.Time) bool {
	age := now.Sub(e.CreatedAt)
	return age >= 0 && age < s.limit().bounds.MinAge
}

// lastUse is when an entry was used, at the earliest when it was made.
func lastUse(e catalog.Entry) time.Time {
	if e.LastUsedAt.Before(e.CreatedAt) {
		return e.CreatedAt
	}
	return e.LastUsedAt
}
