package catalog

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
)

// countedBytes is what counts against a bound on bytes, with what is detached.
func countedBytes(h Holdings) (bytes int64) {
	for _, s := range h.Totals {
		if s.State == Detached {
			bytes += s.HeldBytes
		} else {
			bytes += s.CountedBytes
		}
	}
	return bytes
}

func TestMiscountedTotalsAreFoundAndRecounted(t *testing.T) {
	for _, harm := range []struct{ name, statement, says string }{
		{"too many", `UPDATE entry_totals SET entries = entries + 1 WHERE state = 'ready'`, "kept local, ready, idle, not pinned: 3 entries, 30 bytes counted, 30 held; counted local, ready, idle, not pinned: 2 entries"},
		{"too few bytes", `UPDATE entry_totals SET held_bytes = 0 WHERE state = 'ready'`, "30 bytes counted, 0 held; counted"},
		{"lost", `DELETE FROM entry_totals`, "0 entries, 0 bytes counted, 0 held; counted local, ready, idle, not pinned: 2 entries"},
		{"of no entries", `INSERT INTO entry_totals (store, state, pinned, in_use, entries, counted_bytes, held_bytes) SELECT 'gone', state, pinned, in_use, entries, counted_bytes, held_bytes FROM entry_totals`, "kept gone, ready, idle, not pinned: 2 entries, 30 bytes counted, 30 held; counted gone, ready, idle, not pinned: 0 entries"},
		{"claims", `UPDATE claim_totals SET gigabytes = 7`, "kept project p: 1 claims, 7 GiB; counted project p: 1 claims, 2 GiB"},
		{"claims lost", `DELETE FROM claim_totals`, "counted project p: 1 claims, 2 GiB"},
	} {
		t.Run(harm.name, func(t *testing.T) {
			c, _ := fresh(t)
			mustReady(t, c, spec("a"), 10)
			mustReady(t, c, spec("b"), 20)
			_, err := c.Ledger().Reserve(t.Context(), internaltenant.LedgerClaim{ProjectID: "p", EntryID: "e", Gigabytes: 2}, 0, 0)
			is(t, "claim", err, nil)
			notMiscounted(t, c)
			is(t, "harm", c.write(t.Context(), "harm", func(x tx) error {
				_, err := x.exec(t.Context(), harm.statement)
				return err
			}), nil)
			wrong, err := c.Miscounted(t.Context())
			if err != nil || len(wrong) != 1 || !strings.Contains(wrong[0], harm.says) {
				t.Errorf("got %q, %v, want one with %q", wrong, err, harm.says)
			}
			is(t, "recount", c.Recount(t.Context()), nil)
			notMiscounted(t, c)
		})
	}
}

func notMiscounted(t testing.TB, c *Catalog) {
	t.Helper()
	if wrong, err := c.Miscounted(t.Context()); err != nil || len(wrong) != 0 {
		t.Errorf("miscounted: %q, %v", wrong, err)
	}
}

// before totals there were entries and claims already
func TestSQLiteStepThatAddsTotalsCountsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	old, err := openFile(t, path, firstSteps(1))
	if err != nil {
		t.Fatal(err)
	}
	const insert = `INSERT INTO entries (id, store, content_key, domain, live_key, state, attempt, image_volume, form,
		digest, disk_format, source_bytes, virtual_bytes, reserved_bytes, held_bytes, claim, pinned, hits, clones,
		inspector_version, evict_cause, created_at, filled_at, last_used_at, lease_host, lease_incarnation, lease_until,
		last_error, retry_after) VALUES (?, 'local', ?, '', ?, ?, 1, '', '', '', 'raw', 0, 0, ?, ?, '', ?, 0, ?, 1, '', 5, 5, 7, '', '', 0, '', 0)`
	for i, state := range []State{Filling, Ready, Ready, Evicting, Detached, Failed} {
		var live any = fmt.Sprint("live", i)
		if state == Evicting || state == Detached {
			live = nil
		}
		if _, err := old.writer.ExecContext(t.Context(), insert, fmt.Sprint("e", i), fmt.Sprint("k", i), live, state, 10*i, 7, i%2, i/2); err != nil {
			t.Fatal(err)
		}
	}
	const claim = `INSERT INTO claims (id, project_id, entry_id, attempt, backend, image_id, gigabytes, in_use, created_at) VALUES ('c', 'p', 'e1', 1, 'local', 'i', 3, 1, 5)`
	if _, err := old.writer.ExecContext(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	c := open(t, inFile(path), nil)
	notMiscounted(t, c)
	held, err := c.Held(t.Context())
	if want := (Held{Entries: 4, Bytes: 7 + 10 + 20 + 30, Detached: 1, DetachedBytes: 7}); err != nil || held["local"] != want {
		t.Errorf("held %+v, %v, want %+v", held, err, want)
	}
	_, err = c.Ledger().Reserve(t.Context(), internaltenant.LedgerClaim{ProjectID: "p", EntryID: "new", Gigabytes: 2}, 0, 4)
	is(t, "a claim over the quota", err, internaltenant.ErrOverQuota)
}
