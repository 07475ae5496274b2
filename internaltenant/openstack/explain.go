package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

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
	said := words(r)
	switch {
	case r.Actual == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %s", internaltenant.ErrOverQuota, said)
	case r.Actual == http.StatusNotFound && r.Method != http.MethodPost:
		return errNoVolume
	case r.Actual == http.StatusNotFound: // of the volume type, for one
		return fmt.Errorf("%w: Cinder: %s", internaltenant.ErrNoTenant, said)
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

// words is the message in Cinder's answer, such as {"overLimit": {"message": "..."}}.
func words(r gophercloud.ErrUnexpectedResponseCode) string {
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
