//go:build ceph

package rbd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/e2e/harness"
)

// cluster is the one that all tests use, each in a namespace of its own.
var cluster struct {
	dir  string // with ceph.conf and keyrings; empty where there is no cluster
	port int    // the mon's, where the tests have started it
	skip string // why there is none
}

// TestMain starts a cluster in memory whose mon commits quickly, for as long as the tests run.
// CLONECACHE_CEPH_DIR names the directory of one that runs already (see e2e/ceph/cluster.sh).
func TestMain(m *testing.M) {
	flag.Parse()
	if orders := os.Getenv(cloner); orders != "" {
		cloneUntilKilled(orders)
		return
	}
	if orders := os.Getenv(writer); orders != "" {
		writeUntilRefused(orders)
		return
	}
	os.Exit(withCluster(m.Run))
}

func withCluster(run func() int) int {
	if dir := os.Getenv("CLONECACHE_CEPH_DIR"); dir != "" {
		cluster.dir = dir
		return run()
	}
	if cluster.skip = cannotStart(); cluster.skip != "" {
		return run()
	}
	dir, err := os.MkdirTemp(socketRoom(), "ccrbd")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cluster.dir, cluster.port = filepath.Join(dir, "c"), harness.FreePorts(40) // of one cluster, with room
	if err := errors.Join(os.Chmod(dir, 0o755), clusterScript("up")); err != nil {
		_ = clusterScript("wipe")
		fmt.Fprintln(os.Stderr, "start a cluster:", err)
		return 1
	}
	defer func() { _ = clusterScript("wipe") }()
	return run()
}

func cannotStart() string {
	if testing.Short() {
		return "-short: no cluster is started"
	}
	for _, program := range []string{"ceph-mon", "ceph-osd", "ceph-mgr", "ceph"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed (e2e/install.sh ceph installs it)"
		}
	}
	return ""
}

// socketRoom is where a path is short enough for the cluster's unix sockets: TMPDIR, or /tmp where that is
// too deep.
func socketRoom() string {
	const most = 40
	if dir := os.TempDir(); len(dir) <= most {
		return dir
	}
	return "/tmp"
}

// clusterScript runs e2e/ceph/cluster.sh on the tests' own cluster.
func clusterScript(words string) error {
	cmd := exec.Command("../../e2e/ceph/cluster.sh", strings.Fields(words)...)
	cmd.Env = append(os.Environ(), "CEPH_DIR="+cluster.dir, "CEPH_PORT="+strconv.Itoa(cluster.port), "FAST=1")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// config is a fresh namespace's, for the user that has nothing but `profile rbd` on the pools.
func config(tb testing.TB) Config {
	tb.Helper()
	if cluster.dir == "" {
		tb.Skip(cluster.skip)
	}
	return Config{
		Name: "ceph", Pool: "volumes", ImageVolumePool: "images", Namespace: namespace(tb),
		Conf: filepath.Join(cluster.dir, "ceph.conf"), User: "clonecache",
		Keyring: filepath.Join(cluster.dir, "client.clonecache.keyring"), Holder: "this-host",
	}
}

var namespaces atomic.Int64

// namespace makes one in both pools.
func namespace(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), namespaces.Add(1))
	for _, pool := range []string{"volumes", "images"} {
		if err := rbd.NamespaceCreate(admin(tb, pool, ""), name); err != nil {
			tb.Fatal(err)
		}
	}
	return name
}

// admin is a pool as another program sees it that may do everything.
func admin(tb testing.TB, pool, namespace string) *rados.IOContext {
	tb.Helper()
	conn, err := rados.NewConnWithUser("admin")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Shutdown)
	if err := errors.Join(conn.ReadConfigFile(filepath.Join(cluster.dir, "ceph.conf")), conn.Connect()); err != nil {
		tb.Fatal(err)
	}
	io, err := conn.OpenIOContext(pool)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(io.Destroy)
	io.SetNamespace(namespace)
	return io
}

// openBackend opens a backend until the test ends.
func openBackend(tb testing.TB, c Config) *tested {
	tb.Helper()
	b, err := open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &tested{Backend: b, tb: tb}
}

// tested is a backend whose volumes can be read, and beside which a stranger makes images.
type tested struct {
	*Backend
	tb testing.TB

	volumesOnce, imagesOnce sync.Once
	volumes, images         *rados.IOContext
}

var (
	_ backendtest.Reader    = (*tested)(nil)
	_ backendtest.Foreigner = (*tested)(nil)
	_ backendtest.User      = (*tested)(nil)
)

// strangers is the volumes' pool as others see it.
func (b *tested) strangers() *rados.IOContext {
	b.volumesOnce.Do(func() { b.volumes = admin(b.tb, b.config.Pool, b.config.Namespace) })
	return b.volumes
}

func (b *tested) strangersImages() *rados.IOContext {
	b.imagesOnce.Do(func() { b.images = admin(b.tb, b.config.ImageVolumePool, b.config.Namespace) })
	return b.images
}

func (b *tested) OpenVolume(_ context.Context, name backends.VolumeName) (backendtest.VolumeReader, error) {
	return rbd.OpenImageReadOnly(b.strangers(), string(name), rbd.NoSnapshot)
}

func (b *tested) MakeForeign(_ context.Context, name backends.VolumeName, data []byte) error {
	io := b.strangers()
	if err := withOptions(rbd.FeatureLayering, func(o *rbd.ImageOptions) error {
		return rbd.CreateImage(io, string(name), uint64(len(data)), o)
	}); err != nil {
		return err
	}
	image, err := rbd.OpenImage(io, string(name), rbd.NoSnapshot)
	if err != nil {
		return err
	}
	_, err = image.WriteAt(data, 0)
	return errors.Join(err, image.Close())
}

// UseVolume uses a volume as a stranger who found it by its name.
func (b *tested) UseVolume(_ context.Context, name backends.VolumeName, how backendtest.Usage) (end func() error, err error) {
	image, err := rbd.OpenImage(b.strangers(), string(name), rbd.NoSnapshot)
	if err != nil {
		return nil, err
	}
	switch how {
	case backendtest.Opens:
		return image.Close, nil
	case backendtest.Snapshots:
		if _, err := image.CreateSnapshot("theirs"); err != nil {
			return nil, errors.Join(err, image.Close())
		}
		return func() error { return removeSnapshot(b.strangers(), string(name), "theirs") }, image.Close()
	}
	_, err = image.WriteAt([]byte{0}, 5<<20)
	return func() error { return nil }, errors.Join(err, image.Close())
}

func removeSnapshot(io *rados.IOContext, name, snap string) error {
	image, err := rbd.OpenImage(io, name, rbd.NoSnapshot)
	if err != nil {
		return err
	}
	return errors.Join(image.GetSnapshot(snap).Remove(), image.Close())
}
