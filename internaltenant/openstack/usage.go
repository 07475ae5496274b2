package openstack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumetypes"

	"github.com/clonecache/clonecache/internaltenant"
)

// cinderAmounts is Cinder's count of one resource; a negative limit is unlimited, 0 allows nothing.
type cinderAmounts struct {
	Limit    int64 `json:"limit"`
	InUse    int64 `json:"in_use"`
	Reserved int64 `json:"reserved"`
}

// amounts is the same in our words. Of what Cinder counts as in use, filling is reserved.
func (a cinderAmounts) amounts(filling int64) internaltenant.Amounts {
	return internaltenant.Amounts{Limit: max(a.Limit, internaltenant.Unlimited), InUse: max(a.InUse-filling, 0), Reserved: a.Reserved + filling}
}

// Usage implements internaltenant.Owner: what Cinder counts, for whatever is in the project, and the other
// backends' claims beside it. Where only one of the two has a limit and the other is used, there is
// none for both together.
func (o *Owner) Usage(ctx context.Context) (internaltenant.Usage, error) {
	others, err := o.config.Others.Usage(ctx)
	if err != nil {
		return internaltenant.Usage{}, err
	}
	session, err := o.config.Account.Session(ctx)
	if err != nil {
		return internaltenant.Usage{}, fmt.Errorf("quota: %w", err)
	}
	u := others
	if len(o.types) > 0 {
		total, filling, err := o.counted(ctx)
		if err != nil {
			return internaltenant.Usage{}, fmt.Errorf("quota: %w", err)
		}
		u.Volumes = o.together(total["volumes"].amounts(filling.volumes), others.Volumes)
		u.Gigabytes = o.together(total["gigabytes"].amounts(filling.gigabytes), others.Gigabytes)
	}
	u.ProjectID, u.UserID = session.ProjectID, session.UserID
	return u, nil
}

// together adds up what Cinder and the other owner count.
func (o *Owner) together(cinder, other internaltenant.Amounts) internaltenant.Amounts {
	sum := internaltenant.Amounts{
		Limit: cinder.Limit, InUse: cinder.InUse + other.InUse, Reserved: cinder.Reserved + other.Reserved,
	}
	if o.config.OthersExist == Some {
		sum.Limit = internaltenant.Unlimited
		if cinder.Limit != internaltenant.Unlimited && other.Limit != internaltenant.Unlimited {
			sum.Limit = cinder.Limit + other.Limit
		}
	}
	return sum
}

// filling is what our claims that are not settled yet make up of Cinder's use.
type filling struct{ volumes, gigabytes int64 }

// counted reads Cinder's quota and use, and our part of it that is being filled.
func (o *Owner) counted(ctx context.Context) (map[string]cinderAmounts, filling, error) {
	c, err := o.cinder(ctx)
	if err != nil {
		return nil, filling{}, err
	}
	o.removeDoomed(ctx, c)
	total, err := c.quota(ctx)
	if err != nil {
		return nil, filling{}, err
	}
	volumes, err := o.ours(ctx, c)
	var f filling
	for _, v := range volumes {
		if v.Metadata[metaState] != stateInUse {
			f.volumes++
			f.gigabytes += int64(v.Size)
		}
	}
	return total, f, err
}

// quota reads the project's quota set with its use, resource by resource.
func (c *cinder) quota(ctx context.Context) (map[string]cinderAmounts, error) {
	var body struct {
		Set map[string]json.RawMessage `json:"quota_set"`
	}
	url := c.api.ServiceURL("os-quota-sets", c.project) + "?usage=True"
	response, err := c.api.Get(ctx, url, &body, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	if err != nil {
		return nil, explain("read the quota of project "+c.project, err)
	}
	_ = response.Body.Close()
	counted := make(map[string]cinderAmounts)
	for name, raw := range body.Set {
		var a cinderAmounts
		if json.Unmarshal(raw, &a) == nil { // "id" is a string
			counted[name] = a
		}
	}
	return counted, nil
}

// Details implements internaltenant.Detailed: volumes and gigabytes, in total and for the volume types in
// use here, as Cinder counts them.
func (o *Owner) Details(ctx context.Context) ([]internaltenant.ResourceUsage, error) {
	if len(o.types) == 0 {
		return nil, nil
	}
	c, err := o.cinder(ctx)
	if err != nil {
		return nil, fmt.Errorf("quota: %w", err)
	}
	counted, err := c.quota(ctx)
	if err != nil {
		return nil, fmt.Errorf("quota: %w", err)
	}
	names := []string{"volumes", "gigabytes", "per_volume_gigabytes"}
	for _, t := range slices.Sorted(maps.Values(o.types)) {
		names = append(names, "volumes_"+t, "gigabytes_"+t)
	}
	var details []internaltenant.ResourceUsage
	for _, name := range names {
		if a, known := counted[name]; known {
			details = append(details, internaltenant.ResourceUsage{Name: name, Limit: a.Limit, InUse: a.InUse, Reserved: a.Reserved})
		}
	}
	return details, nil
}

// Check asks Keystone and Cinder whether claims can be made: the account is accepted, the volume types
// exist. Warnings are what works but should be otherwise, as sentences. ErrNoTenant, ErrUnavailable.
func (o *Owner) Check(ctx context.Context) (warnings []string, err error) {
	session, err := o.config.Account.Session(ctx)
	if err != nil {
		return nil, err
	}
	if session.Admin() {
		warnings = append(warnings, fmt.Sprintf("%v has the role admin; member is all it needs", session))
	}
	if len(o.types) == 0 {
		return warnings, nil
	}
	c, err := o.cinder(ctx)
	if err != nil {
		return warnings, err
	}
	known, err := c.volumeTypes(ctx)
	if err != nil {
		return warnings, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.types)) {
		if !slices.Contains(known, o.types[name]) {
			return warnings, fmt.Errorf("%w: Cinder has no volume type %q for backend %s, or project %s may not use it; it has %s",
				internaltenant.ErrNoTenant, o.types[name], name, session.ProjectName, strings.Join(known, ", "))
		}
	}
	_, err = c.quota(ctx)
	return warnings, err
}

// volumeTypes are the names of those that the project may use.
func (c *cinder) volumeTypes(ctx context.Context) ([]string, error) {
	pages, err := volumetypes.List(c.api, volumetypes.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, explain("list volume types", err)
	}
	types, err := volumetypes.ExtractVolumeTypes(pages)
	if err != nil {
		return nil, explain("list volume types", err)
	}
	var names []string
	for _, t := range types {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names, nil
}
