package plugin

import (
	"context"
	"fmt"
	"slices"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// QuotaAmounts counts one resource of the internal tenant.
type QuotaAmounts struct {
	Limit int64 `json:"limit" doc:"0 where it is unlimited; without that, 0 allows nothing"`
	// Unlimited: there is no limit, and Limit is 0.
	Unlimited bool  `json:"unlimited" doc:"There is no limit"`
	InUse     int64 `json:"in_use" doc:"As the tenant's service counts: under OpenStack all volumes of its project"`
	Reserved  int64 `json:"reserved" doc:"Fills in flight"`
	Actual    int64 `json:"actual" doc:"What really exists on the backends"`
	Catalog   int64 `json:"catalog" doc:"What the catalog's entries are charged for, fills in flight included"`
	// Difference is what the tenant is charged for and no entry explains.
	Difference int64 `json:"difference" doc:"in_use and reserved less catalog: volumes of the project that are no image-volumes; negative: entries that are not charged"`
}

// QuotaResource is one resource as the tenant's service itself reports it.
type QuotaResource struct {
	Name     string `json:"name" doc:"As that service calls it: gigabytes_rbd1"`
	Limit    int64  `json:"limit" doc:"-1: unlimited"`
	InUse    int64  `json:"in_use"`
	Reserved int64  `json:"reserved"`
}

// Quota is the internal tenant's use, beside what really exists.
type Quota struct {
	ProjectID string       `json:"project_id"`
	UserID    string       `json:"user_id"`
	Volumes   QuotaAmounts `json:"volumes"`
	Gigabytes QuotaAmounts `json:"gigabytes" doc:"GiB, each image-volume rounded up, as Cinder counts"`
	// Resources are what the tenant's service says of limits that Volumes and Gigabytes sum up or leave out.
	Resources []QuotaResource `json:"resources" doc:"As the tenant's service reports them, in total and per volume type"`
	Warnings  []string        `json:"warnings"`
}

// Quota is the internal tenant's use beside what the catalog says and what really exists on the backends.
// internaltenant.ErrUnavailable, internaltenant.ErrNoTenant.
func (p *Plugin) Quota(ctx context.Context) (Quota, error) { return p.reconciler.quota(ctx) }

func (rec *reconciler) quota(ctx context.Context) (Quota, error) {
	q, err := quotaUse(ctx, rec.owner)
	if err != nil {
		return Quota{}, err
	}
	if d, ok := rec.owner.(internaltenant.Detailed); ok {
		if err := q.detail(ctx, d); err != nil {
			return Quota{}, err
		}
	}
	if err := rec.addCatalog(ctx, &q); err != nil {
		return Quota{}, err
	}
	rec.addActual(ctx, &q)
	q.compareBounds(rec.stock.orderedStores())
	return q, nil
}

// QuotaUse is the internal tenant's limits and use as its own service counts them, and nothing that would have to be
// listed: for monitors. internaltenant.ErrUnavailable, internaltenant.ErrNoTenant.
func (p *Plugin) QuotaUse(ctx context.Context) (Quota, error) { return quotaUse(ctx, p.owner) }

func quotaUse(ctx context.Context, owner internaltenant.Owner) (Quota, error) {
	u, err := owner.Usage(ctx)
	if err != nil {
		return Quota{}, err
	}
	return Quota{ProjectID: u.ProjectID, UserID: u.UserID, Volumes: amounts(u.Volumes), Gigabytes: amounts(u.Gigabytes),
		Resources: []QuotaResource{}, Warnings: []string{}}, nil
}

func amounts(a internaltenant.Amounts) QuotaAmounts {
	q := QuotaAmounts{Limit: a.Limit, InUse: a.InUse, Reserved: a.Reserved}
	if a.Limit == internaltenant.Unlimited {
		q.Limit, q.Unlimited = 0, true
	}
	return q
}

func (q *Quota) detail(ctx context.Context, d internaltenant.Detailed) error {
	details, err := d.Details(ctx)
	for _, r := range details {
		q.Resources = append(q.Resources, QuotaResource{Name: r.Name, Limit: r.Limit, InUse: r.InUse, Reserved: r.Reserved})
	}
	return err
}

// addCatalog adds what the entries are charged for.
func (rec *reconciler) addCatalog(ctx context.Context, q *Quota) error {
	rows, err := rec.catalog.List(ctx, catalog.Filter{})
	if err != nil {
		return err
	}
	rec.explainUnconfigured(q, rows)
	for _, e := range rows {
		if e.Claim != "" {
			q.Volumes.Catalog++
			q.Gigabytes.Catalog += internaltenant.Gigabytes(e.VirtualBytes)
		}
	}
	for _, a := range []*QuotaAmounts{&q.Volumes, &q.Gigabytes} {
		a.Difference = a.InUse + a.Reserved - a.Catalog
	}
	return nil
}

// addActual adds what there is on the backends.
func (rec *reconciler) addActual(ctx context.Context, q *Quota) {
	for _, s := range rec.stock.orderedStores() {
		if !s.charged() {
			continue
		}
		for iv, err := range s.images.ListImageVolumes(ctx) {
			if err != nil {
				q.warn("%s: %v; what it holds is not in `actual`", s.name, err)
				continue
			}
			q.Volumes.Actual++
			q.Gigabytes.Actual += internaltenant.Gigabytes(iv.VirtualBytes)
		}
	}
}

// compareBounds warns of limits that are reached before the caches' own bounds are: these never decide then.
func (q *Quota) compareBounds(all []*store) {
	limits := q.limits()
	stores := slices.DeleteFunc(all, func(s *store) bool { return !s.charged() })
	q.compare(limits, "", "all backends together", stores...)
	for _, s := range stores {
		if s.volumeType != "" {
			q.compare(limits, "_"+s.volumeType, "backend "+string(s.name), s)
		}
	}
}

// limits are the known ones by the name of their resource, internaltenant.Unlimited among them.
func (q *Quota) limits() map[string]int64 {
	limits := make(map[string]int64)
	for name, a := range map[string]QuotaAmounts{"volumes": q.Volumes, "gigabytes": q.Gigabytes} {
		limits[name] = a.Limit
		if a.Unlimited {
			limits[name] = internaltenant.Unlimited
		}
	}
	for _, r := range q.Resources {
		limits[r.Name] = r.Limit
	}
	return limits
}

// compare warns where the limits of that suffix are below what the stores may hold together.
func (q *Quota) compare(limits map[string]int64, suffix, who string, stores ...*store) {
	volumes, bounded := sumOf(stores, func(s *store) int64 { return int64(s.limit().bounds.MaxCount) })
	if limit, known := limits["volumes"+suffix]; bounded && known && limit >= 0 && limit < volumes {
		q.warn("the quota volumes%s is %d, less than the max_count %d of %s: it decides what is evicted, or refuses where evict_for_quota is false; raise it, or lower max_count", suffix, limit, volumes, who)
	}
	bytes, bounded := sumOf(stores, func(s *store) int64 { return s.limit().bounds.MaxBytes })
	gigabytes := internaltenant.Gigabytes(bytes)
	if limit, known := limits["gigabytes"+suffix]; bounded && known && limit >= 0 && limit < gigabytes {
		q.warn("the quota gigabytes%s is %d, less than the max_size of %d GiB of %s: it decides what is evicted, or refuses where evict_for_quota is false; raise it, or lower max_size", suffix, limit, gigabytes, who)
	}
}

// sumOf adds up a bound of several stores; not ok where one of them has none.
func sumOf(stores []*store, bound func(*store) int64) (sum int64, ok bool) {
	for _, s := range stores {
		b := bound(s)
		if b == 0 {
			return 0, false
		}
		sum += b
	}
	return sum, len(stores) > 0
}

func (q *Quota) warn(format string, args ...any) {
	q.Warnings = append(q.Warnings, fmt.Sprintf(format, args...))
}
