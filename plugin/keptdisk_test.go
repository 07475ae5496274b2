package plugin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// received is a download as it comes.
type received struct {
	bytes.Buffer
	at   int
	come chan struct{} // closed once so many bytes have come
}

func newReceived(at int) *received { return &received{at: at, come: make(chan struct{})} }

func (r *received) Write(p []byte) (int, error) {
	before := r.Len()
	n, err := r.Buffer.Write(p)
	if before < r.at && r.Len() >= r.at {
		close(r.come)
	}
	return n, err
}

// download reads an image's bytes into to.
func (r *rig) download(ctx context.Context, image string, size int, to io.Writer) error {
	k, err := plugin.BytesOf(r.Plugin).Open(ctx, plugin.BytesRequest{Image: image, Cache: "files"})
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err = k.Copy(ctx, to, 0, int64(size)); k.Unproven() {
		return fmt.Errorf("unproven: %v", err) // nothing is to be added to it as it is
	}
	return err
}

// wantDownload checks what somebody gets who downloads an image now.
func (r *rig) wantDownload(t *testing.T, image string, content []byte) {
	t.Helper()
	got := newReceived(len(content))
	if err := r.download(t.Context(), image, len(content), got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Fatalf("download %s: got %d bytes, %v, want the image's %d", image, got.Len(), err, len(content))
	}
}

// diskSize ends within a sector, and lets a reader that reads ahead stop within it.
const diskSize = 4*mib + 777

// openSource is a source whose streams do not stop, with one image.
func openSource() (*gatedSource, []byte) {
	source, content := newGatedSource(), random(diskSize)
	close(source.gate)
	clear(content[mib : mib+300<<10])
	source.put("disk", "1", content)
	source.promise("disk", digestOf(content))
	return source, content
}

// What a volume was made from is downloaded, by whomever, without another download from the source; it is kept then.
func TestBytesComeFromAnImageVolume(t *testing.T) {
	for name, change := range map[string]struct {
		on   func(*testing.T) string
		with []option
	}{
		"of a backend":      {func(t *testing.T) string { return t.TempDir() }, []option{withBackend(newCapable())}},
		"of a file backend": {func(t *testing.T) string { return fstest.Mount(t, fstest.XFS, 512*mib) }, nil},
		"of a file cache":   {func(t *testing.T) string { return t.TempDir() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			source, content := openSource()
			r := newRig(t, change.on(t), lru.Bounds{}, append(change.with, withSource(source))...)
			r.create(t, "gated:disk", "v1", 0)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					got := newReceived(diskSize)
					if err := r.download(t.Context(), "gated:disk", diskSize, got); err != nil || !bytes.Equal(got.Bytes(), content) {
						t.Errorf("got %d bytes, %v", got.Len(), err)
					}
				})
			}
			all.Wait()
			r.wantDownload(t, "gated:disk", content)
			if n := source.opened.Load(); n != 1 {
				t.Errorf("%d downloads, want the volume's", n)
			}
			waitFor(t, func() bool { return len(r.Fills()) == 0 })
			r.wantEntries(t, 2)
			checkClean(t, r)
			rep, err := r.Report(t.Context(), "", time.Time{})
			if err != nil || rep.Total.DownloadedBytes != diskSize {
				t.Errorf("the report tells of %d bytes that were downloaded, %v, want %d", rep.Total.DownloadedBytes, err, diskSize)
			}
		})
	}
}

// watched is a backend whose image-volumes are read as a test wants it.
type watched struct {
	*capable
	reads atomic.Int64 // image-volumes that were opened
	// read, unless nil, is called after so many bytes were read at off.
	read  atomic.Pointer[func(p []byte, off int64) error]
	opens chan struct{} // unless nil, they are opened once it is closed
}

func (b *watched) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	c, err := b.capable.OpenImageVolume(ctx, id)
	b.reads.Add(1)
	if b.opens != nil {
		<-b.opens
	}
	return watchedContent{c, b}, err
}

type watchedContent struct {
	backends.ImageVolumeContent
	b *watched
}

func (c watchedContent) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ImageVolumeContent.ReadAt(p, off)
	if read := c.b.read.Load(); read != nil && err == nil {
		if err := (*read)(p[:n], off); err != nil {
			return 0, err
		}
	}
	return n, err
}

// stopsIn stops reading behind the middle of the disk, until it is let go on, and then does what is wanted at off.
func (b *watched) stopsIn(goOn <-chan struct{}, do func(p []byte, off int64) error) {
	read := func(p []byte, off int64) error {
		if off >= diskSize/2 {
			<-goOn
		}
		return do(p, off)
	}
	b.read.Store(&read)
}

// flips changes a byte of what is read.
func flips(at int64) func(p []byte, off int64) error {
	return func(p []byte, off int64) error {
		if off <= at && at < off+int64(len(p)) {
			p[at-off] ^= 1
		}
		return nil
	}
}

// What cannot be read of an image-volume, or is not the image's, comes from the source: who has a part of it by then, and that is the
// image's, goes on behind it; who has wrong bytes is broken off, and gets the image the next time.
func TestADamagedImageVolumeWhileItIsDownloaded(t *testing.T) {
	for _, tt := range []struct {
		name        string
		do          func(p []byte, off int64) error
		brokenOff   bool
		quarantined bool
	}{
		{"behind what was given", flips(diskSize - 10), false, true},
		{"in what was given", flips(1000), true, true},
		{"that is not read", func(_ []byte, off int64) error {
			if off >= diskSize/2 {
				return syscall.EIO
			}
			return nil
		}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source, content := openSource()
			backend := &watched{capable: newCapable()}
			r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
			volume := r.create(t, "gated:disk", "v1", 0)
			goOn := make(chan struct{})
			backend.stopsIn(goOn, tt.do)
			got, ended := newReceived(mib), make(chan error, 1)
			go func() { ended <- r.download(t.Context(), "gated:disk", diskSize, got) }()
			<-got.come
			close(goOn)
			err := <-ended
			switch {
			case tt.brokenOff && (err == nil || errors.Is(err, plugin.ErrPart) || got.Len() >= diskSize):
				t.Errorf("got %d bytes, %v, want it broken off", got.Len(), err)
			case !tt.brokenOff && (err != nil || !bytes.Equal(got.Bytes(), content)):
				t.Errorf("got %d bytes, %v, want the image", got.Len(), err)
			}
			waitFor(t, func() bool { return len(r.Fills()) == 0 })
			before := source.opened.Load()
			r.wantDownload(t, "gated:disk", content)
			if more := source.opened.Load() - before; before != 2 || more > 0 && !tt.brokenOff || more > 1 {
				t.Errorf("%d downloads, want the volume's and one more; the next one had %d", before, more)
			}
			if tt.quarantined {
				waitFor(t, func() bool {
					e, err := r.Entry(t.Context(), volume.EntryID)
					return err == nil && e.QuarantinedAt != nil
				})
				r.wantQuarantine(t, volume.EntryID, "v1")
			} else if e, err := r.Entry(t.Context(), volume.EntryID); err != nil || e.QuarantinedAt != nil {
				t.Errorf("entry: %+v, %v, want it left to the scrub", e, err)
			}
		})
	}
}

// Where a store hangs, who downloads waits for it a while, and gets the image from its source; nobody waits for it again as long as it hangs.
func TestAnImageVolumeThatHangs(t *testing.T) {
	for _, name := range []string{"as it is opened", "as it is read"} {
		t.Run(name, func(t *testing.T) {
			source, content := openSource()
			backend := &watched{capable: newCapable()}
			r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
			plugin.BePatient(r.Plugin, 100*time.Millisecond)
			r.create(t, "gated:disk", "v1", 0)
			back := make(chan struct{})
			defer close(back)
			if name == "as it is opened" {
				backend.opens = back
			} else {
				backend.stopsIn(back, flips(-1))
			}
			for more := range int64(2) {
				r.wantDownload(t, "gated:disk", content)
				if n, opened := source.opened.Load(), backend.reads.Load(); n != 2+more || opened != 1 && backend.opens != nil {
					t.Errorf("%d downloads, want the volume's and %d more; opened %d times", n, 1+more, opened)
				}
				waitFor(t, func() bool { return len(r.keptImages(t)) == 1 })
				kept, err := r.Entries(t.Context(), plugin.EntryFilter{Backend: "files", State: "ready"})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := r.DeleteEntry(t.Context(), kept[0].ID, true); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// What is damaged, and cannot be had from the source either, is broken off without its end.
func TestADamagedImageVolumeOfWhichTheSourceHasNoMore(t *testing.T) {
	source, _ := openSource()
	backend := &watched{capable: newCapable()}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
	r.create(t, "gated:disk", "v1", 0)
	goOn := make(chan struct{})
	backend.stopsIn(goOn, flips(1000))
	got, ended := newReceived(mib), make(chan error, 1)
	go func() { ended <- r.download(t.Context(), "gated:disk", diskSize, got) }()
	<-got.come
	source.mu.Lock()
	source.bytes["disk"] = random(diskSize)
	source.mu.Unlock()
	close(goOn)
	if err := <-ended; err == nil || errors.Is(err, plugin.ErrPart) || got.Len() >= diskSize {
		t.Errorf("got %d bytes, %v, want it broken off, and nothing added", got.Len(), err)
	}
}

// What is evicted, or put into quarantine although it is right, while it is downloaded is read to its end.
func TestAnImageVolumeThatGoesWhileItIsDownloaded(t *testing.T) {
	for name, goes := range map[string]func(*testing.T, *rig, string){
		"evicted": func(t *testing.T, r *rig, id string) {
			if _, err := r.DeleteEntry(t.Context(), id, true); err != nil {
				t.Error(err)
			}
		},
		"in quarantine": func(t *testing.T, r *rig, id string) {
			if err := plugin.Quarantine(t.Context(), r.Plugin, id); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, content := openSource()
			backend := &watched{capable: newCapable()}
			r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
			volume := r.create(t, "gated:disk", "v1", 0)
			goOn := make(chan struct{})
			backend.stopsIn(goOn, flips(-1))
			got, ended := newReceived(mib), make(chan error, 1)
			go func() { ended <- r.download(t.Context(), "gated:disk", diskSize, got) }()
			<-got.come
			goes(t, r, volume.EntryID)
			close(goOn)
			if err := <-ended; err != nil || !bytes.Equal(got.Bytes(), content) {
				t.Errorf("got %d bytes, %v, want the image", got.Len(), err)
			}
			if n := source.opened.Load(); n != 1 {
				t.Errorf("%d downloads, want the volume's", n)
			}
		})
	}
}

// Only the image's own bytes, as its source describes them now, come from an image-volume.
func TestBytesThatNoImageVolumeHas(t *testing.T) {
	source, content := openSource()
	backend := &watched{capable: newCapable()}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
	want := func(why, image string, content []byte, more int64) {
		t.Helper()
		before := source.opened.Load()
		r.wantDownload(t, image, content)
		if n := source.opened.Load() - before; n != more {
			t.Errorf("%s: %d downloads, want %d", why, n, more)
		}
	}
	volume := r.create(t, "gated:disk", "v1", 0)

	source.put("claims", "1", random(diskSize))
	source.promise("claims", digestOf(content))
	got := newReceived(diskSize)
	if err := r.download(t.Context(), "gated:claims", diskSize, got); bytes.Equal(got.Bytes(), content) {
		t.Errorf("who claims a digest has got the bytes of the image that has it, %v", err)
	}

	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(content); err != nil || z.Close() != nil {
		t.Fatal("not packed")
	}
	source.put("packed", "1", packed.Bytes())
	source.promise("packed", digestOf(packed.Bytes()))
	source.mu.Lock()
	image := source.images["packed"]
	image.ClaimedBy = imagesource.ByName
	source.images["packed"] = image
	source.mu.Unlock()
	r.create(t, "gated:packed", "v2", 0)
	want("what is compressed", "gated:packed", packed.Bytes(), 1)

	if _, err := r.Controls().Scrub(t.Context(), plugin.ScrubRequest{Share: 100}); err != nil {
		t.Fatal(err)
	}
	bad := flips(5)
	backend.read.Store(&bad)
	if _, err := r.Controls().Scrub(t.Context(), plugin.ScrubRequest{Share: 100}); err != nil {
		t.Fatal(err)
	}
	backend.read.Store(nil)
	r.wantQuarantine(t, volume.EntryID, "v1")
	reads := backend.reads.Load()
	want("what is in quarantine", "gated:disk", content, 1)
	if backend.reads.Load() != reads {
		t.Error("what is in quarantine was read")
	}

	changed := random(diskSize)
	r.create(t, "gated:disk", "v3", 0)
	source.put("disk", "2", changed)
	source.promise("disk", digestOf(changed))
	want("what has changed", "gated:disk", changed, 1)
}

// A backend that is taken out of the configuration leaves once nobody reads an image there any more.
func TestABackendStaysWhileAnImageIsReadThere(t *testing.T) {
	source, content := openSource()
	backend := &watched{capable: newCapable()}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(memory()))
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{another(backend)}})
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "other", Image: "gated:disk", Volume: "v1"}); err != nil {
		t.Fatal(err)
	}
	goOn := make(chan struct{})
	backend.stopsIn(goOn, flips(-1))
	got, ended := newReceived(mib), make(chan error, 1)
	go func() { ended <- r.download(t.Context(), "gated:disk", diskSize, got) }()
	<-got.come
	r.set(t, plugin.Limits{Gone: []backends.Name{"other"}})
	if left := plugin.Leaving(r.Plugin); len(left) != 1 {
		t.Errorf("leaving: %v, want the one that is read", left)
	}
	close(goOn)
	if err := <-ended; err != nil || !bytes.Equal(got.Bytes(), content) || source.opened.Load() != 1 {
		t.Errorf("got %d bytes, %v, after %d downloads", got.Len(), err, source.opened.Load())
	}
	waitFor(t, func() bool { return len(plugin.Leaving(r.Plugin)) == 0 })
}

// What another host has filled on a backend of both is found, though nobody has asked for it here; not once it is in quarantine, which this
// one has not heard of.
func TestBytesComeFromWhatAnotherHostHasFilled(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	close(c.source.gate)
	one, two := c.hosts[0], c.hosts[1]
	for n, image := range []string{"right", "damaged"} {
		c.source.hold(image, diskSize)
		volume := one.create(t, "gated:"+image, image, 0)
		if image == "damaged" {
			if err := plugin.Quarantine(t.Context(), one.Plugin, volume.EntryID); err != nil {
				t.Fatal(err)
			}
		}
		two.wantDownload(t, "gated:"+image, c.source.bytes[image])
		if want := int64(1 + 2*n); c.source.opened.Load() != want {
			t.Errorf("%s: %d downloads, want %d", image, c.source.opened.Load(), want)
		}
	}
}
