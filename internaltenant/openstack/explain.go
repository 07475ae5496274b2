package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/clonecache/clonecache/internaltenant"
)

// explain says what an error of Cinder's client means. internaltenant.ErrOverQuota, ErrNoTenant and
// ErrUnavailable, each with Cinder's own words; errNoVolume for a volume that is not there.
func explain(what string, err error) error {
	var renewal *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &renewal) {
		return fmt.Errorf("%s: %w", what, renewal.ErrReauth)
	}
	var again *gophercloud.ErrErrorAfterReauthentication
	if errors.As(err, &again) {
		err = again.ErrOriginal
	}
	var status gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &status) {
		return fmt.Errorf("%s: %w", what, refusal(status))
	}
	if errors.Is(err, internaltenant.ErrNoTenant) || errors.Is(err, internaltenant.ErrUnavailable) ||
		errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, internaltenant.ErrUnavailable, withoutURL(err))
}

// refusal is what a status of Cinder's means.
func refusal(r gophercloud.ErrUnexpectedResponseCode) error {
	said := message(r)
	switch {
	case r.Actual == http.StatusRequestEntityTooLarge:
		return overQuota(said)
	case r.Actual == http.StatusNotFound && r.Method != http.MethodPost:
		return errNoVolume
	case r.Actual == http.StatusNotFound: // of the volume type, for one
		return fmt.Errorf("%w: Cinder: %s", internaltenant.ErrNoTenant, said)
	case r.Actual == http.StatusBadRequest && hiddenImage.MatchString(said):
		return fmt.Errorf("%w: Cinder: %s Share the image with the tenant's project, or make it public", internaltenant.ErrImageHidden, said)
	case r.Actual == http.StatusForbidden:
		return fmt.Errorf("%w: Cinder: %s Give the user the role member in the project", internaltenant.ErrNoTenant, said)
	case r.Actual == http.StatusUnauthorized:
		return fmt.Errorf("%w: Cinder does not accept Keystone's token (401): is it of the same Keystone?", internaltenant.ErrUnavailable)
	case r.Actual >= 500 || r.Actual == http.StatusTooManyRequests || r.Actual == http.StatusRequestTimeout:
		return fmt.Errorf("%w: Cinder answers %d: %s", internaltenant.ErrUnavailable, r.Actual, said)
	default:
		return fmt.Errorf("cinder answers %d: %s", r.Actual, said)
	}
}

// What Cinder says where a quota refuses a volume, in English.
var (
	overVolumes   = regexp.MustCompile(`Maximum number of volumes allowed \((\d+)\) exceeded for quota '(\w[^']*)'`)
	overGigabytes = regexp.MustCompile(`exceeds allowed (\S.*) quota\. Requested (\d+)G, quota is (\d+)G and (\d+)G has been consumed`)
	overSize      = regexp.MustCompile(`Requested volume size (\d+)G is larger than maximum allowed limit (\d+)G`)
)

// hiddenImage is what Cinder says where Glance does not show the image to the tenant's user, in English.
var hiddenImage = regexp.MustCompile(`Invalid image identifier or unable to access requested image`)

// perVolume is the quota of one volume's size.
const perVolume internaltenant.Resource = "per_volume_gigabytes"

// overQuota is what Cinder's words say is missing, or just the words.
func overQuota(said string) error {
	number := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	if m := overGigabytes.FindStringSubmatch(said); m != nil {
		return &internaltenant.QuotaError{Resource: internaltenant.Resource(m[1]), Wanted: number(m[2]), Limit: number(m[3]), Used: number(m[4]), Words: said}
	}
	if m := overVolumes.FindStringSubmatch(said); m != nil {
		return &internaltenant.QuotaError{Resource: internaltenant.Resource(m[2]), Wanted: 1, Limit: number(m[1]), Used: internaltenant.UnknownUse, Words: said}
	}
	if m := overSize.FindStringSubmatch(said); m != nil {
		return &internaltenant.QuotaError{Resource: perVolume, Wanted: number(m[1]), Limit: number(m[2]), Words: said}
	}
	return fmt.Errorf("%w: %s", internaltenant.ErrOverQuota, said)
}

// message is the sentence in Cinder's answer, such as {"overLimit": {"message": "..."}}.
func message(r gophercloud.ErrUnexpectedResponseCode) string {
	var body map[string]struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(r.Body, &body) == nil {
		for _, fault := range body {
			if fault.Message != "" {
				return cut(fault.Message, 500)
			}
		}
	}
	return http.StatusText(r.Actual)
}

// withoutURL strips what net/http puts around an error.
func withoutURL(err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err
}
