package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/internaltenant"
)

// Ledger keeps the local quota's claims. It may be used from several goroutines.
type Ledger struct{ c *Catalog }

var _ internaltenant.Ledger = (*Ledger)(nil)

// Ledger is the local quota's book in the same database; it implements internaltenant.Ledger.
func (c *Catalog) Ledger() *Ledger { return &Ledger{c: c} }

const (
	selectClaim = `SELECT id FROM claims WHERE entry_id = ? AND attempt = ?`
	insertClaim = `INSERT INTO claims (id, project_id, entry_id, attempt, backend, image_id, gigabytes, in_use, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)`
	projectTotal = `SELECT COALESCE(SUM(claims), 0), COALESCE(SUM(gigabytes), 0) FROM claim_totals WHERE project_id = ?`
	settleClaim  = `UPDATE claims SET in_use = 1 WHERE id = ?`
	deleteClaim  = `DELETE FROM claims WHERE id = ?`
	selectClaims = `SELECT id, project_id, entry_id, attempt, backend, image_id, gigabytes, in_use
		FROM claims WHERE project_id = ? ORDER BY id`
)

// Reserve adds a reserved claim unless it would exceed limits, atomically, also among hosts; the same
// EntryID and Attempt get the claim that they have. A limit of 0 is none. ErrOverQuota, which says the
// limit, what is used and what was asked for; then nothing is charged.
func (l *Ledger) Reserve(ctx context.Context, claim internaltenant.LedgerClaim, maxVolumes, maxGigabytes int64) (internaltenant.ClaimID, error) {
	var id internaltenant.ClaimID
	op := fmt.Sprintf("claim %d GiB for entry %s, attempt %d", claim.Gigabytes, claim.EntryID, claim.Attempt)
	if claim.Gigabytes < 0 {
		return "", fmt.Errorf("%s: a negative size", op)
	}
	err := l.c.write(ctx, op, func(t tx) error {
		if err := t.lock(ctx, "project:"+claim.ProjectID); err != nil {
			return err
		}
		err := t.row(ctx, selectClaim, claim.EntryID, claim.Attempt).Scan(&id)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := t.withinQuota(ctx, claim, maxVolumes, maxGigabytes); err != nil {
			return err
		}
		id, err = t.insertClaim(ctx, claim)
		return err
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// withinQuota tells whether the project may have one more claim. ErrOverQuota.
func (t tx) withinQuota(ctx context.Context, claim internaltenant.LedgerClaim, maxVolumes, maxGigabytes int64) error {
	var volumes, gigabytes int64
	err := t.row(ctx, projectTotal, claim.ProjectID).Scan(&volumes, &gigabytes)
	if err != nil {
		return err
	}
	for _, q := range []struct {
		name              internaltenant.Resource
		limit, used, more int64
	}{
		{internaltenant.Volumes, maxVolumes, volumes, 1},
		{internaltenant.GigabytesTotal, maxGigabytes, gigabytes, claim.Gigabytes},
	} {
		if q.limit > 0 && q.more > q.limit-q.used {
			return &internaltenant.QuotaError{Resource: q.name, Limit: q.limit, Used: q.used, Wanted: q.more}
		}
	}
	return nil
}

func (t tx) insertClaim(ctx context.Context, claim internaltenant.LedgerClaim) (internaltenant.ClaimID, error) {
	id, err := newID()
	if err != nil {
		return "", err
	}
	now, err := t.now(ctx)
	if err != nil {
		return "", err
	}
	return internaltenant.ClaimID(id), t.change(ctx, insertClaim, id, claim.ProjectID, claim.EntryID, claim.Attempt,
		claim.Backend, claim.ImageID, claim.Gigabytes, micros(now))
}

// Settle marks a claim as in use. Repeating it is harmless. ErrUnknownClaim.
func (l *Ledger) Settle(ctx context.Context, id internaltenant.ClaimID) error {
	return l.c.write(ctx, fmt.Sprintf("settle claim %s", id), func(t tx) error {
		n, err := t.exec(ctx, settleClaim, id)
		if err == nil && n == 0 {
			return internaltenant.ErrUnknownClaim
		}
		return err
	})
}

// Release removes a claim; an unknown one is harmless.
func (l *Ledger) Release(ctx context.Context, id internaltenant.ClaimID) error {
	return l.c.write(ctx, fmt.Sprintf("release claim %s", id), func(t tx) error {
		_, err := t.exec(ctx, deleteClaim, id)
		return err
	})
}

// Claims lists a project's claims, ordered by ID.
func (l *Ledger) Claims(ctx context.Context, projectID string) ([]internaltenant.LedgerClaim, error) {
	var claims []internaltenant.LedgerClaim
	err := l.c.read(ctx, "list claims of "+projectID, func(t tx) error {
		claims = nil
		return t.each(ctx, func(rows *sql.Rows) error {
			var c internaltenant.LedgerClaim
			err := rows.Scan(&c.ID, &c.ProjectID, &c.EntryID, &c.Attempt, &c.Backend, &c.ImageID, &c.Gigabytes, &c.InUse)
			claims = append(claims, c)
			return err
		}, selectClaims, projectID)
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}
