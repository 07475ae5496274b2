package catalog

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"time"
)

// nodes are the servers of one cluster, in the order of the catalog's URL. All daemons with that URL write to the first one
// that serves: a Galera cluster of which several nodes are written to lets transactions fail that met none on their own
// node, and MariaDB 10.11 at times stand still. Several goroutines may use it.
type nodes struct {
	addresses []string // host:port

	mu    sync.Mutex
	aside map[string]time.Time // that did not serve, until when they are asked last
}

const (
	// asideFor is how long a node that did not serve is asked after the others.
	asideFor = 30 * time.Second
	// serveWithin bounds what a node costs that takes a connection and then says nothing, as one does whose process is
	// stopped. The last one that is asked has as long as its caller.
	serveWithin = 2 * connectWithin
)

func newNodes(addresses []string) *nodes {
	return &nodes{addresses: addresses, aside: make(map[string]time.Time)}
}

// order is in which order they are asked now. Whether one serves again that did not, one caller finds out, while the others go
// on asking it last.
func (n *nodes) order(now time.Time) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var first, last []string
	for _, address := range n.addresses {
		if now.Before(n.aside[address]) {
			last = append(last, address)
		} else {
			first = append(first, address)
		}
	}
	if len(first) > 0 && !n.aside[first[0]].IsZero() {
		n.aside[first[0]] = now.Add(serveWithin)
	}
	return append(first, last...)
}

// heard notes whether a node served. Who gave up asking says nothing of it.
func (n *nodes) heard(address string, err error, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil:
		delete(n.aside, address)
	case !errors.Is(err, context.Canceled):
		n.aside[address] = now.Add(asideFor)
	}
}

// behind tells that a connection to a node is not to be used again, since one that goes before it serves, or may serve by now: who
// connects next finds out, while the others keep theirs.
func (n *nodes) behind(address string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, first := range n.addresses {
		if first == address {
			return false
		}
		if !now.Before(n.aside[first]) {
			return true
		}
	}
	return false
}

// pooled is what database/sql uses of a connection of MariaDB's driver.
type pooled interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

// nodeConn is a connection to a node, which the pool drops once a node that goes before it serves again: otherwise this daemon would go on to
// write to it, beside those that write to the first one.
type nodeConn struct {
	pooled
	nodes   *nodes
	address string
}

// IsValid implements driver.Validator.
func (c nodeConn) IsValid() bool { return c.pooled.IsValid() && !c.nodes.behind(c.address, time.Now()) }

// ResetSession implements driver.SessionResetter.
func (c nodeConn) ResetSession(ctx context.Context) error {
	if c.nodes.behind(c.address, time.Now()) {
		return driver.ErrBadConn
	}
	return c.pooled.ResetSession(ctx)
}

// to is a connection that goes with the order of the nodes.
func (n *nodes) to(address string, conn driver.Conn) driver.Conn {
	p, ok := conn.(pooled)
	if !ok || len(n.addresses) == 1 {
		return conn
	}
	return nodeConn{pooled: p, nodes: n, address: address}
}

// gaveUp tells that who asked a node has waited for less than a node may take, and has no more time: that says nothing of the
// node either.
func gaveUp(ctx context.Context, waited time.Duration) bool {
	return ctx.Err() != nil && waited < connectWithin
}
