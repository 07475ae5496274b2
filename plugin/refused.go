package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// refusalHolds is how long an image that was refused is not read again, as long as it does not change. Deleting the
// failed entry, or a start of the daemon, lets it be read at once.
const refusalHolds = time.Hour

// failedBy is what a row keeps of a fill's error. That an image breaks a rule lies in its bytes: the same bytes
// would be downloaded to be refused again, so that the refusal is kept whole and answered for a while. All else may
// be otherwise at the next try.
func (fl *fills) failedBy(cause error) catalog.Failure {
	f := catalog.Failure{Text: cause.Error()}
	var refusal *diskimage.Refusal
	if !errors.As(cause, &refusal) || mayPass(refusal.Rule) {
		return f
	}
	record, err := json.Marshal(refusal)
	if err != nil {
		return f
	}
	f.Record, f.RetryAfter = string(record), fl.catalogTime().Add(refusalHolds)
	return f
}

// failedBefore is the error of an image whose last fill failed, and that is not tried again yet.
func failedBefore(image string, e catalog.Entry) error {
	var refusal diskimage.Refusal
	if err := json.Unmarshal([]byte(e.Failure), &refusal); err != nil {
		return fmt.Errorf("the last fill of %s came to: %s; next try after %s", image, e.LastError, e.RetryAfter.Format(time.RFC3339))
	}
	return fmt.Errorf("inspect %s, at %s: %w", image, e.FailedAt.Format(time.RFC3339), &refusal)
}

// refusedBefore answers a refusal that still holds, before a fill waits for its turn. What cannot be asked now is met
// again when the fill begins.
func (fl *fills) refusedBefore(ctx context.Context, s *store, want *wanted) error {
	if e, err := fl.catalog.Find(ctx, s.id(), want.image.Domain, want.key); err == nil && e.State == catalog.Failed && e.RetryAfter.After(fl.catalogTime()) {
		return failedBefore(want.image.Ref(), e)
	}
	return nil
}

// mayPass tells of rules that an image may break by how it came, not by what it is.
func mayPass(rule string) bool {
	switch rule {
	case diskimage.RuleTruncated, diskimage.RuleEmpty, diskimage.RuleTooLarge:
		return true
	}
	return false
}

// expireFailed removes the rows of fills that failed long ago.
func (fl *fills) expireFailed(ctx context.Context) {
	n, err := fl.catalog.ExpireFailed(ctx, fl.catalogTime().Add(-fl.cfg.KeepFailed))
	switch {
	case err != nil && ctx.Err() == nil:
		fl.log.WithError(err).Warn("rows of failed fills not expired; trying again")
	case n > 0:
		fl.log.WithField("entries", n).Debug("rows of failed fills expired")
	}
}
