//go:build databases

package randomops

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// hostOperations are how many operations several hosts do.
const hostOperations = 120

// hostHistories are how many histories of several hosts are checked.
const hostHistories = 5

// sharedDatabases are those that were made.
var sharedDatabases atomic.Int64

// newShared is a new catalog that several hosts have: a database of its own on the server that the environment names, as
// e2e/databases/servers.sh env prints it.
func newShared(t sequenced, _ string) catalog.Access {
	t.Helper()
	server, file := os.Getenv("CLONECACHE_TEST_CATALOG"), os.Getenv("CLONECACHE_TEST_PASSWORD_FILE")
	password, err := os.ReadFile(file)
	if server == "" || err != nil {
		t.Fatalf("CLONECACHE_TEST_CATALOG and CLONECACHE_TEST_PASSWORD_FILE name no server: run `make test-databases` (%v)", err)
	}
	name := fmt.Sprintf("clonecache_random_%d_%d", os.Getpid(), sharedDatabases.Add(1))
	onServer(t, server, strings.TrimSpace(string(password)), "CREATE DATABASE "+name)
	t.Cleanup(func() { onServer(t, server, strings.TrimSpace(string(password)), "DROP DATABASE "+name) })
	shared := catalog.Access{URL: server + name, PasswordFile: file}
	if _, err := catalog.Migrate(t.Context(), catalog.Config{Access: shared}); err != nil {
		t.Fatalf("shared catalog: %v", err)
	}
	return shared
}

// onServer does a statement as the server's own, on the first of several nodes.
func onServer(t sequenced, server, password, statement string) {
	t.Helper()
	scheme, rest, _ := strings.Cut(server, "://")
	user, hosts, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "@")
	host, _, _ := strings.Cut(hosts, ",")
	driver, dsn := "mysql", fmt.Sprintf("%s:%s@tcp(%s)/mysql?timeout=20s&wsrep_sync_wait=7", user, password, host)
	if scheme != "mysql" {
		driver, dsn = "pgx", (&url.URL{Scheme: scheme, User: url.UserPassword(user, password), Host: host, Path: "postgres"}).String()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatalf("shared catalog: %v", err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}
