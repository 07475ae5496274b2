package openstack

import (
	"errors"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
)

// What Cinder says is missing is understood, and what it says otherwise is still a full quota.
func TestCindersWordsSayWhatIsMissing(t *testing.T) {
	for said, want := range map[string]*internaltenant.QuotaError{
		"VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.":                                   {Resource: "volumes", Limit: 10, Used: internaltenant.UnknownUse, Wanted: 1},
		"Maximum number of volumes allowed (3) exceeded for quota 'volumes_rbd1'.":                                                    {Resource: "volumes_rbd1", Limit: 3, Used: internaltenant.UnknownUse, Wanted: 1},
		"Requested volume or snapshot exceeds allowed gigabytes quota. Requested 2G, quota is 10G and 9G has been consumed.":          {Resource: "gigabytes", Limit: 10, Used: 9, Wanted: 2},
		"Requested volume or snapshot exceeds allowed gigabytes_fast ssd quota. Requested 2G, quota is 10G and 9G has been consumed.": {Resource: "gigabytes_fast ssd", Limit: 10, Used: 9, Wanted: 2},
		"Requested volume size 20G is larger than maximum allowed limit 10G.":                                                         {Resource: "per_volume_gigabytes", Limit: 10, Wanted: 20},
		"La quota est d\u00e9pass\u00e9e.": nil,
	} {
		err := overQuota(said)
		if !errors.Is(err, internaltenant.ErrOverQuota) {
			t.Errorf("%s: got %v, want it to be over quota", said, err)
		}
		var got *internaltenant.QuotaError
		if errors.As(err, &got) != (want != nil) {
			t.Errorf("%s: got %+v, want %+v", said, got, want)
			continue
		}
		if want != nil {
			if want.Words = said; *got != *want {
				t.Errorf("%s: got %+v, want %+v", said, *got, *want)
			}
		}
	}
}
