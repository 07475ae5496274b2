package plugin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// replace puts an image in the place of another in one step, as mv does.
func (r *rig) replace(t *testing.T, name string, content []byte) {
	t.Helper()
	path := filepath.Join(r.dir, "images", name)
	if err := errors.Join(os.WriteFile(path+".new", content, 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// list writes the list of digests of one image.
func (r *rig) list(t *testing.T, name string, content []byte) {
	t.Helper()
	r.replace(t, "SHA256SUMS", fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(content), name))
}

func TestAnImageThatWasReplacedWithoutItsListIsNoHit(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	old := r.image(t, "golden.raw", mib)
	r.list(t, "golden.raw", old)
	r.holds(t, r.create(t, "library:golden.raw", "v1", 0), old)
	if a := r.create(t, "library:golden.raw", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("outcome = %s, want a hit", a.Outcome)
	}
	for _, content := range [][]byte{random(mib), {}} {
		r.replace(t, "golden.raw", content)
		_, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:golden.raw", Volume: "v3"})
		if len(content) > 0 && !errors.Is(err, imagesource.ErrDigestMismatch) || err == nil {
			t.Errorf("the list is forgotten: %v, want ErrDigestMismatch", err)
		}
		r.noVolume(t, "v3")
	}
	content := random(mib)
	r.replace(t, "golden.raw", content)
	r.list(t, "golden.raw", content)
	r.holds(t, r.create(t, "library:golden.raw", "v3", 0), content)

	// The list says the old digest again, of an image that is what it was: read once, and known from then on.
	r.replace(t, "golden.raw", old)
	r.list(t, "golden.raw", old)
	for i, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		a := r.create(t, "library:golden.raw", fmt.Sprintf("v%d", 4+i), 0)
		if a.Outcome != want {
			t.Errorf("the former image is back: outcome = %s, want %s", a.Outcome, want)
		}
		r.holds(t, a, old)
	}
}

// folder is a web server's folder of an image and its list.
type folder struct {
	mu            sync.Mutex
	image, listed []byte
}

func (f *folder) set(image, listed []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.image, f.listed = image, listed
}

func (f *folder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	image, listed := f.image, f.listed
	f.mu.Unlock()
	switch r.URL.Path {
	case "/latest.raw":
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(image)))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
	case "/SHA256SUMS":
		_, _ = fmt.Fprintf(w, "%x  latest.raw\n", sha256.Sum256(listed))
	default:
		http.NotFound(w, r)
	}
}

// webRig is a rig with a source "web" on a folder.
func webRig(t *testing.T, f *folder) *rig {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	web, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: server.URL, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(web))
}

func TestAnImageAndItsListThatAreReplacedTogether(t *testing.T) {
	one, two := random(mib), random(mib)
	f := &folder{image: one, listed: one}
	r := webRig(t, f)
	r.holds(t, r.create(t, "web:latest.raw", "v1", 0), one)
	f.set(two, two)
	r.holds(t, r.create(t, "web:latest.raw", "v2", 0), two)
	if a := r.create(t, "web:latest.raw", "v3", 0); a.Outcome != plugin.Hit {
		t.Errorf("outcome = %s, want a hit", a.Outcome)
	}
	f.set(one, two) // a folder that is out of step for good
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "web:latest.raw", Volume: "v4"})
	if !errors.Is(err, imagesource.ErrDigestMismatch) {
		t.Errorf("out of step: %+v, %v, want ErrDigestMismatch", a, err)
	}
	r.noVolume(t, "v4")
}

// lateList is a source whose list is published after its image: what it says at first is old.
type lateList struct {
	*gatedSource
	old   imagesource.Digest
	reads int // so far
}

func (s *lateList) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	i, err := s.gatedSource.Stat(ctx, id)
	i.List = "SHA256SUMS"
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads == 0 {
		i.Digest = s.old
	}
	return i, err
}

func (s *lateList) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	return s.gatedSource.Open(ctx, i)
}

func TestAListThatIsPublishedAfterItsImageBlamesNobody(t *testing.T) {
	content := random(mib)
	s := &lateList{gatedSource: newGatedSource(), old: digestOf([]byte("old"))}
	close(s.gate)
	s.put("a", "1", content)
	s.promise("a", digestOf(content))
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(s))
	r.holds(t, r.create(t, "gated:a", "v1", 0), content)
	if a := r.create(t, "gated:a", "v2", 0); a.Outcome != plugin.Hit || s.opened.Load() != 1 {
		t.Errorf("outcome = %s after %d reads, want a hit after 1", a.Outcome, s.opened.Load())
	}
}

// A template is replaced by mv while four wait for its fill, and while one is made in the background.
func TestAnImageThatIsReplacedWhileItIsRead(t *testing.T) {
	for _, how := range []string{"renamed over", "overwritten", "removed", "linked"} {
		t.Run(how, func(t *testing.T) {
			dir := fstest.Mount(t, fstest.XFS, 512*mib)
			s := newPausing(t, dir)
			r := newRig(t, dir, lru.Bounds{}, withSource(s))
			var err error
			want := r.image(t, "a.raw", 24*mib)
			path := filepath.Join(dir, "images", "a.raw")
			type made struct {
				answer plugin.Answer
				err    error
			}
			answers := make(chan made, 4)
			for i := range 4 {
				go func() {
					a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "paused:a.raw", Volume: backends.VolumeName(fmt.Sprintf("v%d", i))})
					answers <- made{a, err}
				}()
			}
			<-s.reached
			waitFor(t, func() bool { fills := r.Fills(); return len(fills) == 1 && fills[0].Waiters == 4 })
			next := want
			switch how {
			case "renamed over": // the file that is open stays whole
				next = random(24 * mib)
				r.replace(t, "a.raw", next)
			case "overwritten":
				want = random(24 * mib)
				next, err = want, os.WriteFile(path, want, 0o644)
			case "removed":
				err = os.Remove(path)
			case "linked":
				err = errors.Join(os.Link(path, path+".link"), os.Chmod(path, 0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
			close(s.goOn)
			for range 4 {
				m := <-answers
				if m.err != nil {
					t.Fatal(m.err)
				}
				r.holds(t, m.answer, want)
			}
			if how != "removed" {
				r.holds(t, r.create(t, "paused:a.raw", "next", 0), next)
			}
		})
	}
}

// pausing is a directory source whose first stream waits after its first bytes.
type pausing struct {
	*imagesource.Directory
	once    sync.Once
	reached chan struct{}
	goOn    chan struct{}
}

func newPausing(t *testing.T, dir string) *pausing {
	t.Helper()
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "paused", Path: filepath.Join(dir, "images")})
	if err != nil {
		t.Fatal(err)
	}
	return &pausing{Directory: library, reached: make(chan struct{}, 100), goOn: make(chan struct{})}
}

func (*pausing) Name() string { return "paused" }

func (s *pausing) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	r, err := s.Directory.Open(ctx, i)
	if err != nil {
		return nil, err
	}
	return &pausedStream{ReadCloser: r, s: s}, nil
}

type pausedStream struct {
	io.ReadCloser
	s *pausing
}

func (p *pausedStream) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.s.once.Do(func() {
		p.s.reached <- struct{}{}
		<-p.s.goOn
	})
	return n, err
}

func TestAnImageThatIsReplacedWhileItIsCachedInTheBackground(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	s := newPausing(t, dir)
	r := newRig(t, dir, lru.Bounds{}, withSource(s))
	r.image(t, "a.raw", 24*mib)
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "paused:a.raw", Volume: "v", OnMiss: plugin.Background}); err != nil {
		t.Fatal(err)
	}
	<-s.reached
	want := random(24 * mib)
	if err := os.WriteFile(filepath.Join(dir, "images", "a.raw"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	close(s.goOn)
	waitFor(t, func() bool {
		ready, err := r.Entries(t.Context(), plugin.EntryFilter{})
		return err != nil || len(ready) == 1 && ready[0].State == "ready"
	})
	a := r.create(t, "paused:a.raw", "v", 0)
	if a.Outcome != plugin.Hit && a.Outcome != plugin.Joined { // the fill may be about to end
		t.Errorf("outcome = %s, want that nothing is read again", a.Outcome)
	}
	r.holds(t, a, want)
}
