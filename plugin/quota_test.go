package plugin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// detailed is a tenant whose service counts per volume type, and has a volume that is not ours.
type detailed struct {
	*cinderlike
	resources []internaltenant.ResourceUsage
}

func (d *detailed) Details(context.Context) ([]internaltenant.ResourceUsage, error) {
	return d.resources, nil
}

func (d *detailed) Usage(ctx context.Context) (internaltenant.Usage, error) {
	u, err := d.cinderlike.Usage(ctx)
	u.Volumes.InUse++
	u.Gigabytes.InUse += 5
	u.Volumes.Limit, u.Gigabytes.Limit = 20, 100
	return u, err
}

func TestQuotaShowsWhatTheTenantsServiceCountsAndTheDifference(t *testing.T) {
	source, backend := newGatedSource(), newCapable()
	close(source.gate)
	owner := &detailed{newCinderlike(backend), []internaltenant.ResourceUsage{
		{Name: "gigabytes", Limit: 100, InUse: 6}, {Name: "volumes_rbd1", Limit: 3, InUse: 1}, {Name: "gigabytes_rbd1", Limit: -1},
	}}
	r := newRig(t, t.TempDir(), lru.Bounds{MaxCount: 10, MaxBytes: 50 << 30}, withSource(source), withBackend(backend), withOwner(owner),
		func(c *plugin.Config) { c.Backends[0].VolumeType = "rbd1" })
	source.put("disk", "1", random(mib))
	r.create(t, "gated:disk", "v1", 0)
	q, err := r.Quota(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (plugin.QuotaAmounts{Limit: 20, InUse: 2, Actual: 1, Catalog: 1, Difference: 1}); q.Volumes != want {
		t.Errorf("volumes: got %+v, want %+v", q.Volumes, want)
	}
	if want := (plugin.QuotaAmounts{Limit: 100, InUse: 6, Actual: 1, Catalog: 1, Difference: 5}); q.Gigabytes != want {
		t.Errorf("gigabytes: got %+v, want %+v", q.Gigabytes, want)
	}
	if len(q.Resources) != 3 || q.Resources[1] != (plugin.QuotaResource{Name: "volumes_rbd1", Limit: 3, InUse: 1}) {
		t.Errorf("resources: got %+v", q.Resources)
	}
	if len(q.Warnings) != 1 || !strings.Contains(q.Warnings[0], "volumes_rbd1 is 3, less than the max_count 10 of backend local") {
		t.Errorf("warnings: got %q, want one of volumes_rbd1", q.Warnings)
	}
}

func TestAQuotaBelowTheBoundsIsWarnedOf(t *testing.T) {
	for _, c := range []struct {
		name               string
		volumes, gigabytes int64
		bounds             lru.Bounds
		want               []string
	}{
		{"unlimited", 0, 0, lru.Bounds{MaxCount: 5, MaxBytes: 5 << 30}, nil},
		{"unbounded", 5, 5, lru.Bounds{}, nil},
		{"as large", 5, 5, lru.Bounds{MaxCount: 5, MaxBytes: 5 << 30}, nil},
		{"smaller", 4, 4, lru.Bounds{MaxCount: 5, MaxBytes: 5 << 30}, []string{"quota volumes is 4", "quota gigabytes is 4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, t.TempDir(), c.bounds, withQuota(c.volumes, c.gigabytes))
			q, err := r.Quota(t.Context())
			if err != nil || len(q.Warnings) != len(c.want) {
				t.Fatalf("got %q, %v, want %q", q.Warnings, err, c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(q.Warnings[i], want) {
					t.Errorf("got %q, want it to say %q", q.Warnings[i], want)
				}
			}
		})
	}
}
