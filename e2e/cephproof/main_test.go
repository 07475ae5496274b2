//go:build ceph

package cephproof

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/e2e/powerloss"
)

const (
	mib = harness.MiB
	gib = harness.GiB
)

// cluster keeps its objects in memory, and its mon commits quickly. Each test has a namespace of its own.
var cluster = &harness.Cluster{
	Dir: fmt.Sprintf("/tmp/cc-proof-%d", os.Getpid()), Port: harness.FreePorts(ports), Settings: []string{"FAST=1"},
}

// ports is how many a cluster has for itself, with room.
const ports = 40

// atOnce is how many tests run side by side: most of the time, they wait for the OSD to miss a client.
const atOnce = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(powerloss.Within(func() int { return harness.WithCluster(m, cluster) }))
}

// pool is one pool, as somebody sees it who may do everything.
type pool struct {
	*rados.IOContext
	name string
}

// site is an empty namespace of a cluster, and the daemon's configuration for it.
type site struct {
	harness.Config
	conn    *rados.Conn
	volumes pool
	images  pool
}

var namespaces atomic.Int64

// newSite makes a namespace in both pools until the test ends. c is completed; what c.Ceph says is kept.
func newSite(tb testing.TB, on *harness.Cluster, c harness.Config) *site {
	tb.Helper()
	s := &site{Config: c, conn: connect(tb, on)}
	var backend harness.Ceph
	if c.Ceph != nil {
		backend = *c.Ceph
	}
	backend.Cluster = on
	backend.Namespace = fmt.Sprintf("proof-%d-%d", os.Getpid(), namespaces.Add(1))
	s.Ceph = &backend
	s.volumes = s.pool(tb, "volumes")
	s.images = s.pool(tb, "images")
	return s
}

// connect connects to a cluster as client.admin until the test ends.
func connect(tb testing.TB, c *harness.Cluster) *rados.Conn {
	tb.Helper()
	conn, err := rados.NewConnWithUser("admin")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Shutdown)
	if err := errors.Join(conn.ReadConfigFile(c.Conf()), conn.Connect()); err != nil {
		tb.Fatal(err)
	}
	return conn
}

func (s *site) pool(tb testing.TB, name string) pool {
	tb.Helper()
	io, err := s.conn.OpenIOContext(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(io.Destroy)
	if err := rbd.NamespaceCreate(io, s.Ceph.Namespace); err != nil {
		tb.Fatal(err)
	}
	io.SetNamespace(s.Ceph.Namespace)
	return pool{io, name}
}
