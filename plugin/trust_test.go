package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// result is what a request came to.
type result struct {
	a   plugin.Answer
	err error
}

func (r *rig) start(q plugin.Request) <-chan result {
	done := make(chan result, 1)
	go func() {
		a, err := r.CreateVolume(context.Background(), q)
		done <- result{a, err}
	}()
	return done
}

// One that brings the digest of somebody else's image starts a fill; who has that image is not bound to it.
func TestAWrongDigestFailsNobodyElse(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()))
	good := random(mib)
	source.put("good", "1", good)
	source.promise("good", digestOf(good))
	source.put("evil", "1", random(mib))
	attacker := r.start(plugin.Request{Image: "gated:evil", Volume: "attacker", Digest: digestOf(good)})
	<-source.half
	victim := r.start(plugin.Request{Image: "gated:good", Volume: "victim"})
	other := r.start(plugin.Request{Image: "gated:evil", Volume: "other"}) // the same image, of which it expects nothing
	waitFor(t, func() bool { return len(r.Fills()) == 3 })
	close(source.gate)
	if a := <-attacker; !errors.Is(a.err, imagesource.ErrDigestMismatch) {
		t.Errorf("attacker: %+v", a)
	}
	for name, done := range map[string]<-chan result{"victim": victim, "other": other} {
		if b := <-done; b.err != nil || b.a.Outcome != plugin.Filled {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

// closeGate lets a stream's Close wait: between a refusal and the end of its flight.
type closeGate struct {
	*gatedSource
	closing, release chan struct{}
}

func (s *closeGate) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	r, err := s.gatedSource.Open(ctx, i)
	return &closing{r, s}, err
}

type closing struct {
	io.ReadCloser
	s *closeGate
}

func (c *closing) Close() error {
	select {
	case c.s.closing <- struct{}{}:
	default:
	}
	<-c.s.release
	return c.ReadCloser.Close()
}

// Requests for other sizes join a fill that has just been refused as too large for the small volume that began it.
func TestASmallVolumeFailsNobodyElse(t *testing.T) {
	source := &closeGate{newGatedSource(), make(chan struct{}, 1), make(chan struct{})}
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()))
	source.put("disk", "1", random(4*mib))
	ask := func(volume string, size int64) <-chan result {
		return r.start(plugin.Request{Image: "gated:disk", Volume: backends.VolumeName(volume), SizeBytes: size})
	}
	first := ask("small", mib)
	<-source.closing
	large, small := ask("large", 8*mib), ask("small2", 2*mib)
	waitFor(t, func() bool { f := r.Fills(); return len(f) == 1 && f[0].Waiters == 3 })
	close(source.release)
	for name, done := range map[string]<-chan result{"small": first, "small2": small} {
		if b := <-done; !errors.Is(b.err, plugin.ErrTooSmall) {
			t.Errorf("%s: %+v", name, b)
		}
	}
	if b := <-large; b.err != nil {
		t.Errorf("large, which fits: %v", b.err)
	}
}

// A web server that gives neither ETag nor Last-Modified: each look at the image is told apart, and read again; the
// entry is known by no more for that. A digest that the request brings tells what is wanted.
func TestAnImageWithoutValidatorsLeavesNoTrail(t *testing.T) {
	content := random(64 << 10)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/disk.raw" {
			http.NotFound(w, q)
			return
		}
		_, _ = w.Write(content)
	}))
	defer web.Close()
	source, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()))
	for i := range 20 {
		r.create(t, "web:disk.raw", fmt.Sprintf("v%d", i), 0)
	}
	r.wantEntries(t, 1)
	for i, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "web:disk.raw", Volume: backends.VolumeName(fmt.Sprint("d", i)), Digest: digestOf(content)})
		if err != nil || a.Outcome != want {
			t.Errorf("with its digest: got %+v, %v, want %s", a, err, want)
		}
	}
	r.reopen(t, func() {
		if keys := r.keysInCatalog(t); len(keys) > 2 {
			t.Errorf("one image, one entry: known by %v", keys)
		}
	})
}

// keysInCatalog are the keys of ready entries of a closed plugin.
func (r *rig) keysInCatalog(t *testing.T) map[catalog.Key][]catalog.EntryID {
	t.Helper()
	c, err := catalog.Open(t.Context(), catalog.Config{Access: catalog.Access{URL: catalog.InDir(filepath.Join(r.dir, "state"))}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	keys, err := c.Aliases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// hostile is a qcow2 image with a backing file.
func hostile() []byte {
	return append([]byte("QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x0b"), make([]byte, mib)...)
}

// An image that was refused is refused again from memory, in the same words, until it changes; its row goes.
func TestARefusedImageIsNotReadAgain(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	var later atomic.Int64 // than it is; duties look at the time too
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	source.put("bad", "1", hostile())
	source.declare("bad", "qcow2")
	ask := func(want int64) *diskimage.Refusal {
		t.Helper()
		_, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:bad", Volume: "v"})
		var refusal *diskimage.Refusal
		if !errors.As(err, &refusal) || source.opened.Load() != want {
			t.Fatalf("got %v after %d downloads, want a refusal after %d", err, source.opened.Load(), want)
		}
		return refusal
	}
	first := ask(1)
	if again := ask(1); *again != *first || again.Rule == "" || again.Remedy == "" {
		t.Errorf("again: got %+v, want %+v", again, first)
	}
	e := r.wantEntries(t, 1)[0]
	if _, err := r.DeleteEntry(t.Context(), e.ID, false); err != nil {
		t.Fatal(err)
	}
	ask(2) // an admin wants it looked at again
	source.put("bad", "2", hostile())
	source.declare("bad", "qcow2")
	ask(3)
	r.wantEntries(t, 2)
	later.Store(int64(25 * time.Hour))
	r.Tidy(t.Context())
	r.wantEntries(t, 0)
}

// outdatedRig has image x in the cache, as older rules let it through.
func outdatedRig(t *testing.T, format string, content, decoded []byte) (*rig, *gatedSource) {
	t.Helper()
	memory := newCapable()
	d := backends.Description{
		EntryID: "entry-old", Attempt: 1, Content: backends.Content{Digest: digestOf(content).String(), DiskFormat: format, SourceBytes: int64(len(content)), VirtualBytes: int64(len(decoded)), InspectorVersion: diskimage.InspectorVersion - 1},
		ContentKey: words.ContentKey(digestOf(content).String(), format), ImageIDs: []string{"gated:x"},
		Form: backends.Decoded,
	}
	st, err := memory.Stage(t.Context(), backends.StageSpec{ID: "cc-entry-old-1", VirtualBytes: int64(len(decoded)), Description: d})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteAt(decoded, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	source := newGatedSource()
	close(source.gate)
	source.put("x", "1", content)
	source.declare("x", format)
	source.promise("x", digestOf(content))
	return newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory), withSource(source)), source
}

// What older rules let through is inspected by those of now before it serves: where it lies, if its bytes are there.
func TestOlderRulesServeNobody(t *testing.T) {
	raw := random(mib)
	looksHostile := hostile()
	for _, c := range []struct {
		name, format string
		content      []byte
		want         plugin.Outcome // "": refused
		opened       int64
	}{
		{"raw", "raw", raw, plugin.Hit, 0},
		{"what is not raw any more", "raw", looksHostile, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, source := outdatedRig(t, c.format, c.content, c.content)
			a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:x", Volume: "v"})
			if a.Outcome != c.want || (err == nil) != (c.want != "") || source.opened.Load() != c.opened {
				t.Errorf("got %+v, %v, %d downloads; want %q after %d", a, err, source.opened.Load(), c.want, c.opened)
			}
			if c.want == "" && !errors.Is(err, diskimage.ErrRefused) {
				t.Errorf("got %v, want it refused", err)
			}
			checkClean(t, r)
		})
	}
}

// qcow2Of is content as a compressed qcow2 image.
func qcow2Of(t *testing.T, content []byte) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.qcow2")
	writeQCOW2(t, file, content)
	image, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Of a format that is decoded only the disk is there: the image is read again, and the pin goes with it.
func TestADecodedEntryOfOlderRulesIsReplaced(t *testing.T) {
	content := qcow2Of(t, random(mib))
	r, source := outdatedRig(t, "qcow2", content, random(mib))
	if _, err := r.SetPinned(t.Context(), "entry-old", true); err != nil {
		t.Fatal(err)
	}
	for i, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		if a := r.create(t, "gated:x", fmt.Sprint("v", i), 0); a.Outcome != want || source.opened.Load() != 1 {
			t.Errorf("got %+v after %d downloads, want %s", a, source.opened.Load(), want)
		}
	}
	if e := r.wantEntries(t, 1)[0]; e.InspectorVersion != diskimage.InspectorVersion || !e.Pinned || e.ID == "entry-old" {
		t.Errorf("entry: %+v, want a new one that is pinned", e)
	}
}

// Revalidate looks at the bytes on request.
func TestRevalidate(t *testing.T) {
	r, source := outdatedRig(t, "raw", random(mib), make([]byte, mib)) // its content is lost
	source.put("good", "1", random(mib))
	r.create(t, "gated:good", "v", 0)
	for _, e := range r.wantEntries(t, 2) {
		got, err := r.Revalidate(t.Context(), e.ID)
		if want := e.ID != "entry-old"; err != nil || got.Valid != want || (got.Detail == "") != want {
			t.Errorf("%s: got %+v, %v, want valid %t", e.ID, got, err, want)
		}
	}
	r.wantEntries(t, 1)
	if _, err := r.Revalidate(t.Context(), "entry-old"); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("one that is gone: got %v", err)
	}
}
