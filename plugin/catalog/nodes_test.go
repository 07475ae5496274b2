package catalog

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestTheFirstNodeThatServesIsTaken(t *testing.T) {
	const one, two, three = "a:3306", "b:3306", "c:3306"
	n := newNodes([]string{one, two, three})
	at := time.Now()
	want := func(after time.Duration, what string, order ...string) {
		t.Helper()
		at = at.Add(after)
		if got := n.order(at); !slices.Equal(got, order) {
			t.Errorf("%s: asked in the order %v, want %v", what, got, order)
		}
	}
	want(0, "nothing known", one, two, three)
	n.heard(one, context.Canceled, at)
	want(0, "the caller went away", one, two, three)
	n.heard(one, errors.New("connection refused"), at)
	n.heard(two, nil, at)
	want(0, "the first one refuses", two, three, one)
	n.heard(two, context.DeadlineExceeded, at)
	want(0, "two do not serve", three, one, two)
	want(asideFor, "half a minute later", one, two, three)
	want(0, "one caller finds out", two, three, one)
	want(0, "and one of the second one", three, one, two)
	want(serveWithin, "neither of which came back", one, two, three)
	n.heard(one, errors.New("connection refused"), at)
	n.heard(one, nil, at)
	want(0, "it serves again", one, two, three)
	want(0, "for all", one, two, three)
}

// settled is a connection of which nothing is wrong.
type settled struct{ pooled }

func (settled) IsValid() bool                      { return true }
func (settled) ResetSession(context.Context) error { return nil }

// Connections to another node are dropped once the first one may serve again; while somebody finds out whether it does, they are used.
func TestConnectionsFollowTheFirstNode(t *testing.T) {
	n := newNodes([]string{"a:3306", "b:3306"})
	first, second := n.to("a:3306", settled{}).(nodeConn), n.to("b:3306", settled{}).(nodeConn)
	at := time.Now()
	want := func(what string, one, two bool) {
		t.Helper()
		for conn, want := range map[nodeConn]bool{first: one, second: two} {
			if conn.IsValid() != want || (conn.ResetSession(t.Context()) == nil) != want {
				t.Errorf("%s: the connection to %s is used: %v, want %v", what, conn.address, !want, want)
			}
		}
	}
	want("the first one serves", true, false)
	n.heard("a:3306", errors.New("connection refused"), at)
	want("it does not", true, true)
	n.heard("a:3306", errors.New("connection refused"), at.Add(-asideFor))
	want("it may again", true, false)
	n.order(at)
	want("somebody finds out", true, true)
	n.heard("a:3306", nil, at)
	want("it serves", true, false)
}

// A node is not left for another one since somebody asked who had hardly any time, as a scrape has: of a cluster that is
// slow for a moment, some daemons would write to one node and some to another.
func TestWhoHasLittleTimeSaysNothingOfANode(t *testing.T) {
	slow, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	m := newMariaDBConnector(Place{hosts: []string{slow.Addr().String(), "127.0.0.1:1"}}, login{made: new(atomic.Int64)})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("connect: %v, want that the time was over", err)
	}
	if got := m.nodes.order(time.Now()); !slices.Equal(got, m.place.hosts) {
		t.Errorf("asked in the order %v, want %v", got, m.place.hosts)
	}
	if gaveUp(ctx, connectWithin) || gaveUp(t.Context(), 0) {
		t.Error("a node that had its time is not left")
	}
}
