//go:build databases

package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ofSchema opens a catalog after its note of versions was changed, and puts that right again.
func ofSchema(t *testing.T, cfg Config, change, undo string) error {
	t.Helper()
	place, err := ParseURL(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	run := func(stmt string) {
		err := inDatabase(place.database, func(c *Catalog) error { return c.runs(context.WithoutCancel(t.Context()), stmt) })
		if err != nil {
			t.Fatal(err)
		}
	}
	run(change)
	defer run(undo)
	c, err := Open(t.Context(), cfg)
	if err == nil {
		c.Close()
	}
	return err
}

func TestAnotherSchemaIsRefusedWithWhatMendsIt(t *testing.T) {
	cfg := anew(t)
	for _, test := range []struct{ name, change, undo, says string }{
		{"newer", `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`, `DELETE FROM goose_db_version WHERE version_id = 99`, "from a newer clonecache"},
		{"none", `ALTER TABLE goose_db_version RENAME TO goose_elsewhere`, `ALTER TABLE goose_elsewhere RENAME TO goose_db_version`, "clonecache catalog migrate"},
	} {
		err := ofSchema(t, cfg, test.change, test.undo)
		if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want ErrSchema with %q", test.name, err, test.says)
		}
	}
	again, err := Migrate(t.Context(), cfg)
	if err != nil || again.From != again.To {
		t.Errorf("migrate again: %+v, %v", again, err)
	}
}

func TestAServerThatRefusesSaysWhy(t *testing.T) {
	cfg := anew(t)
	wrong := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(wrong, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"password", func(c *Config) { c.PasswordFile = wrong }, "denied|authentication"},
		{"database", func(c *Config) { c.URL += "_absent" }, "Unknown database|does not exist"},
		{"no such file", func(c *Config) { c.PasswordFile += "-absent" }, "no such file"},
		{"not a CA", func(c *Config) { c.CAFile = wrong }, "holds no certificate"},
	} {
		other := cfg
		test.change(&other)
		c, err := Open(t.Context(), other)
		if err == nil {
			c.Close()
		}
		first, second, _ := strings.Cut(test.says, "|")
		if err == nil || !strings.Contains(err.Error(), first) && (second == "" || !strings.Contains(err.Error(), second)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.says)
		}
		if err != nil && strings.Contains(err.Error(), "wrong\n") {
			t.Errorf("%s: it says the password", test.name)
		}
	}
}

// A node that is gone, and one that takes connections and says nothing, as a process does that is stopped, keep nobody from
// the one that serves, nor do they cost each connection their time.
func TestNodesThatDoNotServeAreGoneRound(t *testing.T) {
	cfg := anew(t)
	place, err := ParseURL(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	if place.scheme != schemeMariaDB {
		return // pgx's own
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	cfg.URL = strings.Replace(cfg.URL, "@", "@127.0.0.1:1,"+mute.Addr().String()+",", 1)
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Half of what they would take if each one waited for the mute node.
	within, cancel := context.WithTimeout(t.Context(), idleConns*serveWithin/2)
	defer cancel()
	for range idleConns { // in each a connection is made
		conn, err := c.writer.Conn(within)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
}

// The nodes of the test's Galera cluster have no certificates.
func TestConnectionsAreEncryptedWithACA(t *testing.T) {
	cfg := anew(t)
	place, err := ParseURL(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.CAFile = os.Getenv("CLONECACHE_TEST_CA_FILE")
	c, err := Open(t.Context(), cfg)
	if len(place.hosts) > 1 {
		if err == nil {
			c.Close()
			t.Error("a server without TLS was used")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stmt := `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`
	if place.scheme == schemeMariaDB {
		stmt = `SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'`
	}
	var encrypted bool
	if err := c.writer.QueryRowContext(t.Context(), stmt).Scan(&encrypted); err != nil || !encrypted {
		t.Errorf("encrypted: %v, %v", encrypted, err)
	}
	cfg.URL = strings.Replace(cfg.URL, "127.0.0.1", "127.0.0.2", 1) // which the certificate does not name
	other, err := Open(t.Context(), cfg)
	if err == nil {
		other.Close()
		t.Error("a certificate of another name was taken")
	}
}

// A statement that is asked for at each step of a fill goes by an index, in its order.
func TestMariaDBHasTheOrderOfALineInAnIndex(t *testing.T) {
	c := open(t, anew(t), nil)
	if c.place.scheme != schemeMariaDB {
		return // PostgreSQL has SQLite's indexes
	}
	err := c.write(t.Context(), "insert", func(x tx) error {
		for i := range 300 {
			e := Entry{ID: EntryID(fmt.Sprint("e", i)), Store: "local", Key: Key(fmt.Sprint("k", i)), State: Ready, Attempt: 1, Hits: int64(i % 12)}
			if err := x.insert(t.Context(), e); err != nil {
				return err
			}
		}
		return nil
	})
	is(t, "insert", err, nil)
	for name, l := range map[string]Line{"idle": {}, "superseded": {Superseded: true}, "of few hits": {BelowHits: 1}} {
		stmt, args := l.page(c.dialect, "local", 0, firstPage)
		err := c.read(t.Context(), "explain", func(x tx) error {
			return x.each(t.Context(), func(rows *sql.Rows) error {
				columns, err := rows.Columns()
				if err != nil {
					return err
				}
				values, err := scanAny(rows, len(columns))
				if text := fmt.Sprint(values...); strings.Contains(text, "filesort") || strings.Contains(text, "ALL") {
					t.Errorf("%s: %s", name, text)
				}
				return err
			}, "EXPLAIN "+stmt, args...)
		})
		is(t, name, err, nil)
	}
}
