package plugin_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// countingScratch counts the files that are open.
type countingScratch struct {
	dir  string
	open atomic.Int64
}

type countedFile struct {
	*os.File
	in *countingScratch
}

func (s *countingScratch) File() (diskimage.ScratchFile, error) {
	f, err := os.CreateTemp(s.dir, "")
	s.open.Add(1)
	return countedFile{f, s}, err
}

func (f countedFile) Close() error {
	f.in.open.Add(-1)
	return f.File.Close()
}

// download is a shared download of one image, whose length its source does not tell.
func download(t *testing.T, content []byte) (source imagesource.Source, image imagesource.Image, scratch *countingScratch, end func()) {
	t.Helper()
	from := newGatedSource()
	close(from.gate)
	from.put("disk", "1", content)
	from.claimSize("disk", -1)
	scratch = &countingScratch{dir: filepath.Clean(t.TempDir())}
	source, end = plugin.NewSharedDownload(from, scratch)
	image, err := source.Stat(t.Context(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	return source, image, scratch, end
}

func opened(t *testing.T, from imagesource.Source, image imagesource.Image) io.ReadCloser {
	t.Helper()
	r, err := from.Open(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readsAll(t *testing.T, what string, r io.ReadCloser, begun, want []byte) {
	t.Helper()
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(begun, rest...), want) {
		t.Errorf("%s: %d bytes and %v, want the %d bytes of the image", what, len(begun)+len(rest), err, len(want))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// The queue lets a download go when its rows are deleted; requests may wait for a fill that reads it.
func TestAFillReadsOnFromASharedDownloadThatIsClosed(t *testing.T) {
	content := random(mib)
	source, image, scratch, end := download(t, content)
	readsAll(t, "the first fill", opened(t, source, image), nil, content)
	second := opened(t, source, image)
	end()
	readsAll(t, "a fill that goes on", second, nil, content)
	if n := scratch.open.Load(); n != 0 {
		t.Errorf("%d files are left open", n)
	}
}

// A fill that requests wait for goes on beside the next one of the queue: each downloads, and one of them is spooled.
func TestTwoDownloadsAreNotSpooledAsOne(t *testing.T) {
	content := random(mib)
	source, image, scratch, end := download(t, content)
	first, begun := opened(t, source, image), make([]byte, mib/4)
	if _, err := io.ReadFull(first, begun); err != nil {
		t.Fatal(err)
	}
	second, half := opened(t, source, image), make([]byte, mib/2)
	if _, err := io.ReadFull(second, half); err != nil {
		t.Fatal(err)
	}
	readsAll(t, "the first fill", first, begun, content)
	readsAll(t, "the second fill", second, half, content)
	readsAll(t, "the third fill", opened(t, source, image), nil, content)
	end()
	if n := scratch.open.Load(); n != 0 {
		t.Errorf("%d files are left open", n)
	}
}
