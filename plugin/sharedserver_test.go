//go:build databases

package plugin_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// newShared is a new catalog that several hosts have: a database of its own on the server that the environment names, as
// e2e/databases/servers.sh env prints it. Of Galera's nodes the test itself asks the
// first, which waits for what was done on another one.
func newShared(t *testing.T, _ string) shared {
	t.Helper()
	server, file := os.Getenv("CLONECACHE_TEST_CATALOG"), os.Getenv("CLONECACHE_TEST_PASSWORD_FILE")
	password, err := os.ReadFile(file)
	if server == "" || err != nil {
		t.Fatalf("CLONECACHE_TEST_CATALOG and CLONECACHE_TEST_PASSWORD_FILE name no server: run `make test-databases` (%v)", err)
	}
	scheme, rest, _ := strings.Cut(server, "://")
	user, hosts, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "@")
	host, _, _ := strings.Cut(hosts, ",")
	on := func(database string) (driver, dsn string) {
		if scheme == "mysql" {
			return "mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s?timeout=20s&wsrep_sync_wait=7", user, strings.TrimSpace(string(password)), host, database)
		}
		at := url.URL{Scheme: scheme, User: url.UserPassword(user, strings.TrimSpace(string(password))), Host: host, Path: database}
		return "pgx", at.String()
	}
	sharedDatabases++
	name := fmt.Sprintf("clonecache_hosts_%d_%d", os.Getpid(), sharedDatabases)
	driver, dsn := on(map[string]string{"mysql": "mysql", "postgres": "postgres"}[scheme])
	admin, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("DROP DATABASE " + name); err != nil {
			t.Error(err)
		}
		admin.Close()
	})
	s := shared{Access: catalog.Access{URL: server + name, PasswordFile: file}}
	s.driver, s.dsn = on(name)
	if _, err := catalog.Migrate(t.Context(), catalog.Config{Access: s.Access}); err != nil {
		t.Fatal(err)
	}
	return s
}

// sharedDatabases are those that were made.
var sharedDatabases int
