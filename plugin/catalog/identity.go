package catalog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/clonecache/clonecache/backends"
)

const (
	selectIdentity = `SELECT id FROM identity WHERE name = ?`
	insertIdentity = `INSERT INTO identity (name, id) VALUES (?, ?)`
	deleteIdentity = `DELETE FROM identity WHERE name = ?`
)

// The names in table identity.
const (
	ownID   = "catalog"
	soleOne = "instance"
)

// Identify returns the catalog's ID. One that has none yet, because it is new or was rebuilt, takes the one
// that is proposed.
func (c *Catalog) Identify(ctx context.Context, proposed backends.CatalogID) (backends.CatalogID, error) {
	var id backends.CatalogID
	err := c.write(ctx, "identify the catalog", func(t tx) error {
		found, err := t.identity(ctx, ownID)
		if err != nil || found != "" {
			id = backends.CatalogID(found)
			return err
		}
		id = proposed
		_, err = t.exec(ctx, insertIdentity, ownID, proposed)
		return err
	})
	return id, err
}

func (t tx) identity(ctx context.Context, name string) (id string, err error) {
	err = t.row(ctx, selectIdentity, name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

const (
	inheritLeases  = `UPDATE entries SET lease_host = ? WHERE state = 'filling' AND lease_host <> ?`
	highestApplied = `SELECT COALESCE(MAX(seq), 0) FROM applied`
	forgetApplied  = `DELETE FROM applied WHERE host <> ?`
)

// Inherit makes everything of other daemons this one's: their leases, and how far their journals are
// applied, of which the furthest counts. It is for a catalog that lies in the state directory of one daemon
// and which no other one has: what it says of others was written under this one's earlier names.
// On a server the others are other daemons, and nothing is inherited.
func (c *Catalog) Inherit(ctx context.Context, heir InstanceID) error {
	if c.Shared() {
		return nil
	}
	return c.write(ctx, "make the catalog that of "+string(heir), func(t tx) error {
		was, err := t.identity(ctx, soleOne)
		if err != nil || was == string(heir) {
			return err
		}
		if _, err := t.exec(ctx, inheritLeases, heir, heir); err != nil {
			return err
		}
		if err := t.inheritApplied(ctx, heir); err != nil {
			return err
		}
		if _, err := t.exec(ctx, deleteIdentity, soleOne); err != nil {
			return err
		}
		_, err = t.exec(ctx, insertIdentity, soleOne, heir)
		return err
	})
}

func (t tx) inheritApplied(ctx context.Context, heir InstanceID) error {
	var seq int64
	if err := t.row(ctx, highestApplied).Scan(&seq); err != nil {
		return err
	}
	if _, err := t.exec(ctx, forgetApplied, heir); err != nil || seq == 0 {
		return err
	}
	stmt := insertApplied + t.c.dialect.upsert("applied", []string{"host"}, nil, []string{"seq"})
	_, err := t.exec(ctx, stmt, heir, seq)
	return err
}
