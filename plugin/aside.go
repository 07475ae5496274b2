package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// stepAside is why one rung of the ladder does not serve a request. It never reaches the caller as an
// error: the next rung is tried, and the last one is outcome bypassed.
type stepAside struct {
	reason Reason
	detail string
	cause  error
	eta    *time.Time // when the fill that goes on will have read its image; nil: there is none, or nobody can tell
}

func (s *stepAside) Error() string {
	switch {
	case s.detail != "":
		return s.detail
	case s.cause != nil:
		return s.cause.Error()
	}
	return string(s.reason)
}

func (s *stepAside) Unwrap() error { return s.cause }

// final tells that no other rung could do better: the caller has no time, waits no longer, or is gone.
func (s *stepAside) final() bool {
	switch s.reason {
	case ReasonFilling, ReasonManyWaiting, ReasonDeadline, ReasonStopping, ReasonUndelivered:
		return true
	default:
		return false
	}
}

// behind is s, met after first had kept a better rung from serving: both are told of. where is what s was met in.
func (s *stepAside) behind(first *stepAside, where backends.Name) *stepAside {
	return &stepAside{reason: s.reason, cause: s.cause, detail: fmt.Sprintf("%s; file cache %s: %s", first, where, s)}
}

// cachesFault tells that an error is of the cache's own making or means, and says nothing of the image. A fill has no deadline.
func cachesFault(err error) bool {
	_, aside := steppedAside(classifyIn(context.Background(), err))
	return aside
}

func steppedAside(err error) (*stepAside, bool) {
	var s *stepAside
	ok := errors.As(err, &s)
	return s, ok
}

// usual are the errors that the caller's usual way would meet too: they are returned as they are.
func usual() []error {
	return append([]error{
		context.Canceled, context.DeadlineExceeded,
		ErrBadRequest, ErrUnknownBackend, ErrConflict, ErrOffered, ErrTooSmall, backends.ErrTooSmall, backends.ErrTooLarge, backends.ErrBadName,
		diskimage.ErrRefused, diskimage.ErrSourceLonger,
	}, imagesource.Errors()...)
}

// reasons map what the cache meets to why it steps aside. The first match counts.
func reasons() []struct {
	err    error
	reason Reason
} {
	return []struct {
		err    error
		reason Reason
	}{
		{lru.ErrTooLarge, ReasonTooLarge},
		{lru.ErrNoRoom, ReasonNoRoom},
		{internaltenant.ErrOverQuota, ReasonOverQuota},
		{internaltenant.ErrNoTenant, ReasonNoTenant},
		{internaltenant.ErrImageHidden, ReasonUnsuitable},
		{internaltenant.ErrUnavailable, ReasonTenantDown},
		{backends.ErrCannotClone, ReasonCannotClone},
		{backends.ErrLimit, ReasonCloneLimit},
		{backends.ErrElsewhere, ReasonUnsuitable},
		{backends.ErrNoSpace, ReasonBackendFull},
		{backends.ErrUnavailable, ReasonUnavailable},
		{catalog.ErrUnavailable, ReasonCatalogDown},
		{diskimage.ErrScratchFull, ReasonScratchFull},
		{ErrBusy, ReasonNoRoom}, // what was to go is lent
		{ErrStopping, ReasonStopping},
	}
}

// classify turns an error into one for the caller, or into a reason to step aside. Rungs and fills return what they met
// as it is: serve classifies it, once, and so does who writes down how a fill ended.
func classify(err error) error { return classifyAs(err, usual()) }

// classifyIn is classify of what came of waiting within ctx. As long as that has not ended, a deadline that was exceeded is another
// one's: net/http and the drivers of databases say so where a server does not answer in the time that they give it.
func classifyIn(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return classify(err)
	}
	return classifyAs(err, slices.DeleteFunc(usual(), func(u error) bool { return errors.Is(u, context.DeadlineExceeded) }))
}

func classifyAs(err error, usual []error) error {
	if err == nil {
		return nil
	}
	if _, already := steppedAside(err); already {
		return err
	}
	if exhausted(err) {
		return &stepAside{reason: ReasonCacheError, cause: err}
	}
	for _, u := range usual {
		if errors.Is(err, u) {
			return err
		}
	}
	for _, r := range reasons() {
		if errors.Is(err, r.err) {
			return &stepAside{reason: r.reason, cause: err}
		}
	}
	switch {
	case errors.Is(err, diskimage.ErrSource) && errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", imagesource.ErrTruncated, err)
	case errors.Is(err, diskimage.ErrSource):
		return fmt.Errorf("%w: %w", imagesource.ErrUnavailable, err)
	}
	return &stepAside{reason: ReasonCacheError, cause: err}
}

// exhausted tells that it is this process that lacks file descriptors or memory, whoever noticed it: the
// caller's usual way does not.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}
