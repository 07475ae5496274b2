package plugin

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// failureReason is why a fill came to nothing, in the word that requests are bypassed with, or refused.
func failureReason(err error) Reason {
	if why, aside := steppedAside(err); aside {
		return why.reason
	}
	for _, f := range failures() {
		if errors.Is(err, f.err) {
			return f.reason
		}
	}
	return ReasonCacheError
}

// failures are the words that the API has for the errors of usual. The first match counts.
func failures() []struct {
	err    error
	reason Reason
} {
	return []struct {
		err    error
		reason Reason
	}{
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "deadline_exceeded"},
		{ErrBadRequest, "bad_request"},
		{ErrUnknownBackend, "unknown_backend"},
		{ErrConflict, "volume_conflict"},
		{ErrOffered, "volume_offered"},
		{ErrTooSmall, "volume_too_small"},
		{backends.ErrTooSmall, "volume_too_small"},
		{backends.ErrTooLarge, "volume_too_large"},
		{backends.ErrBadName, "bad_name"},
		{diskimage.ErrRefused, "image_refused"},
		{imagesource.ErrBadList, "digest_list_unusable"},
		{imagesource.ErrPage, "image_is_a_page"},
		{imagesource.ErrCertificate, "source_certificate"},
		{imagesource.ErrLogin, "source_login"},
		{imagesource.ErrRedirect, "image_redirect_refused"},
		{imagesource.ErrAddress, "image_address_refused"},
		{imagesource.ErrNoSource, "image_not_found"},
		{imagesource.ErrNotFound, "image_not_found"},
		{imagesource.ErrForbidden, "image_forbidden"},
		{imagesource.ErrNotActive, "image_not_active"},
		{imagesource.ErrChanged, "image_changed"},
		{imagesource.ErrTruncated, "image_truncated"},
		{imagesource.ErrUnavailable, "image_source_unavailable"},
		{imagesource.ErrRefused, "image_reference_refused"},
		{imagesource.ErrDigestMismatch, "digest_mismatch"},
		{imagesource.ErrAmbiguous, "image_ambiguous"},
		{diskimage.ErrSourceLonger, "image_longer"},
	}
}
