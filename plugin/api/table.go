package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// StatusClientClosed is answered, to nobody, where the client went away first.
const StatusClientClosed = 499

// retry says whether the same request may succeed later.
type retry bool

const (
	final retry = false
	later retry = true
)

// row says how one error is answered.
type row struct {
	err    error
	code   string
	status int
	retry  retry
	// sentence is for the person who asked: what is wrong and what helps.
	sentence string
	// speaks: the error's own text is worded for that person, and says more than sentence.
	speaks bool
}

// internal answers what the table does not know.
var internal = row{code: "internal", status: http.StatusInternalServerError,
	sentence: "something went wrong inside clonecache; the daemon's log has the cause under this request's ID"}

// table maps every exported error of the packages that a request passes through. The first row that
// matches wins, so what the plugin says of a request goes before what lies below it.
var table = []row{
	{ErrConfiguration, "bad_configuration", http.StatusUnprocessableEntity, final,
		"the configuration is wrong, and nothing was changed; `clonecache config check FILE` says where", true},
	{plugin.ErrBadRequest, "bad_request", http.StatusBadRequest, final,
		"the request is wrong; see /v1/openapi.json for what it may say", true},
	{plugin.ErrUnknownBackend, "unknown_backend", http.StatusNotFound, final,
		"there is no such backend, or there are several and one must be named; `clonecache backend list` shows them", true},
	{plugin.ErrConflict, "volume_conflict", http.StatusConflict, final,
		"a volume of that name exists which this request did not make, and it stays untouched; choose another name", true},
	{plugin.ErrOffered, "volume_offered", http.StatusConflict, later,
		"while this request was under way, another one for the same volume was told what takes it over; use that answer, or repeat the request, which makes that one void", false},
	{plugin.ErrTooSmall, "volume_too_small", http.StatusUnprocessableEntity, final,
		"the volume would be smaller than the image's disk; ask for a larger size", true},
	{plugin.ErrHasClones, "has_clones", http.StatusConflict, final,
		"volumes still depend on the entry; repeat with force to detach it: its space comes free with the last of them", true},
	{plugin.ErrBusy, "entry_busy", http.StatusConflict, later,
		"the entry is being filled or evicted; try again when that is done", true},
	{plugin.ErrElsewhere, "on_other_host", http.StatusConflict, final,
		"it lies on a store of another host; ask the daemon there, or forget that host with `clonecache host remove` if it is gone for good", true},
	{plugin.ErrCannotFlatten, "cannot_flatten", http.StatusConflict, final,
		"volumes of this backend depend on their image-volumes, and it cannot change that; copy the volume instead", false},
	{plugin.ErrNotKept, "bytes_not_kept", http.StatusConflict, final,
		"the file cache cannot give the image's bytes; download it from its source", false},
	{plugin.ErrPart, "bytes_partly_kept", http.StatusServiceUnavailable, later,
		"the file cache has given a part of the image's bytes and has no more; download the rest from its source", false},
	{plugin.ErrLocked, "state_locked", http.StatusServiceUnavailable, later,
		"another process has the state directory open; stop it, or configure another state_dir", true},
	{plugin.ErrStopping, "stopping", http.StatusServiceUnavailable, later,
		"the daemon is stopping; try again once it is back", false},

	{diskimage.ErrRefused, "image_refused", http.StatusUnprocessableEntity, final,
		"the image breaks a safety rule and is not used; convert it to a plain raw or qcow2 file", false},
	{diskimage.ErrScratchFull, "scratch_full", http.StatusInsufficientStorage, later,
		"the image must be spooled, and the scratch space is full; try again later, raise scratch_max_size, or store the image as raw", false},

	{imagesource.ErrBadList, "digest_list_unusable", http.StatusUnprocessableEntity, final,
		"the list of digests beside the image names it without a usable digest, or with two; correct that line, or remove the list", true},
	{imagesource.ErrPage, "image_is_a_page", http.StatusFailedDependency, final,
		"the server answers with a web page in place of the image; check the URL, and whether a proxy or the server wants a login", false},
	{imagesource.ErrCertificate, "source_certificate", http.StatusFailedDependency, final,
		"the certificate of the image source is not trusted; name its authority's file as ca_file of the [[image_source]]", true},
	{imagesource.ErrLogin, "source_login", http.StatusFailedDependency, final,
		"the image source wants a login, or refuses the one it has; set user and password_file, or token_file, of the [[image_source]]", false},
	{imagesource.ErrRedirect, "image_redirect_refused", http.StatusForbidden, final,
		"the image source redirects to a host that is not allowed; add it to redirects of the [[image_source]]", true},
	{imagesource.ErrAddress, "image_address_refused", http.StatusForbidden, final,
		"the image source redirects to a private or link-local address; name the host in redirects of the [[image_source]]", true},
	{imagesource.ErrNoSource, "image_not_found", http.StatusNotFound, final,
		"no image source has this image, or you may not see it; check SOURCE:ID", true},
	{imagesource.ErrNotFound, "image_not_found", http.StatusNotFound, final,
		"no image source has this image, or you may not see it; check SOURCE:ID", false},
	{imagesource.ErrForbidden, "image_forbidden", http.StatusForbidden, final,
		"you may not read this image; ask its owner to share it", false},
	{imagesource.ErrNotActive, "image_not_active", http.StatusConflict, final,
		"the image's data is not available (it is queued or deactivated); make it active first", false},
	{imagesource.ErrChanged, "image_changed", http.StatusConflict, later,
		"the image changed while it was read; try again once its upload is done", false},
	{imagesource.ErrTruncated, "image_truncated", http.StatusBadGateway, later,
		"the image's data ended before its announced size; try again, or upload the image anew", false},
	{imagesource.ErrUnavailable, "image_source_unavailable", http.StatusServiceUnavailable, later,
		"the image source does not answer; `clonecache status` says why: try again later", false},
	{imagesource.ErrRefused, "image_reference_refused", http.StatusForbidden, final,
		"this image reference is not allowed; use SOURCE:ID of a configured image source, or a URL below one", true},
	{imagesource.ErrAmbiguous, "image_ambiguous", http.StatusBadRequest, final,
		"several image sources have an image of this ID; say which as SOURCE:ID", true},
	{imagesource.ErrDigestMismatch, "digest_mismatch", http.StatusUnprocessableEntity, final,
		"the image's bytes do not match its digest; check the digest, or upload the image anew", true},

	{internaltenant.ErrOverQuota, "over_quota", http.StatusConflict, later,
		"the internal tenant's quota is used up; `clonecache quota` shows it: raise it, or delete entries", true},
	{internaltenant.ErrNoTenant, "no_internal_tenant", http.StatusServiceUnavailable, later,
		"the internal tenant's project, user or role is missing; create it, or correct [internal_tenant]", false},
	{internaltenant.ErrImageHidden, "image_hidden", http.StatusConflict, final,
		"the internal tenant may not read the image, so that Cinder cannot fill a volume with it; share it with the tenant's project, or make it public", false},
	{internaltenant.ErrUnavailable, "tenant_unavailable", http.StatusServiceUnavailable, later,
		"the service that keeps the internal tenant or its quota does not answer; try again later", false},
	{internaltenant.ErrUnknownClaim, "unknown_claim", http.StatusConflict, later,
		"the quota and the cache do not agree; run `clonecache check --repair`", false},

	{catalog.ErrNotFound, "entry_not_found", http.StatusNotFound, final,
		"there is no such entry; `clonecache entry list` shows them", false},
	{catalog.ErrNotQueued, "not_queued", http.StatusNotFound, final,
		"the queue has no such image; `clonecache queue list` shows them", false},
	{catalog.ErrPinned, "entry_pinned", http.StatusConflict, final,
		"the entry is pinned; unpin it first", false},
	{catalog.ErrLost, "entry_taken_over", http.StatusConflict, later,
		"the entry changed in the meantime; look at it again and repeat", false},
	{catalog.ErrNoHost, "host_not_found", http.StatusNotFound, final,
		"there is no such host; `clonecache host list` shows them", false},
	{catalog.ErrNoLoan, "loan_not_found", http.StatusNotFound, final,
		"the loan has ended, and what was lent may be gone; ask for another one", false},
	{catalog.ErrHostUp, "host_up", http.StatusConflict, later,
		"the host is up; stop its daemon first, or, after it was killed, wait until it is taken for lost", true},
	{catalog.ErrDamaged, "catalog_damaged", http.StatusServiceUnavailable, final,
		"the catalog cannot be read; `clonecache check --repair` rebuilds it from the backends", false},
	{catalog.ErrClosed, "stopping", http.StatusServiceUnavailable, later, // in the midst of what was asked
		"the daemon is stopping; try again once it is back", false},
	{catalog.ErrUnavailable, "catalog_unavailable", http.StatusServiceUnavailable, later,
		"the catalog's database does not answer, or refuses; look at it and at [catalog], and try again later", false},
	{catalog.ErrNotEmpty, "catalog_not_empty", http.StatusConflict, final,
		"the catalog to copy to holds something already; give an empty database, or a file that does not exist", true},
	{catalog.ErrSchema, "catalog_schema", http.StatusServiceUnavailable, final,
		"the catalog's schema is of another version; `clonecache catalog migrate` brings an older one up to date, a newer one needs the newer clonecache", true},

	{backends.ErrBadName, "bad_name", http.StatusBadRequest, final,
		"no volume can be called that; use letters, digits, '.', '_' and '-', and begin with a letter, a digit or '_'", false},
	{backends.ErrNotOurs, "not_ours", http.StatusConflict, final,
		"it was not made by clonecache, or others have written it since, and it stays untouched; what is to go is removed with the backend's own tools", false},
	{plugin.ErrNoStory, "volume_not_found", http.StatusNotFound, final,
		"there is no such volume; `clonecache volume list` shows them", true},
	{backends.ErrNotExist, "volume_not_found", http.StatusNotFound, final,
		"there is no such volume; `clonecache volume list` shows them", false},
	{backends.ErrExist, "already_exists", http.StatusConflict, final,
		"the name is taken, and what bears it stays untouched; choose another name", false},
	{backends.ErrTooSmall, "volume_too_small", http.StatusUnprocessableEntity, final,
		"the volume would be smaller than the image's disk; ask for a larger size", false},
	{backends.ErrTooLarge, "volume_too_large", http.StatusUnprocessableEntity, final,
		"the backend makes no volumes of that size; ask for a smaller one", false},
	{backends.ErrInUse, "in_use", http.StatusConflict, later,
		"something still uses it; detach or close it first", false},
	{backends.ErrHeld, "backend_held", http.StatusConflict, final,
		"the backend is another installation's; if that one is gone for good, `clonecache backend take-over NAME` makes it this one's", false},
	{backends.ErrNoSpace, "backend_full", http.StatusInsufficientStorage, later,
		"the backend has no space left; delete volumes or entries, or add storage", false},
	{backends.ErrLimit, "clone_limit", http.StatusConflict, final,
		"the backend makes no more clones of this image-volume; delete volumes, or configure a fallback", false},
	{backends.ErrElsewhere, "lies_elsewhere", http.StatusConflict, final,
		"the image-volume lies in another pool than the volume is to be in; give each pool a volume type and a backend of its own", false},
	{backends.ErrCannotClone, "cannot_clone", http.StatusConflict, final,
		"this backend cannot clone; configure a fallback for it", false},
	{backends.ErrUnavailable, "backend_unavailable", http.StatusServiceUnavailable, later,
		"the backend does not answer; `clonecache backend list` says why: mend that, or try again later", false},

	// These wrap what happened to a stream or a target, which is rarely not among the rows above.
	{diskimage.ErrSourceLonger, "image_longer", http.StatusBadGateway, later,
		"the image's data went on beyond its announced size; try again, or upload the image anew", false},
	{diskimage.ErrSource, "image_unreadable", http.StatusBadGateway, later,
		"the image's data could not be read to its end; try again later", false},
	{diskimage.ErrTarget, "backend_write_failed", http.StatusServiceUnavailable, later,
		"the backend did not take the image's data; try again later", false},

	{context.DeadlineExceeded, "deadline_exceeded", http.StatusGatewayTimeout, later,
		"the time that was given is over; try again with a later deadline", false},
	{context.Canceled, "canceled", StatusClientClosed, later,
		"the request was given up", false},
}

// lookup finds the row that answers err.
func lookup(err error) row {
	for _, r := range table {
		if errors.Is(err, r.err) {
			return r
		}
	}
	return internal
}

// Code is the code that err is answered with, for metrics and for programs that embed the plugin.
func Code(err error) string { return lookup(err).code }

// withRemedy ends what an error says of itself in what helps: its own, behind a semicolon, or its row's. What is
// wrong with a request's field says what the field may be.
func withRemedy(says string, r row) string {
	if strings.Contains(says, "; ") || errors.Is(r.err, plugin.ErrBadRequest) {
		return says
	}
	_, remedy, _ := strings.Cut(r.sentence, "; ")
	return says + "; " + remedy
}

// Explain turns an error of the plugin into the one that users see: code, sentence and remedy, without
// the chain. An *Error stays as it is.
func Explain(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	r := lookup(err)
	e := &Error{Code: r.code, Message: r.sentence, Status: r.status, Retryable: bool(r.retry)}
	if r.speaks && err.Error() != r.err.Error() {
		e.Message = withRemedy(err.Error(), r)
	}
	var refusal *diskimage.Refusal
	if errors.As(err, &refusal) {
		e.Message = refusal.Error()
		e.Rule, e.Field, e.Value = refusal.Rule, refusal.Field, refusal.Value
	}
	return e
}
