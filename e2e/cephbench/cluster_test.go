//go:build ceph

package cephbench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	ours "github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/e2e/harness"
)

const (
	volumesPool = "volumes"
	imagesPool  = "images"
	user        = "clonecache" // has nothing but `profile rbd` on both pools
)

// clusterDir has ceph.conf, keyrings and sockets of the cluster.
func clusterDir() string { return os.Getenv("CLONECACHE_CEPH_DIR") }

func cluster() *harness.Cluster { return &harness.Cluster{Dir: clusterDir()} }

func conf() string { return cluster().Conf() }

// clusterSettings says on what the figures were taken.
func clusterSettings() string {
	objects := "BlueStore on a sparse file"
	if _, err := os.Stat(filepath.Join(clusterDir(), "fast")); err == nil {
		objects = "FAST=1: objects in memory, a mon that commits every 20 ms; not for figures"
	}
	load, _ := os.ReadFile("/proc/loadavg") // nothing is decided by it
	return fmt.Sprintf("%s\nmon: paxos_propose_interval %s s, paxos_min_wait %s s; mgr: mgr_stats_period %s s; OSD: %s; %d cores, load %.4s",
		cephVersion(), setting("mon", "paxos_propose_interval"), setting("mon", "paxos_min_wait"), setting("mgr", "mgr_stats_period"),
		objects, runtime.NumCPU(), load)
}

func cephVersion() string {
	version, err := exec.Command("ceph", "--version").Output()
	if err != nil {
		return "Ceph"
	}
	return strings.TrimSpace(string(version))
}

// setting asks a daemon of the cluster by its own socket.
func setting(daemon, name string) string {
	text, err := exec.Command("ceph", "daemon", filepath.Join(clusterDir(), "run", daemon+".asok"), "config", "get", name).Output()
	if err != nil {
		return "?"
	}
	_, value, _ := strings.Cut(string(text), ":")
	return strings.Trim(value, " \n\"}")
}

// site is an RBD namespace in both pools, with a connection that bare calls use.
type site struct {
	namespace string
	volumes   *rados.IOContext
	images    *rados.IOContext
}

var sites atomic.Int64

// newSite makes one. It is removed with all that is in it when the benchmark ends, after what was
// opened later has been closed.
func newSite(b *testing.B) *site {
	b.Helper()
	if clusterDir() == "" {
		b.Skip("CLONECACHE_CEPH_DIR names no cluster: `make bench BACKEND=rbd` starts one")
	}
	inMemory(b)
	conn, err := rados.NewConnWithUser(user)
	check(b, err)
	check(b, errors.Join(conn.ReadConfigFile(conf()), conn.SetConfigOption("rbd_cache", "false"), conn.Connect()))
	b.Cleanup(conn.Shutdown)
	s := &site{namespace: fmt.Sprintf("bench-%d-%d", os.Getpid(), sites.Add(1))}
	s.volumes = s.pool(b, conn, volumesPool)
	s.images = s.pool(b, conn, imagesPool)
	return s
}

// inMemory puts temporary files into memory for the benchmark, where it has room: the OSD has the
// disk for itself.
func inMemory(b *testing.B) {
	if os.Getenv("TMPDIR") != "" {
		return
	}
	dir, err := os.MkdirTemp("/dev/shm", "clonecache-cephbench-")
	if err != nil {
		return
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	b.Setenv("TMPDIR", dir)
}

func (s *site) pool(b *testing.B, conn *rados.Conn, name string) *rados.IOContext {
	b.Helper()
	io, err := conn.OpenIOContext(name)
	check(b, err)
	b.Cleanup(io.Destroy)
	check(b, rbd.NamespaceCreate(io, s.namespace))
	io.SetNamespace(s.namespace)
	b.Cleanup(func() { wipe(b, io) })
	return io
}

// wipe removes all objects of a namespace, which takes a tenth of the time of removing its images one by
// one.
func wipe(b *testing.B, io *rados.IOContext) {
	objects := make(chan string)
	var removing sync.WaitGroup
	for range 16 {
		removing.Go(func() {
			for object := range objects {
				if err := io.Delete(object); err != nil && !errors.Is(err, rados.ErrNotFound) {
					b.Errorf("remove object %s: %v", object, err)
				}
			}
		})
	}
	err := io.ListObjects(func(object string) { objects <- object })
	close(objects)
	removing.Wait()
	check(b, err)
}

// config is that of a backend in the site.
func (s *site) config() ours.Config {
	return ours.Config{
		Name: "ceph", Pool: volumesPool, ImageVolumePool: imagesPool, Namespace: s.namespace, Conf: conf(), User: user, Holder: "bench",
	}
}

// qemu is an image's name for QEMU.
func (s *site) qemu(pool, image string) string {
	return fmt.Sprintf("rbd:%s/%s/%s:conf=%s:id=%s", pool, s.namespace, image, conf(), user)
}

// source is the image-volume whose clones are compared.
type source struct {
	image, snapshot string
	bytes           int64
}

// onlySource is the site's only image-volume that is not among others.
func (s *site) onlySource(b *testing.B, others ...source) source {
	b.Helper()
	names, err := rbd.GetImageNames(s.images)
	check(b, err)
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(others, func(o source) bool { return o.image == name })
	})
	if len(names) != 1 {
		b.Fatalf("image-volumes: got %q, want one", names)
	}
	image, err := rbd.OpenImageReadOnly(s.images, names[0], rbd.NoSnapshot)
	check(b, err)
	defer image.Close()
	snapshots, err := image.GetSnapshotNames()
	check(b, err)
	size, err := image.GetSize()
	check(b, err)
	if len(snapshots) != 1 {
		b.Fatalf("snapshots of %s: got %v, want one", names[0], snapshots)
	}
	return source{image: names[0], snapshot: snapshots[0].Name, bytes: int64(size)}
}

// features are those of volumes, here and there.
const features = rbd.FeatureLayering | rbd.FeatureExclusiveLock | rbd.FeatureObjectMap | rbd.FeatureFastDiff | rbd.FeatureDeepFlatten

// options are those of a new image; the caller destroys them.
func options(b *testing.B, features uint64) *rbd.ImageOptions {
	o := rbd.NewRbdImageOptions()
	check(b, o.SetUint64(rbd.ImageOptionFeatures, features))
	return o
}

// bareClone makes a volume by the calls of librbd alone: a clone, and where its size differs also open
// and resize.
func (s *site) bareClone(from source, name string, size int64) error {
	o := rbd.NewRbdImageOptions()
	defer o.Destroy()
	if err := errors.Join(o.SetUint64(rbd.ImageOptionFeatures, features), o.SetUint64(rbd.ImageOptionCloneFormat, 2)); err != nil {
		return err
	}
	if err := rbd.CloneImage(s.images, from.image, from.snapshot, s.volumes, name, o); err != nil || size == from.bytes {
		return err
	}
	image, err := rbd.OpenImage(s.volumes, name, rbd.NoSnapshot)
	if err != nil {
		return err
	}
	return errors.Join(image.Resize(uint64(size)), image.Close())
}
