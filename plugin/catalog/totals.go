package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// Total is entries added up: those of one store that are in one state, and alike in what decides
// whether they may go.
type Total struct {
	Store  backends.StoreID
	State  State
	Pinned bool
	InUse  bool // they have live clones

	Entries      int64
	CountedBytes int64 // of Entry.CountedBytes
	HeldBytes    int64
}

// group names what t is the total of.
func (t Total) group() Total {
	return Total{Store: t.Store, State: t.State, Pinned: t.Pinned, InUse: t.InUse}
}

// String is for people: what is added up, and what it comes to.
func (t Total) String() string {
	use, pin := "idle", "not pinned"
	if t.InUse {
		use = "in use"
	}
	if t.Pinned {
		pin = "pinned"
	}
	return fmt.Sprintf("%s, %s, %s, %s: %d entries, %d bytes counted, %d held", t.Store, t.State, use, pin, t.Entries, t.CountedBytes, t.HeldBytes)
}

const (
	sumTotals    = `SELECT store, state, pinned, in_use, SUM(entries), SUM(counted_bytes), SUM(held_bytes) FROM entry_totals`
	byGroup      = ` GROUP BY store, state, pinned, in_use`
	selectTotals = sumTotals + byGroup + ` HAVING SUM(entries) <> 0 OR SUM(counted_bytes) <> 0 OR SUM(held_bytes) <> 0
		ORDER BY store, state, pinned, in_use`
	storeTotals = sumTotals + ` WHERE store = ?` + byGroup
	// countEntries adds up what the totals should be; it counts as Entry.CountedBytes does.
	countEntries = `SELECT store, state, pinned, in_use, COUNT(*),
		SUM(CASE WHEN reserved_bytes > held_bytes THEN reserved_bytes ELSE held_bytes END), SUM(held_bytes)
		FROM entries GROUP BY store, state, pinned, in_use ORDER BY store, state, pinned, in_use`
)

// totals reads what a statement selects.
func (t tx) totals(ctx context.Context, stmt string, args ...any) ([]Total, error) {
	var all []Total
	err := t.each(ctx, func(rows *sql.Rows) error {
		var s Total
		err := rows.Scan(&s.Store, &s.State, &s.Pinned, &s.InUse, &s.Entries, &s.CountedBytes, &s.HeldBytes)
		all = append(all, s)
		return err
	}, stmt, args...)
	return all, err
}

// Held is what the entries of one store hold.
type Held struct {
	Entries       int // ready and evicting ones, and fills that room was made for
	Bytes         int64
	Detached      int
	DetachedBytes int64
}

// Held is what each store holds, from the totals; one without entries is not in it.
func (c *Catalog) Held(ctx context.Context) (map[backends.StoreID]Held, error) {
	var totals []Total
	var waiting map[backends.StoreID]int
	err := c.read(ctx, "read totals", func(t tx) (err error) {
		if totals, err = t.totals(ctx, selectTotals); err == nil {
			waiting, err = t.allWithoutRoom(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make(map[backends.StoreID]Held)
	for _, s := range totals {
		h := all[s.Store]
		switch s.State {
		case Filling, Ready, Evicting:
			h.Entries, h.Bytes = h.Entries+int(s.Entries), h.Bytes+s.CountedBytes
		case Detached:
			h.Detached, h.DetachedBytes = h.Detached+int(s.Entries), h.DetachedBytes+s.HeldBytes
		case Failed:
			continue
		}
		all[s.Store] = h
	}
	for store, n := range waiting {
		h := all[store]
		h.Entries -= n
		all[store] = h
	}
	return all, nil
}

// claimTotal is a project's claims added up.
type claimTotal struct {
	project           string
	claims, gigabytes int64
}

const (
	selectClaimTotals = `SELECT project_id, SUM(claims), SUM(gigabytes) FROM claim_totals
		GROUP BY project_id HAVING SUM(claims) <> 0 OR SUM(gigabytes) <> 0 ORDER BY project_id`
	countClaims = `SELECT project_id, COUNT(*), SUM(gigabytes) FROM claims GROUP BY project_id ORDER BY project_id`
)

func (t tx) claimTotals(ctx context.Context, stmt string) ([]claimTotal, error) {
	var all []claimTotal
	err := t.each(ctx, func(rows *sql.Rows) error {
		var s claimTotal
		err := rows.Scan(&s.project, &s.claims, &s.gigabytes)
		all = append(all, s)
		return err
	}, stmt)
	return all, err
}

// Miscounted adds up all entries and claims, and says of each total that is another one what it is and
// what it should be. Room, quota and reports go by the totals; Recount corrects them.
func (c *Catalog) Miscounted(ctx context.Context) ([]string, error) {
	var wrong []string
	err := c.read(ctx, "compare totals", func(t tx) error {
		kept, err := t.totals(ctx, selectTotals)
		if err != nil {
			return err
		}
		counted, err := t.totals(ctx, countEntries)
		if err != nil {
			return err
		}
		wrong = differing(kept, counted, Total.group)
		keptClaims, err := t.claimTotals(ctx, selectClaimTotals)
		if err != nil {
			return err
		}
		countedClaims, err := t.claimTotals(ctx, countClaims)
		if err != nil {
			return err
		}
		wrong = append(wrong, differing(keptClaims, countedClaims, claimTotal.group)...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wrong, nil
}

func (s claimTotal) group() claimTotal { return claimTotal{project: s.project} }

func (s claimTotal) String() string {
	return fmt.Sprintf("project %s: %d claims, %d GiB", s.project, s.claims, s.gigabytes)
}

// total is a Total or a claimTotal.
type total interface {
	comparable
	fmt.Stringer
}

// differing compares what is kept with what was counted, group by group.
func differing[T total](kept, counted []T, group func(T) T) []string {
	var wrong []string
	find := func(among []T, t T) T {
		if i := slices.IndexFunc(among, func(o T) bool { return group(o) == group(t) }); i >= 0 {
			return among[i]
		}
		return group(t)
	}
	for _, c := range counted {
		if k := find(kept, c); k != c {
			wrong = append(wrong, fmt.Sprintf("kept %v; counted %v", k, c))
		}
	}
	for _, k := range kept {
		if c := find(counted, k); c == group(k) {
			wrong = append(wrong, fmt.Sprintf("kept %v; counted %v", k, c))
		}
	}
	return wrong
}

const (
	// surplusTotals and surplusClaims are what the totals say too much, in one statement, which sees one state.
	surplusTotals = `SELECT store, state, pinned, in_use, SUM(entries), SUM(counted_bytes), SUM(held_bytes) FROM (
			SELECT store, state, pinned, in_use, entries, counted_bytes, held_bytes FROM entry_totals
			UNION ALL SELECT store, state, pinned, in_use, -1,
				-CASE WHEN reserved_bytes > held_bytes THEN reserved_bytes ELSE held_bytes END, -held_bytes FROM entries) surplus` +
		byGroup + ` HAVING SUM(entries) <> 0 OR SUM(counted_bytes) <> 0 OR SUM(held_bytes) <> 0`
	surplusClaims = `SELECT project_id, SUM(claims), SUM(gigabytes) FROM (
			SELECT project_id, claims, gigabytes FROM claim_totals
			UNION ALL SELECT project_id, -1, -gigabytes FROM claims) surplus
		GROUP BY project_id HAVING SUM(claims) <> 0 OR SUM(gigabytes) <> 0`
)

// addTotal is an INSERT of the row of one total, whose sums are added to what is there.
func (d dialect) addTotal(table string, keys, sums []string) string {
	columns := slices.Concat(keys, sums)
	values := "?" + strings.Repeat(", ?", len(columns)-1)
	if d.shard != "" {
		columns, keys, values = append(columns, "shard"), append(slices.Clone(keys), "shard"), values+", "+d.shard
	}
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (" + values + ")" + d.upsert(table, keys, sums, nil)
}

// Recount makes the totals what entries and claims add up to, in one transaction. Others may change them meanwhile.
func (c *Catalog) Recount(ctx context.Context) error {
	return c.write(ctx, "recount totals", func(t tx) error {
		if err := t.lock(ctx, "totals"); err != nil {
			return err
		}
		entries, err := t.totals(ctx, surplusTotals)
		if err != nil {
			return err
		}
		claims, err := t.claimTotals(ctx, surplusClaims)
		if err != nil {
			return err
		}
		add := c.dialect.addTotal("entry_totals", []string{"store", "state", "pinned", "in_use"}, []string{"entries", "counted_bytes", "held_bytes"})
		for _, s := range entries {
			if _, err := t.exec(ctx, add, s.Store, s.State, number(s.Pinned), number(s.InUse), -s.Entries, -s.CountedBytes, -s.HeldBytes); err != nil {
				return err
			}
		}
		add = c.dialect.addTotal("claim_totals", []string{"project_id"}, []string{"claims", "gigabytes"})
		for _, s := range claims {
			if _, err := t.exec(ctx, add, s.project, -s.claims, -s.gigabytes); err != nil {
				return err
			}
		}
		return nil
	})
}
