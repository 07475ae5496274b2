package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
)

var (
	// ErrNoHost: no daemon of that ID is known to the catalog.
	ErrNoHost = errors.New("no such host")
	// ErrHostUp: the daemon lives, or lived a moment ago.
	ErrHostUp = errors.New("host is up")
)

// HostState is what the catalog knows of a daemon's life.
type HostState string

const (
	// HostUp: it has said so lately.
	HostUp HostState = "up"
	// HostStopped: it has ended by itself.
	HostStopped HostState = "stopped"
	// HostLost: it has not been heard of for long: it was killed, its host is gone, or it is cut off.
	HostLost HostState = "lost"
)

// Host is a daemon that uses the catalog. Times are the database's.
type Host struct {
	ID          InstanceID
	Incarnation string
	Name        string // for people
	Version     string // of the program
	FirstSeenAt time.Time
	BegunAt     time.Time // when this incarnation began
	LastSeenAt  time.Time
	AliveUntil  time.Time // when it is taken for lost, if it says no more
	State       HostState
	Fills       int64 // under a lease that runs
	Duties      []DutyLease
}

// Arrival is a daemon that begins.
type Arrival struct {
	Holder
	Name     string
	Version  string
	AliveFor time.Duration // how long it is taken for up without another word
}

const (
	selectHosts = `SELECT id, incarnation, name, version, first_seen_at, begun_at, last_seen_at, alive_until, stopped FROM hosts ORDER BY name, id`
	selectHost  = `SELECT id, incarnation, name, version, first_seen_at, begun_at, last_seen_at, alive_until, stopped FROM hosts WHERE id = ?`
	insertHost  = `INSERT INTO hosts (id, incarnation, name, version, first_seen_at, begun_at, last_seen_at, alive_until, stopped)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)`
	renewHost = `UPDATE hosts SET incarnation = ?, name = ?, version = ?, begun_at = ?, last_seen_at = ?, alive_until = ?, stopped = 0
		WHERE id = ? AND incarnation = ?`
	beatHost   = `UPDATE hosts SET last_seen_at = ?, alive_until = ?, stopped = 0 WHERE id = ? AND incarnation = ?`
	stopHost   = `UPDATE hosts SET last_seen_at = ?, stopped = 1 WHERE id = ? AND incarnation = ?`
	deleteHost = `DELETE FROM hosts WHERE id = ? AND incarnation = ? AND last_seen_at = ?`
)

// Arrive makes a daemon known, and up. Its earlier incarnation, if there was one, is over: the caller has its state
// directory, and knows. What that has left is the caller's again, and nobody else's estate.
func (c *Catalog) Arrive(ctx context.Context, a Arrival) error {
	return c.write(ctx, "let host "+string(a.Instance)+" arrive", func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, deleteEstates, a.Instance); err != nil {
			return err
		}
		was, err := t.host(ctx, a.Instance)
		if errors.Is(err, ErrNoHost) {
			return t.change(ctx, insertHost, a.Instance, a.Incarnation, a.Name, a.Version, micros(now), micros(now), micros(now), micros(now.Add(a.AliveFor)))
		}
		if err != nil {
			return err
		}
		return t.stillThat(ctx, renewHost, a.Incarnation, a.Name, a.Version, micros(now), micros(now), micros(now.Add(a.AliveFor)), a.Instance, was.Incarnation)
	})
}

// Beat says that a daemon lives. ErrNoHost: somebody has removed it, and it is to arrive anew. ErrLost: another process has
// arrived under its ID.
func (c *Catalog) Beat(ctx context.Context, h Holder, aliveFor time.Duration) error {
	return c.write(ctx, "note that host "+string(h.Instance)+" lives", func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		err = t.change(ctx, beatHost, micros(now), micros(now.Add(aliveFor)), h.Instance, h.Incarnation)
		if !errors.Is(err, ErrLost) {
			return err
		}
		if _, err := t.host(ctx, h.Instance); err != nil {
			return err
		}
		return ErrLost
	})
}

// Now is what time it is by the clock of the database.
func (c *Catalog) Now(ctx context.Context) (now time.Time, err error) {
	err = c.read(ctx, "read the clock", func(t tx) error {
		now, err = t.now(ctx)
		return err
	})
	return now, err
}

// Leave says that a daemon has ended by itself, and lets others have its duties. Where it is not known any more, or another
// process goes by its ID, nothing happens.
func (c *Catalog) Leave(ctx context.Context, h Holder) error {
	return c.write(ctx, "let host "+string(h.Instance)+" leave", func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, stopHost, micros(now), h.Instance, h.Incarnation); err != nil {
			return err
		}
		_, err = t.exec(ctx, freeOwnDuties, h.Instance, h.Incarnation)
		return err
	})
}

// Hosts lists the daemons, ordered by name.
func (c *Catalog) Hosts(ctx context.Context) ([]Host, error) {
	var all []Host
	err := c.read(ctx, "list hosts", func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if all, err = t.hosts(ctx, now, selectHosts); err != nil {
			return err
		}
		for i := range all {
			if err := t.work(ctx, &all[i], now); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

func (t tx) host(ctx context.Context, id InstanceID) (Host, error) {
	now, err := t.now(ctx)
	if err != nil {
		return Host{}, err
	}
	all, err := t.hosts(ctx, now, selectHost, id)
	if err == nil && len(all) == 0 {
		err = ErrNoHost
	}
	if err != nil {
		return Host{}, err
	}
	return all[0], nil
}

func (t tx) hosts(ctx context.Context, now time.Time, stmt string, args ...any) ([]Host, error) {
	var all []Host
	err := t.each(ctx, func(rows *sql.Rows) error {
		var h Host
		var first, begun, last, until int64
		var stopped bool
		err := rows.Scan(&h.ID, &h.Incarnation, &h.Name, &h.Version, &first, &begun, &last, &until, &stopped)
		h.FirstSeenAt, h.BegunAt, h.LastSeenAt, h.AliveUntil = fromMicros(first), fromMicros(begun), fromMicros(last), fromMicros(until)
		switch {
		case stopped:
			h.State = HostStopped
		case h.AliveUntil.After(now):
			h.State = HostUp
		default:
			h.State = HostLost
		}
		all = append(all, h)
		return err
	}, stmt, args...)
	return all, err
}

const countFills = `SELECT COUNT(*) FROM entries WHERE state = 'filling' AND lease_until > ? AND lease_host = ?`

// work reads what a daemon has to do now.
func (t tx) work(ctx context.Context, h *Host, now time.Time) error {
	if err := t.row(ctx, countFills, micros(now), h.ID).Scan(&h.Fills); err != nil {
		return err
	}
	duties, err := t.duties(ctx, selectHostDuties, h.ID, micros(now))
	h.Duties = duties
	return err
}

const (
	freeHostRows    = `UPDATE entries SET lease_until = 0 WHERE state IN ('filling', 'evicting') AND lease_host = ?`
	forgetHostStore = `DELETE FROM host_stores WHERE host = ?`
)

// RemoveHost forgets a daemon that is gone for good, and lets others have at once what it had leases of; it is returned as it was.
// What it was making is theirs to undo, and what it may have left beside its rows is an estate. Should it live after all, it finds its leases lost. ErrNoHost, ErrHostUp.
func (c *Catalog) RemoveHost(ctx context.Context, id InstanceID) (Host, error) {
	var h Host
	err := c.write(ctx, "remove host "+string(id), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if h, err = t.host(ctx, id); err != nil {
			return err
		}
		if h.State == HostUp {
			return fmt.Errorf("%w: it was seen at %s, and is taken for lost at %s", ErrHostUp, h.LastSeenAt.Format(time.RFC3339), h.AliveUntil.Format(time.RFC3339))
		}
		if err := t.work(ctx, &h, now); err != nil {
			return err
		}
		if err := t.stillThat(ctx, deleteHost, id, h.Incarnation, micros(h.LastSeenAt)); err != nil {
			return err
		}
		if err := t.leaveEstates(ctx, id); err != nil {
			return err
		}
		for _, stmt := range []string{freeHostRows, freeHostDuties, forgetHostStore} {
			if _, err := t.exec(ctx, stmt, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Host{}, err
	}
	return h, nil
}

const (
	insertHostStore = `INSERT INTO host_stores (host, store, name) VALUES (?, ?, ?)`
	selectOwnStores = `SELECT name, store FROM host_stores WHERE host = ?`
	// selectOthers are the stores of daemons other than one, each with one of these.
	selectOthers = `SELECT s.store, MIN(h.name) FROM host_stores s JOIN hosts h ON h.id = s.host WHERE s.host <> ? GROUP BY s.store ORDER BY s.store`
)

// SetStores notes which stores a daemon is configured for, by what it calls them: these, and no others.
func (c *Catalog) SetStores(ctx context.Context, id InstanceID, stores map[backends.Name]backends.StoreID) error {
	return c.write(ctx, "note the stores of host "+string(id), func(t tx) error {
		if _, err := t.exec(ctx, forgetHostStore, id); err != nil {
			return err
		}
		stmt := insertHostStore + t.c.dialect.upsert("host_stores", []string{"host", "store"}, nil, nil)
		for _, name := range slices.Sorted(maps.Keys(stores)) {
			if _, err := t.exec(ctx, stmt, id, stores[name], name); err != nil {
				return err
			}
		}
		return nil
	})
}

// StoresOf are the stores that a daemon was last configured for, by what it called them.
func (c *Catalog) StoresOf(ctx context.Context, id InstanceID) (map[backends.Name]backends.StoreID, error) {
	var all map[backends.Name]backends.StoreID
	err := c.read(ctx, "list the stores of host "+string(id), func(t tx) (err error) {
		all, err = t.ownStores(ctx, id)
		return err
	})
	return all, err
}

func (t tx) ownStores(ctx context.Context, id InstanceID) (map[backends.Name]backends.StoreID, error) {
	all := make(map[backends.Name]backends.StoreID)
	err := t.each(ctx, func(rows *sql.Rows) error {
		var name backends.Name
		var store backends.StoreID
		err := rows.Scan(&name, &store)
		all[name] = store
		return err
	}, selectOwnStores, id)
	return all, err
}

// StoresOfOthers are the stores that daemons other than this one are configured for, each with the name of one of their
// hosts: of all that were not removed, whether they are up or not.
func (c *Catalog) StoresOfOthers(ctx context.Context, id InstanceID) (map[backends.StoreID]string, error) {
	var all map[backends.StoreID]string
	err := c.read(ctx, "list the stores of other hosts", func(t tx) error {
		all = make(map[backends.StoreID]string)
		return t.each(ctx, func(rows *sql.Rows) error {
			var store backends.StoreID
			var host string
			err := rows.Scan(&store, &host)
			all[store] = host
			return err
		}, selectOthers, id)
	})
	return all, err
}
