//go:build databases

package catalog

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The server that these tests go to: its URL without a database, as e2e/databases/servers.sh env prints it, and the file
// of its password. The tests make databases of their own there, and drop them.
const (
	serverEnv   = "CLONECACHE_TEST_CATALOG"
	passwordEnv = "CLONECACHE_TEST_PASSWORD_FILE"
)

// pool are the databases that no test uses now: empty, and with the newest schema.
var pool struct {
	mu   sync.Mutex
	free []string
	made []string
}

func onServer(database string) Config {
	return Config{Access: Access{URL: os.Getenv(serverEnv) + database, PasswordFile: os.Getenv(passwordEnv)}}
}

// administer runs statements in the database that every such server has.
func administer(ctx context.Context, statements ...string) error {
	database := "mysql"
	if strings.HasPrefix(os.Getenv(serverEnv), schemePostgres) {
		database = "postgres"
	}
	return inDatabase(database, func(c *Catalog) error {
		for _, stmt := range statements {
			if err := c.runs(ctx, stmt); err != nil {
				return err
			}
		}
		return nil
	})
}

func inDatabase(database string, f func(*Catalog) error) error {
	cfg := onServer(database)
	place, err := ParseURL(cfg.URL)
	if err != nil {
		return err
	}
	c, err := connect(place, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// runs runs a statement, again where another node of the cluster was in its way.
func (c *Catalog) runs(ctx context.Context, stmt string) error {
	err := c.repeat(ctx, func() error {
		conn, err := c.writer.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "SELECT 1"); err != nil { // waits for what was done on another node; a bare DELETE does not
			return err
		}
		_, err = conn.ExecContext(ctx, stmt)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", stmt, err)
	}
	return nil
}

// anew is a new catalog on the server: a database that has the schema and nothing else.
func anew(t testing.TB) Config {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	database, err := take(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := empty(ctx, database); err != nil {
			t.Fatal(err)
		}
		pool.mu.Lock()
		defer pool.mu.Unlock()
		pool.free = append(pool.free, database)
	})
	return onServer(database)
}

func take(ctx context.Context) (string, error) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if n := len(pool.free); n > 0 {
		database := pool.free[n-1]
		pool.free = pool.free[:n-1]
		return database, nil
	}
	database := fmt.Sprintf("clonecache_test_%d_%d", os.Getpid(), len(pool.made))
	if err := administer(ctx, "CREATE DATABASE "+database); err != nil {
		return "", err
	}
	pool.made = append(pool.made, database)
	_, err := Migrate(ctx, onServer(database))
	return database, err
}

// tables are all that a test may have written to, those that others refer to last.
var tables = []string{
	"entry_images", "entries", "locks", "settled", "applied", "request_stats", "eviction_stats", "fill_stats", "work_stats", "latency_stats", "claims",
	"entry_totals", "claim_totals", "events", "identity", "departed", "store_names", "stores", "hosts", "host_stores", "estates", "duties", "loans", "fill_queue", "paused_stores",
}

func empty(ctx context.Context, database string) error {
	return inDatabase(database, func(c *Catalog) error {
		for _, table := range tables {
			if err := c.runs(ctx, "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	})
}

func unsynced(testing.TB, *Catalog) {}

func runTests(m *testing.M) int {
	if os.Getenv(serverEnv) == "" {
		fmt.Fprintln(os.Stderr, serverEnv+" names no server: run `make test-databases`")
		return 1
	}
	code := m.Run()
	for _, database := range slices.Sorted(slices.Values(pool.made)) {
		if err := administer(context.Background(), "DROP DATABASE "+database); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}
