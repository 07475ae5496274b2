//go:build ceph

package cephproof

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"
	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/e2e/powerloss"
	"github.com/clonecache/clonecache/plugin/api"
)

// The host of the daemon dies with its power, and with what it had in memory; the cluster stays. The state directory comes
// back as its disk had it, or as an older copy, or damaged. Each volume that was answered stays with what its
// owner wrote, whoever has it open; what is kept is told of; and the rest ends as after a kill.
func TestTheHostLosesItsPowerAndTheClusterStays(t *testing.T) {
	t.Parallel()
	if !powerloss.Apart(t, "CEPH_DIR="+cluster.Dir, "CEPH_PORT="+strconv.Itoa(cluster.Port)) {
		return
	}
	library := shelf.Make(t)
	hosts := []*lostHost{newLostHost(t, library, nil)}
	for i := range harness.StateLosses {
		hosts = append(hosts, newLostHost(t, library, &harness.StateLosses[i]))
	}
	for n, h := range hosts {
		h.work(t, n)
		h.fail(t, uint64(n))
	}
	if err := powerloss.NewBoot(); err != nil {
		t.Fatal(err)
	}
	for n, h := range hosts {
		h.comeBack(t, uint64(n))
		t.Run(h.name(), h.verify)
		h.end(t)
	}
}

// lostHost is a daemon whose state directory lies on a disk that loses its power.
type lostHost struct {
	*site
	*harness.Daemon
	burst harness.Burst
	loss  *harness.StateLoss // nil: what the disk had comes back
	older string

	disk   *powerloss.Disk
	replay *powerloss.Replay
	cut    powerloss.Cut

	written  map[string]bool // volumes that have ownersBytes
	open     *rbd.Image      // a volume that its owner has open
	snapshot string          // a volume of which its owner has a snapshot
}

const ownersBytes = "the owner's bytes"

func (h *lostHost) name() string {
	if h.loss == nil {
		return "as the disk had it"
	}
	return h.loss.Name
}

func newLostHost(t *testing.T, library string, loss *harness.StateLoss) *lostHost {
	t.Helper()
	s := newSite(t, cluster, harness.Config{Images: library, MaxCount: 2})
	h := &lostHost{site: s, Daemon: harness.New(t, s.Config), loss: loss, written: map[string]bool{}, older: filepath.Join(t.TempDir(), "older")}
	h.disk = powerloss.Record(t, fstest.Ext4, 64*mib)
	h.bind(t, h.disk.Dir)
	return h
}

// bind lets the state directory lie on a disk.
func (h *lostHost) bind(t *testing.T, dir string) {
	t.Helper()
	on := filepath.Join(dir, "state")
	err := errors.Join(os.MkdirAll(on, 0o750), os.MkdirAll(h.State, 0o750))
	if err == nil {
		err = unix.Mount(on, h.State, "", unix.MS_BIND, "")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// work fills, copies the state directory, and clones in a burst until the host dies. Then owners use what they
// got.
func (h *lostHost) work(t *testing.T, n int) {
	t.Helper()
	h.Start(t)
	h.Create(t, harness.Volume{Image: "library:one.raw", Name: "first", Size: volumeSize})
	h.Create(t, harness.Volume{Image: "library:two.qcow2", Name: "deleted", Size: volumeSize})
	h.Stop(t)
	if err := harness.CopyState(h.older, h.State); err != nil {
		t.Fatal(err)
	}
	h.Start(t)
	if err := h.Client(t).DeleteVolume(t.Context(), "", "deleted"); err != nil {
		t.Fatal(err)
	}
	h.Create(t, harness.Volume{Image: "library:three.raw", Name: "third", Size: volumeSize})
	h.burst = harness.Burst{Daemon: h.Daemon, Requesters: requesters, Request: api.CreateRequest{
		Image: "library:one.raw", SizeBytes: volumeSize, Deadline: time.Now().Add(time.Hour),
	}}
	end := func() {}
	if n%2 == 1 {
		end = h.flush()
	}
	h.burst.LoadAndKill(t, fmt.Sprintf("v-%d", n), shortestLoad+time.Duration(n)*(longestLoad-shortestLoad)/10)
	end()
	for n, name := range h.burst.Answered() {
		h.use(t, n, name)
	}
}

// flush brings to the disk what was written up to each moment, as the kernel does every few seconds, until end.
func (h *lostHost) flush() (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if f, err := os.Open(h.State); err == nil {
				_ = unix.Syncfs(int(f.Fd())) // a help to the test, not a promise
				_ = f.Close()
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// use is what the owner of a volume does with it: nothing, write, keep it open, or make a snapshot.
func (h *lostHost) use(t *testing.T, n int, name string) {
	t.Helper()
	if n%4 == 0 {
		return
	}
	image, err := rbd.OpenImage(h.volumes.IOContext, name, rbd.NoSnapshot)
	if err != nil {
		t.Fatalf("open volume %s: %v", name, err)
	}
	switch {
	case n%4 == 1 && h.open == nil:
		h.open = image
		return
	case n%4 == 2 && h.snapshot == "":
		h.snapshot = name
		_, err = image.CreateSnapshot("owner's")
	default:
		h.written[name] = true
		_, err = image.WriteAt([]byte(ownersBytes), 0)
	}
	if err := errors.Join(err, image.Close()); err != nil {
		t.Fatalf("use volume %s: %v", name, err)
	}
}

// dead marks the moment in which the power fails.
const dead = "dead"

// fail cuts the power at the moment at which the daemon was killed. Of what its disk had not flushed then, some is
// there.
func (h *lostHost) fail(t *testing.T, seed uint64) {
	t.Helper()
	err := errors.Join(h.disk.Mark([]byte(dead)), unix.Unmount(h.State, 0))
	if err != nil {
		t.Fatal(err)
	}
	r := h.disk.End(t)
	h.cut, err = r.At([]byte(dead), seed)
	if err != nil {
		t.Fatal(err)
	}
	h.replay = r.Replay(t)
	forgotten, err := filepath.Glob(fmt.Sprintf("/dev/shm/clonecache-%d-*", os.Geteuid())) // as the host's memory is
	for _, f := range forgotten {
		err = errors.Join(err, os.Remove(f))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// comeBack boots the disk, changes the state directory, and starts the daemon.
func (h *lostHost) comeBack(t *testing.T, seed uint64) {
	t.Helper()
	dir, err := h.replay.Boot(h.cut)
	if err != nil {
		t.Fatal(err)
	}
	h.bind(t, dir)
	if h.loss != nil {
		if err := h.loss.Do(h.State, h.older, rand.New(rand.NewPCG(seed, 1))); err != nil {
			t.Fatal(err)
		}
	}
	h.Start(t)
}

func (h *lostHost) end(t *testing.T) {
	t.Helper()
	h.Stop(t)
	if err := errors.Join(unix.Unmount(h.State, 0), h.replay.Halt()); err != nil {
		t.Error(err)
	}
}

func (h *lostHost) verify(t *testing.T) {
	client := h.Client(t)
	for range 2 { // in use, and when it no longer is
		if _, err := client.Clean(t.Context()); err != nil {
			t.Error(err)
		}
		h.answeredThere(t)
		h.release(t)
	}
	h.burst.Request.Deadline = time.Now().Add(time.Hour)
	came := repeatUnanswered(t, h.site, &h.burst)
	h.settled(t, h.Daemon)
	h.answeredThere(t)
	volumes := h.Volumes(t)
	if err := harness.Told(volumes, h.Check(t).Problems, h.Events(t)); err != nil {
		t.Error(err)
	}
	kept := 0
	for _, v := range volumes {
		if v.Kept == "" {
			continue
		}
		kept++
		if err := client.KeepVolume(t.Context(), "", v.Volume); err != nil {
			t.Error(err)
		}
	}
	h.NothingKept(t)
	if got, want := len(h.names(t)), 2+len(h.burst.Asked()); got != want {
		t.Errorf("volumes in the end: got %d, want %d", got, want)
	}
	t.Logf("%s: %d volumes were answered, %d were kept, %d were asked for again: %v",
		h.cut, len(h.burst.Answered()), kept, len(h.burst.Asked())-len(h.burst.Answered()), came)
}

// answeredThere wants each volume that was answered to be as its owner left it.
func (h *lostHost) answeredThere(t *testing.T) {
	t.Helper()
	disk := filepath.Join(h.Images, "one.raw.disk")
	for _, name := range h.burst.Answered() {
		if !h.written[name] {
			h.wholeVolume(t, harness.Volume{Name: name, Size: volumeSize}, disk)
			continue
		}
		image, err := rbd.OpenImageReadOnly(h.volumes.IOContext, name, rbd.NoSnapshot)
		if err != nil {
			t.Errorf("volume %s, which its owner has written to: %v", name, err)
			continue
		}
		got := make([]byte, len(ownersBytes))
		_, err = image.ReadAt(got, 0)
		if err := errors.Join(err, image.Close()); err != nil || !bytes.Equal(got, []byte(ownersBytes)) {
			t.Errorf("volume %s begins with %q (%v), want %q", name, got, err, ownersBytes)
		}
	}
}

// release ends what owners do with their volumes, which stay.
func (h *lostHost) release(t *testing.T) {
	t.Helper()
	if h.open != nil {
		if err := h.open.Close(); err != nil {
			t.Error(err)
		}
		h.open = nil
	}
	if h.snapshot == "" {
		return
	}
	image, err := rbd.OpenImage(h.volumes.IOContext, h.snapshot, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(image.GetSnapshot("owner's").Remove(), image.Close()); err != nil {
		t.Error(err)
	}
	h.snapshot = ""
}
