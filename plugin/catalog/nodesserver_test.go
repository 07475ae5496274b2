//go:build databases

package catalog

import (
	"database/sql"
	"testing"
	"time"
)

// Of a cluster, a connection to another node than the first one is used until the first one may serve again, and closed then.
func TestAConnectionToAnotherNodeIsClosed(t *testing.T) {
	cfg := onServer("mysql")
	place, err := ParseURL(cfg.URL)
	is(t, "URL", err, nil)
	if len(place.hosts) < 2 || place.scheme != schemeMariaDB {
		return // the set runs this on each server, and one of these is a cluster
	}
	l, err := cfg.login()
	is(t, "login", err, nil)
	connector := newMariaDBConnector(place, l)
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	node := func() (name string) {
		t.Helper()
		is(t, "ask", db.QueryRowContext(t.Context(), "SELECT @@wsrep_node_address || ':' || @@port").Scan(&name), nil)
		return name
	}
	first := node()
	connector.nodes.heard(place.hosts[0], sql.ErrConnDone, time.Now())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	second := node()
	if second == first || node() != second {
		t.Errorf("asked %s, and then %s and another one, want the second node for both", first, second)
	}
	connector.nodes.heard(place.hosts[0], sql.ErrConnDone, time.Now().Add(-asideFor))
	if got := node(); got != first {
		t.Errorf("the first node may serve again: asked %s, want %s", got, first)
	}
}
