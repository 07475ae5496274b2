//go:build ceph

package rbd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// What a stage has written to an image that another host has removed, as one does that was stopped meanwhile, is gone with
// the stage: no object stays that belongs to no image.
func TestWhatIsWrittenToARemovedImageIsRemovedToo(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *tested, backends.ImageVolumeStage){
		"discard": func(t *testing.T, _ *tested, st backends.ImageVolumeStage) {
			if err := st.Discard(t.Context()); err != nil && !errors.Is(err, backends.ErrUnavailable) {
				t.Error(err)
			}
		},
		"a commit that fails, and discard": func(t *testing.T, _ *tested, st backends.ImageVolumeStage) {
			if _, err := st.Commit(t.Context(), backends.Description{}); err == nil {
				t.Error("an image-volume that is gone was committed")
			}
			if err := st.Discard(t.Context()); err != nil && !errors.Is(err, backends.ErrUnavailable) {
				t.Error(err)
			}
		},
		"retire": func(t *testing.T, b *tested, _ backends.ImageVolumeStage) {
			if _, err := b.Retire(t.Context(), "iv"); err != nil && !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrUnavailable) {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			stopped, other := openBackend(t, c), openBackend(t, withHolder(c, "another-host"))
			st, err := stopped.Stage(t.Context(), backends.StageSpec{ID: "iv", VirtualBytes: 4*piece + 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, number := range []int64{0, 1, 3} {
				writePiece(t, st, number)
			}
			waitForWrites(t, st.(*imageStage))
			images := admin(t, "images", c.Namespace)
			removeHeader(t, images, st.(*imageStage).RBDID)
			if _, err := other.Retire(t.Context(), "iv"); err != nil {
				t.Fatal(err)
			}
			if late := dataObjects(t, images); len(late) != 3 {
				t.Fatalf("objects of the image that is gone: %q, want 3, as if they had been written late", late)
			}
			end(t, stopped, st) // it may have been shut out, as who makes an image without a header, and connects anew
			noDataSoon(t, images)
		})
	}
}

// An image-volume is discarded while librbd is still writing to its image, which is gone: what is written until the last call has
// come back is removed afterwards.
func TestWhatIsWrittenAfterTheEndIsRemovedToo(t *testing.T) {
	c := config(t)
	stopped, other := openBackend(t, c), openBackend(t, withHolder(c, "another-host"))
	began, err := stopped.Stage(t.Context(), backends.StageSpec{ID: "iv", VirtualBytes: 4 * piece})
	if err != nil {
		t.Fatal(err)
	}
	st := began.(*imageStage)
	writePiece(t, st, 0)
	waitForWrites(t, st)
	stopped.config.Timeout = 500 * time.Millisecond // what comes now waits in vain
	images := admin(t, "images", c.Namespace)
	writing, goOn, written := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		if err := st.handle.use(func(*rbd.Image) error {
			close(writing)
			<-goOn
			return images.WriteFull(st.data.objectsOf(0)[0], []byte("late"))
		}); err != nil {
			t.Error(err)
		}
	}()
	<-writing
	removeHeader(t, images, st.RBDID)
	if _, err := other.Retire(t.Context(), "iv"); err != nil {
		t.Fatal(err)
	}
	if err := st.Discard(t.Context()); err != nil && !errors.Is(err, backends.ErrUnavailable) {
		t.Error(err)
	}
	close(goOn)
	<-written
	noDataSoon(t, images)
}

// What is written while somebody else removes the image is removed once that has ended.
func TestWhatIsWrittenInARemovalIsRemovedToo(t *testing.T) {
	c := config(t)
	stopped, other := openBackend(t, c), openBackend(t, withHolder(c, "another-host"))
	began, err := stopped.Stage(t.Context(), backends.StageSpec{ID: "iv", VirtualBytes: 4 * piece})
	if err != nil {
		t.Fatal(err)
	}
	st := began.(*imageStage)
	writePiece(t, st, 0)
	waitForWrites(t, st)
	ends := func(want bool) {
		t.Helper()
		if err := stopped.try(t.Context(), func(w *work) error {
			if done, err := st.removeLate(w); err != nil || done != want {
				t.Errorf("all removed: %t, %v, want %t", done, err, want)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	ends(false) // what is being written may come after somebody has removed it
	if r, err := other.Retire(t.Context(), "iv"); err != nil || r.Gone {
		t.Fatalf("retired: %+v, %v, want it in the trash while it is open", r, err)
	}
	st.handle.close()
	ends(false)
	images := admin(t, "images", c.Namespace)
	if r, err := other.Retire(t.Context(), "iv"); err != nil || !r.Gone {
		t.Fatalf("retired: %+v, %v, want it gone", r, err)
	}
	if err := images.WriteFull(st.data.objectsOf(0)[0], []byte("late")); err != nil {
		t.Fatal(err)
	}
	ends(true)
	if left := dataObjects(t, images); len(left) > 0 {
		t.Errorf("objects that belong to no image: %q", left)
	}
}

// A host is stopped while librbd makes the image of its stage, until another host has removed what there was of it. It cannot go
// on with the rest, which nothing would list.
func TestAnImageThatWasRemovedWhileItWasMadeIsNotMadeOn(t *testing.T) {
	for _, state := range halfMade[:2] {
		t.Run(state.name, func(t *testing.T) {
			c := config(t)
			stopped, other := openBackend(t, c), openBackend(t, withHolder(c, "another-host"))
			io := stopped.ownImages()
			state.make(t, io, imageName("iv"))
			rbdID, err := anyID(io, imageName("iv"))
			if err == nil {
				err = writeIndex(io, imageKeys+"iv", indexed{At: time.Now()})
			}
			if err != nil {
				t.Fatal(err)
			}
			if r, err := other.Retire(t.Context(), "iv"); err != nil || !r.Gone {
				t.Fatalf("retired: %+v, %v, want it gone", r, err)
			}
			for _, object := range []string{idObject + imageName("iv"), headerObject + rbdID} {
				if err := io.WriteFull(object, []byte("late")); !is(err, syscall.ESHUTDOWN) {
					t.Errorf("make %s: %v, want that its client is shut out", object, err)
				}
			}
			if _, err := stopped.Stage(t.Context(), backends.StageSpec{ID: "next", VirtualBytes: piece}); err != nil && !errors.Is(err, backends.ErrUnavailable) {
				t.Errorf("the next stage: %v", err)
			}
			st, err := stopped.Stage(t.Context(), backends.StageSpec{ID: "anew", VirtualBytes: piece})
			if err != nil {
				t.Fatalf("a stage once it has connected anew: %v", err)
			}
			if err := st.Discard(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A host dies while it makes the image of its stage, and the one that removes it dies once that is in the trash: it is found
// there, though the first one had noted no RBD ID.
func TestAHalfMadeImageInTheTrashIsFound(t *testing.T) {
	for _, state := range halfMade[:2] {
		t.Run(state.name, func(t *testing.T) {
			b := openBackend(t, config(t))
			io := b.ownImages()
			state.make(t, io, imageName("iv"))
			if err := writeIndex(io, imageKeys+"iv", indexed{At: time.Now()}); err != nil {
				t.Fatal(err)
			}
			err := b.try(t.Context(), func(w *work) error {
				l, err := b.find(w.session, "iv")
				if err != nil {
					return err
				}
				return intoTrash(w, l)
			})
			if err != nil {
				t.Fatal(err)
			}
			if r, err := b.Retire(t.Context(), "iv"); err != nil || !r.Gone {
				t.Errorf("retired: %+v, %v, want it gone", r, err)
			}
			if all, err := rbd.GetTrashList(io); err != nil || len(all) > 0 {
				t.Errorf("the trash has %+v, %v", all, err)
			}
		})
	}
}

func withHolder(c Config, holder string) Config {
	c.Holder = holder
	return c
}

// writePiece writes one whole object, which goes to the OSDs then.
func writePiece(t *testing.T, st backends.ImageVolumeStage, number int64) {
	t.Helper()
	if _, err := st.WriteAt(bytes.Repeat([]byte{byte(number + 1)}, piece), number*piece); err != nil {
		t.Fatal(err)
	}
}

// waitForWrites waits until what was written is at the OSDs.
func waitForWrites(t *testing.T, st *imageStage) {
	t.Helper()
	if err := st.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// removeHeader has nobody watch an image, as after osd_client_watch_timeout, and lets its removal find no data to remove.
func removeHeader(t *testing.T, images *rados.IOContext, rbdID string) {
	t.Helper()
	if err := images.Delete(headerObject + rbdID); err != nil {
		t.Fatal(err)
	}
}

// writer is what TestMain does in a process that is there to be stopped.
const writer = "CLONECACHE_TEST_WRITER"

// writeUntilRefused stages an image-volume and writes a piece of it every now and then, until it is refused or whole; then it
// discards it. It says once that it has begun, and then what it met.
func writeUntilRefused(orders string) {
	var k killed
	ctx := context.Background()
	err := json.Unmarshal([]byte(orders), &k)
	var b *Backend
	if err == nil {
		b, err = open(ctx, k.config())
	}
	var st backends.ImageVolumeStage
	if err == nil {
		st, err = b.Stage(ctx, backends.StageSpec{ID: k.Image, VirtualBytes: k.Bytes})
	}
	if err != nil {
		fmt.Println("!", err)
		return
	}
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for at := int64(0); at < k.Bytes && err == nil; at += piece {
		if at == 2*piece {
			fmt.Println("ready")
		}
		<-pace.C
		_, err = st.WriteAt(bytes.Repeat([]byte{1}, piece), at)
	}
	fmt.Println("refused:", err)
	fmt.Println("discarded:", st.Discard(ctx))
}

// A process is stopped while it writes, until its image-volume was removed by another host, and goes on: nothing of what it
// writes before it notices stays.
func TestAWriterThatWasStoppedLeavesNothing(t *testing.T) {
	c := config(t)
	other := openBackend(t, withHolder(c, "another-host"))
	orders, err := json.Marshal(killed{Conf: c.Conf, Keyring: c.Keyring, Namespace: c.Namespace, Image: "iv", Bytes: 40 * piece})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), writer+"="+string(orders)), os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // nobody else ends what is stopped
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	said := bufio.NewScanner(out)
	if !said.Scan() || said.Text() != "ready" {
		t.Fatalf("writer: %q, %v", said.Text(), said.Err())
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	retireAtLast(t, other, "iv")
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var last string
	for said.Scan() {
		last = said.Text()
		t.Log(last)
	}
	if err := cmd.Wait(); err != nil || last != "discarded: <nil>" {
		t.Errorf("writer: %q, %v", last, err)
	}
	if left := dataObjects(t, admin(t, "images", c.Namespace)); len(left) > 0 {
		t.Errorf("objects that belong to no image: %q", left)
	}
}

// retireAtLast retires an image-volume until it is gone: the OSD misses who has it open, and was stopped, after a while.
func retireAtLast(t *testing.T, b *tested, id backends.ImageVolumeID) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < 3*time.Minute; <-tick.C {
		r, err := b.Retire(t.Context(), id)
		if r.Gone || errors.Is(err, backends.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("image-volume %s is not gone after three minutes", id)
}

// noDataSoon waits until no image of a namespace has data objects.
func noDataSoon(t *testing.T, images *rados.IOContext) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var left []string
	for began := time.Now(); time.Since(began) < 2*time.Minute; <-tick.C {
		if left = dataObjects(t, images); len(left) == 0 {
			return
		}
	}
	t.Errorf("objects that belong to no image: %q", left)
}

// dataObjects are the data objects of all images of a namespace.
func dataObjects(t *testing.T, images *rados.IOContext) []string {
	t.Helper()
	var found []string
	if err := images.ListObjects(func(object string) {
		if strings.HasPrefix(object, "rbd_data.") {
			found = append(found, object)
		}
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}
