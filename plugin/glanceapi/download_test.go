package glanceapi_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// keeping lets the file cache keep what is downloaded.
func keeping(c *glanceapi.Config, _ *plugin.Config) { c.FileCache = "files" }

// download reads an image's data as somebody.
func (f *front) download(t testing.TB, who, id string) (*http.Response, []byte) {
	t.Helper()
	answer, body := f.send(t, who, "GET", "/v2/images/"+id+"/file")
	return answer, []byte(body)
}

// keep downloads an image, and waits until its data is kept: the caller has it a moment before.
func (f *front) keep(t *testing.T, who, id string) {
	t.Helper()
	answer, body := f.download(t, who, id)
	f.wantImage(t, answer, body, id)
	f.kept(t, id)
}

// kept waits until one entry has the image's data, and no download of it is under way.
func (f *front) kept(t *testing.T, id string) {
	t.Helper()
	until(t, "its data is kept", func() bool {
		all, err := f.cache.Entries(t.Context(), plugin.EntryFilter{Backend: "files", State: "all", ImageID: "glance:" + id})
		return err == nil && len(all) == 1 && all[0].State == "ready"
	})
}

// wantImage checks that an answer is the image as Glance gives it.
func (f *front) wantImage(t testing.TB, answer *http.Response, body []byte, id string) {
	t.Helper()
	data := f.glance.images[id].data
	sum := md5.Sum(data)
	if answer.StatusCode != 200 || !bytes.Equal(body, data) {
		t.Errorf("got %d and %d bytes, want the image's %d", answer.StatusCode, len(body), len(data))
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Md5": hex.EncodeToString(sum[:]), "Content-Length": fmt.Sprint(len(data)), "Accept-Ranges": "", "Etag": "",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// wantEntries checks how many images the file cache keeps as they are.
func (f *front) wantEntries(t *testing.T, want int) []plugin.EntryView {
	t.Helper()
	all, err := f.cache.Entries(t.Context(), plugin.EntryFilter{Backend: "files", State: "all"})
	must(t, err)
	if len(all) != want {
		t.Errorf("got %d entries, want %d: %+v", len(all), want, all)
	}
	return all
}

// Who asks waits for one answer of Glance, not for two: whether they may have the data is asked while the image is described.
func TestGlanceIsAskedBothAtOnce(t *testing.T) {
	f := newFront(t, keeping)
	f.keep(t, "demo", plainImage)
	f.glance.set(func() { f.glance.meet = make(chan struct{}) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", f.URL+"/v2/images/"+plainImage+"/file", http.NoBody)
	must(t, err)
	r.Header.Set("X-Auth-Token", "demo")
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	f.wantImage(t, answer, body, plainImage)
}

func TestTheSecondDownloadIsTheCaches(t *testing.T) {
	f := newFront(t, keeping)
	for n := range 3 {
		answer, body := f.download(t, "demo", plainImage)
		f.wantImage(t, answer, body, plainImage)
		f.kept(t, plainImage)
		if f.glance.downloads() != 1 {
			t.Errorf("download %d: %d downloads from Glance, want 1", n+1, f.glance.downloads())
		}
	}
	e := f.wantEntries(t, 1)[0]
	if e.Form != string(backends.Source) || e.State != "ready" || e.SourceBytes != 300<<10 || e.DiskFormat != "raw" {
		t.Errorf("kept as %+v", e)
	}
	until(t, "both hits are listed", func() bool { // the caller has the last byte a moment before it is counted
		cached, _, raw := f.listed(t)
		return len(cached) == 1 && strings.Contains(raw, `"hits":2`)
	})
	if r, err := f.cache.Check(t.Context(), plugin.CheckOptions{Deep: true}); err != nil || len(r.Problems) > 0 {
		t.Errorf("check --deep: %+v, %v", r.Problems, err)
	}
}

// Each of many gets the bytes as they come, from one download.
func TestManyAtOnceAreOneDownload(t *testing.T) {
	f := newFront(t, keeping)
	gate := make(chan struct{})
	f.glance.gates[plainImage] = gate
	data := f.glance.images[plainImage].data
	var begun, ended sync.WaitGroup
	for range 20 {
		begun.Add(1)
		ended.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), "GET", f.URL+"/v2/images/"+plainImage+"/file", http.NoBody)
			if err != nil {
				t.Error(err)
				begun.Done()
				return
			}
			r.Header.Set("X-Auth-Token", "demo")
			answer, err := f.Client().Do(r)
			if err != nil {
				t.Error(err)
				begun.Done()
				return
			}
			defer answer.Body.Close()
			first := make([]byte, 4<<10)
			if _, err = io.ReadFull(answer.Body, first); err != nil || !bytes.Equal(first, data[:len(first)]) {
				t.Errorf("the first bytes: %v", err)
			}
			begun.Done() // Glance has given no more than a part
			rest, err := io.ReadAll(answer.Body)
			if err != nil || !bytes.Equal(append(first, rest...), data) {
				t.Errorf("got %d bytes, %v", len(first)+len(rest), err)
			}
		})
	}
	begun.Wait()
	close(gate)
	ended.Wait()
	if f.glance.downloads() != 1 {
		t.Errorf("%d downloads from Glance, want 1", f.glance.downloads())
	}
}

func TestWhoMayNotDownloadGetsGlancesAnswer(t *testing.T) {
	f := newFront(t, keeping)
	f.keep(t, "demo", privateImage)
	f.keep(t, "admin", plainImage)
	f.wantEntries(t, 2)
	for _, tt := range []struct {
		name, who, image string
		status           int
	}{
		{"another tenant's", "other", privateImage, 404},
		{"an expired token", "expired", privateImage, 401},
		{"no token", "", privateImage, 401},
		{"who may see it and not download it", "reader", plainImage, 403},
		{"no data yet", "demo", queuedImage, 204},
		{"deactivated", "demo", deactivatedImage, 403},
		{"an administrator reads a deactivated one", "admin", deactivatedImage, 200},
		{"none", "demo", absentImage, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, body := f.download(t, tt.who, tt.image)
			data := f.glance.images[tt.image].data
			if answer.StatusCode != tt.status || tt.status != 200 && len(data) > 0 && bytes.Contains(body, data[:16]) {
				t.Errorf("got %d: %.100q", answer.StatusCode, body)
			}
		})
	}
	f.glance.set(func() { i := f.glance.images[plainImage]; i.status = "deactivated"; f.glance.images[plainImage] = i })
	if answer, _ := f.download(t, "demo", plainImage); answer.StatusCode != 403 {
		t.Errorf("deactivated after it was kept: %d", answer.StatusCode)
	}
	f.glance.set(func() { delete(f.glance.images, privateImage) })
	if answer, _ := f.download(t, "demo", privateImage); answer.StatusCode != 404 {
		t.Errorf("deleted after it was kept: %d", answer.StatusCode)
	}
}

// A store that has no ranges refuses the question for one byte once it knows that the caller may download.
func TestAStoreWithoutRanges(t *testing.T) {
	f := newFront(t, keeping)
	f.glance.noRanges = true
	for range 2 {
		f.keep(t, "demo", plainImage)
	}
	if answer, _ := f.download(t, "reader", plainImage); answer.StatusCode != 403 {
		t.Errorf("who may not download it: %d", answer.StatusCode)
	}
	if f.glance.downloads() != 1 {
		t.Errorf("%d downloads from Glance, want 1", f.glance.downloads())
	}
}

func TestParts(t *testing.T) {
	f := newFront(t, keeping)
	data := f.glance.images[plainImage].data
	size := len(data)
	for _, kept := range []bool{false, true} {
		if kept {
			f.keep(t, "demo", plainImage)
		}
		before := f.glance.downloads()
		for _, tt := range []struct {
			header string
			status int
			first  int
			last   int
		}{
			{"bytes=0-9", 206, 0, 9}, {"bytes=100-", 206, 100, size - 1}, {"bytes=-10", 206, size - 10, size - 1},
			{fmt.Sprintf("bytes=%d-%d", size-5, size+100), 206, size - 5, size - 1}, {fmt.Sprintf("bytes=%d-", size), 416, 0, -1},
		} {
			answer, body := f.send(t, "demo", "GET", "/v2/images/"+plainImage+"/file", header("Range: "+tt.header))
			if answer.StatusCode != tt.status {
				t.Errorf("kept %v, %s: %d, want %d", kept, tt.header, answer.StatusCode, tt.status)
			}
			if want := fmt.Sprintf("bytes %d-%d/%d", tt.first, tt.last, size); tt.status == 206 && (answer.Header.Get("Content-Range") != want || body != string(data[tt.first:tt.last+1])) {
				t.Errorf("kept %v, %s: %s and %d bytes, want %s", kept, tt.header, answer.Header.Get("Content-Range"), len(body), want)
			}
		}
		if read := f.glance.downloads() - before; kept && read > 1 { // what lies outside is Glance's to refuse
			t.Errorf("%d parts were read from Glance of what is kept", read)
		}
		if !kept {
			f.wantEntries(t, 0)
		}
	}
}

func TestABrokenDownloadGoesOn(t *testing.T) {
	f := newFront(t, keeping)
	f.glance.breakAt = []int{70 << 10, 10 << 10}
	f.keep(t, "demo", plainImage)
	f.wantEntries(t, 1)
}

// What is not what its digest says goes to who asked, as from Glance, and is not kept.
func TestAWrongDigestIsNotKept(t *testing.T) {
	f := newFront(t, keeping)
	bad := bytes.Clone(f.glance.images[plainImage].data)
	bad[1000] ^= 1
	f.glance.set(func() { i := f.glance.images[plainImage]; i.sent = bad; f.glance.images[plainImage] = i })
	_, body := f.download(t, "demo", plainImage)
	if !bytes.Equal(body, bad) {
		t.Errorf("got %d bytes, want those that Glance gives", len(body))
	}
	until(t, "nothing is kept", func() bool {
		all, err := f.cache.Entries(t.Context(), plugin.EntryFilter{Backend: "files"})
		return err == nil && len(all) == 0
	})
}

func TestAnImageOverTheBoundEvictsNothing(t *testing.T) {
	f := newFront(t, keeping, func(_ *glanceapi.Config, c *plugin.Config) { c.FileCaches[0].Bounds = lru.Bounds{MaxBytes: 200 << 10} })
	f.keep(t, "demo", otherImage)
	answer, body := f.download(t, "demo", plainImage)
	f.wantImage(t, answer, body, plainImage)
	if e := f.wantEntries(t, 1)[0]; e.ImageIDs[0] != "glance:"+otherImage {
		t.Errorf("kept: %v", e.ImageIDs)
	}
	if answer, _ := f.send(t, "admin", "PUT", "/v2/cache/"+plainImage); answer.StatusCode != 409 && answer.StatusCode != 202 {
		t.Errorf("PUT of it: %d", answer.StatusCode)
	}
}

func TestWhatIsKeptIsServedWithoutAnotherRead(t *testing.T) {
	f := newFront(t, keeping)
	f.keep(t, "demo", plainImage)
	answer, err := f.cache.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "glance:" + plainImage, Volume: "v1"})
	must(t, err)
	got, err := os.ReadFile(answer.Path)
	must(t, err)
	if data := f.glance.images[plainImage].data; !bytes.Equal(got[:len(data)], data) || answer.DownloadedBytes != 0 || answer.Outcome != plugin.Copied {
		t.Errorf("the volume differs, or was downloaded again: %+v", answer)
	}
	if f.glance.downloads() != 1 {
		t.Errorf("%d downloads from Glance, want 1", f.glance.downloads())
	}
}

// Bytes that were damaged on the disk are noticed by the volume's fill, go, and are read from Glance.
func TestDamagedBytesMakeNoVolume(t *testing.T) {
	f := newFront(t, keeping)
	f.keep(t, "demo", plainImage)
	e := f.wantEntries(t, 1)[0]
	file := f.dir + "/files/image-volumes/" + e.ImageVolume
	must(t, os.Chmod(file, 0o600))
	h, err := os.OpenFile(file, os.O_WRONLY, 0)
	must(t, err)
	_, err = h.WriteAt([]byte("damaged"), 5000)
	must(t, err)
	must(t, h.Close())
	answer, err := f.cache.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "glance:" + plainImage, Volume: "v1"})
	must(t, err)
	got, err := os.ReadFile(answer.Path)
	must(t, err)
	if data := f.glance.images[plainImage].data; !bytes.Equal(got[:len(data)], data) || f.glance.downloads() != 2 {
		t.Errorf("the volume differs, or %d downloads are not 2", f.glance.downloads())
	}
}

// unreadable is a file cache whose disk cannot read one of its images any more.
type unreadable struct {
	plugin.FileCache
	id backends.ImageVolumeID
}

func (u *unreadable) OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	f, iv, err := u.FileCache.OpenImage(ctx, id)
	if err != nil || id != u.id {
		return f, iv, err
	}
	defer f.Close()
	f, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0) // each read of it fails
	return f, iv, err
}

// Where the disk fails under what is kept, a volume is made of what Glance gives.
func TestBytesThatCannotBeReadKeepNobodyFromGlance(t *testing.T) {
	cache := &unreadable{}
	f := newFront(t, keeping, func(_ *glanceapi.Config, c *plugin.Config) {
		cache.FileCache = c.FileCaches[0].Cache
		c.FileCaches[0].Cache = cache
	})
	f.keep(t, "demo", plainImage)
	cache.id = backends.ImageVolumeID(f.wantEntries(t, 1)[0].ImageVolume)
	answer, err := f.cache.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "glance:" + plainImage, Volume: "v1"})
	must(t, err)
	got, err := os.ReadFile(answer.Path)
	must(t, err)
	if data := f.glance.images[plainImage].data; !bytes.Equal(got[:len(data)], data) || f.glance.downloads() != 2 {
		t.Errorf("the volume differs, or %d downloads are not 2", f.glance.downloads())
	}
}

func TestBytesAreFetchedAhead(t *testing.T) {
	f := newFront(t, keeping, func(c *glanceapi.Config, _ *plugin.Config) { c.Backends = []backends.Name{"files"} })
	gate := make(chan struct{})
	f.glance.gates[privateImage] = gate
	if answer, body := f.send(t, "admin", "PUT", "/v2/cache/"+privateImage); answer.StatusCode != 202 {
		t.Fatalf("PUT: %d %s", answer.StatusCode, body)
	}
	if _, queued, raw := f.listed(t); len(queued) != 1 || queued[0] != privateImage {
		t.Errorf("while it is fetched: %s", raw)
	}
	close(gate)
	until(t, "it is kept", func() bool { cached, queued, _ := f.listed(t); return len(cached) == 1 && len(queued) == 0 })
	answer, body := f.download(t, "demo", privateImage)
	f.wantImage(t, answer, body, privateImage)
	if f.glance.downloads() != 1 {
		t.Errorf("%d downloads from Glance, want 1", f.glance.downloads())
	}
}

// What was kept is there after a restart, and what was being fetched is not.
func TestARestart(t *testing.T) {
	f := newFront(t, keeping)
	f.keep(t, "demo", plainImage)
	f.glance.gates[otherImage] = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	image, err := plugin.BytesOf(f.cache).Open(ctx, plugin.BytesRequest{Image: "glance:" + otherImage, Cache: "files", Token: "demo"})
	must(t, err)
	cancel()
	image.Close()
	f.reopen(t)
	f.wantEntries(t, 1)
	before := f.glance.downloads()
	answer, body := f.download(t, "demo", plainImage)
	f.wantImage(t, answer, body, plainImage)
	if f.glance.downloads() != before {
		t.Error("what was kept was downloaded again")
	}
}

func TestWithoutGlanceThereIsNoData(t *testing.T) {
	f := newFront(t, keeping)
	f.keep(t, "demo", plainImage)
	f.glance.Close()
	if answer, body := f.download(t, "demo", plainImage); answer.StatusCode != 503 || len(body) > 1000 {
		t.Errorf("got %d, %d bytes", answer.StatusCode, len(body))
	}
}
