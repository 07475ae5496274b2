//go:build ceph

package rbd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// cloner is what TestMain does in a process that is there to be killed.
const cloner = "CLONECACHE_TEST_CLONER"

// killed is a cloner's orders.
type killed struct {
	Conf, Keyring, Namespace string
	Image                    backends.ImageVolumeID
	Round                    int
	Workers                  int
	Bytes                    int64
	Adopt                    backends.VolumeName // fill this instead
	Watch                    []string            // watch volumes of these RBD IDs instead
	WatchImages              []string            // and image-volumes of these
}

// cloneUntilKilled clones with several workers, and says before each clone that it begins ("+name") and
// afterwards that it is done ("=name").
func cloneUntilKilled(orders string) {
	var k killed
	if err := json.Unmarshal([]byte(orders), &k); err != nil {
		fmt.Println("!", err)
		return
	}
	b, err := open(context.Background(), k.config())
	if err != nil {
		fmt.Println("!", err)
		return
	}
	var mu sync.Mutex
	say := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what)
	}
	say("ready")
	if k.Adopt != "" {
		say("! " + fillForEver(b, backends.StageSpec{ID: k.Image, VirtualBytes: k.Bytes, Adopt: k.Adopt}).Error())
		return
	}
	if len(k.Watch) > 0 {
		var both sync.WaitGroup
		both.Go(func() { watchAll(b.sessions.current.volumes, k.Watch) })
		both.Go(func() { watchAll(b.sessions.current.images, k.WatchImages) })
		both.Wait()
		return
	}
	var running sync.WaitGroup
	for worker := range k.Workers {
		running.Go(func() {
			for n := 0; ; n++ {
				name := fmt.Sprintf("v-%d-%d-%d", k.Round, worker, n)
				say("+" + name)
				if _, err := b.Clone(context.Background(), k.Image, k.spec(name)); err != nil {
					say("! " + err.Error())
					return
				}
				say("=" + name)
			}
		})
	}
	running.Wait()
}

// watchAll begins and ends to watch headers, many at once.
func watchAll(io *rados.IOContext, rbdIDs []string) {
	var running sync.WaitGroup
	for _, id := range rbdIDs {
		running.Go(func() {
			for {
				w, err := io.Watch(headerObject + id)
				if err == nil {
					err = w.Delete()
				}
				if err != nil {
					fmt.Println("!", err)
					return
				}
			}
		})
	}
	running.Wait()
}

// fillForEver stages an image-volume and writes to it again and again.
func fillForEver(b *Backend, spec backends.StageSpec) error {
	st, err := b.Stage(context.Background(), spec)
	for off := int64(0); err == nil; off = (off + piece) % spec.VirtualBytes {
		_, err = st.WriteAt(make([]byte, piece), off)
	}
	return err
}

func (k killed) config() Config {
	return Config{
		Name: "ceph", Pool: "volumes", ImageVolumePool: "images", Namespace: k.Namespace,
		Conf: k.Conf, User: "clonecache", Keyring: k.Keyring, Holder: "this-host",
	}
}

func (k killed) spec(name string) backends.VolumeSpec {
	return backends.VolumeSpec{
		Name: backends.VolumeName(name), SizeBytes: k.Bytes, Token: "token-" + name,
		Origin: backends.Origin{EntryID: "entry", ContentKey: "sha256:aa/raw", ImageID: "library:image", Store: "ceph", ImageVolume: k.Image},
	}
}

// killACloner runs a cloner, kills it some time after it is ready, and tells what it had begun and done.
func killACloner(t *testing.T, k killed, after time.Duration) (begun, done []string) {
	t.Helper()
	orders, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), cloner+"="+string(orders))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "ready":
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		case line[0] == '+':
			begun = append(begun, line[1:])
		case line[0] == '=':
			done = append(done, line[1:])
		default:
			t.Errorf("cloner: %s", line)
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	return begun, done
}

// TestKilledInBurstsOfClones: after a kill -9 and Settle there is each volume whole, or not at all; the
// image-volume knows all of its clones, and the pool holds nothing else.
func TestKilledInBurstsOfClones(t *testing.T) {
	c := config(t)
	b := openBackend(t, c)
	const image = 8 << 20
	commitImage(t, b, "e-1", image)
	kills := 12
	var left int
	for round := range kills {
		k := killed{Conf: c.Conf, Keyring: c.Keyring, Namespace: c.Namespace, Image: "e-1", Round: round, Workers: 8, Bytes: image << (round % 2)}
		begun, done := killACloner(t, k, time.Duration(100+rand.IntN(300))*time.Millisecond)
		before := imagesOf(t, b)
		for _, name := range begun {
			settled := settleSoon(t, b, k.spec(name))
			if slices.Contains(done, name) && settled != backends.Whole {
				t.Errorf("%s was done, and is %v", name, settled)
			}
			if settled == backends.Removed {
				left++
				t.Logf("round %d: %s was %v (in the pool: %t)", round, name, settled, slices.Contains(before, name))
			}
			if settled == backends.Whole {
				if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: backends.VolumeName(name)}); err != nil {
					t.Errorf("delete %s: %v", name, err)
				}
			}
		}
		if rest := imagesOf(t, b); len(rest) > 0 {
			t.Errorf("round %d: images are left: %q", round, rest)
		}
		if trash, err := rbd.GetTrashList(b.strangers()); err != nil || len(trash) > 0 {
			t.Errorf("round %d: in the trash: %+v, %v", round, trash, err)
		}
	}
	t.Logf("%d half made clones were found after %d kills", left, kills)
	if r, err := b.Retire(t.Context(), "e-1"); err != nil || !r.Gone {
		t.Errorf("retire: got %+v, %v, want it gone", r, err)
	}
}

// settleSoon settles until the cluster has noticed that the killed client is gone (30 s by default).
func settleSoon(t *testing.T, b *tested, spec backends.VolumeSpec) backends.Settled {
	t.Helper()
	const patience = 3 * time.Minute
	var settled backends.Settled
	var err error
	for began := time.Now(); time.Since(began) < patience; {
		if settled, err = b.Settle(t.Context(), spec); err == nil {
			return settled
		}
		if !errors.Is(err, backends.ErrInUse) && !errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("settle %s: got error %v, want none, %v or %v", spec.Name, err, backends.ErrInUse, backends.ErrUnavailable)
		}
	}
	t.Fatalf("settle %s: %v", spec.Name, err)
	return 0
}

// imagesOf lists the images of the volumes' pool, without image-volumes.
func imagesOf(t *testing.T, b *tested) []string {
	t.Helper()
	names, err := rbd.GetImageNames(b.strangers())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, prefix) })
}

// commitImage makes a committed image-volume with 1 MiB of data.
func commitImage(t testing.TB, b *tested, id backends.ImageVolumeID, size int64) {
	t.Helper()
	commitSpec(t, b, backends.StageSpec{ID: id, VirtualBytes: size})
}

// mebibyte is 1 MiB of data, without a byte of zero.
func mebibyte() []byte {
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i>>8) | 1
	}
	return data
}

func commitSpec(t testing.TB, b *tested, spec backends.StageSpec) {
	t.Helper()
	st, err := b.Stage(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteAt(mebibyte(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), backends.Description{EntryID: "entry", Content: backends.Content{Digest: "sha256:aa"}}); err != nil {
		t.Fatal(err)
	}
}
