package plugin

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// sharedDownload is a source for several fills of one image, one after the other: what the first of them downloads is
// spooled in the scratch space on its way, and the others read that. They hash, inspect and decode the bytes as if they
// had come from the source, which is still asked what the image is.
//
// What cannot be spooled, was not read to its end, or could have changed unseen is downloaded again. Its owner
// closes it; a fill that others wait for may outlive that, and reads on. A crash leaves nothing, since the spool has no name.
type sharedDownload struct {
	imagesource.Source
	scratch diskimage.Scratch

	mu       sync.Mutex
	spool    *spool // nil: there is nothing
	whole    bool   // it holds all of image
	bytes    int64
	image    imagesource.Image // as the fill asked for it
	revision string            // as the source then called it; "": like image
	data     int64             // that lie in no hole; -1 unknown
}

var _ imagesource.Source = (*sharedDownload)(nil)

// Underlying is the source itself, which is asked what else it can.
func (d *sharedDownload) Underlying() imagesource.Source { return imagesource.Underlying(d.Source) }

// of makes it the download from a source, which is the same for all fills of the image.
func (d *sharedDownload) of(s imagesource.Source) *sharedDownload {
	if d.Source == nil {
		d.Source = s
	}
	return d
}

// spool is a file that its owner and readers use; the last of them to leave gives it back.
type spool struct {
	diskimage.ScratchFile
	users atomic.Int32
}

func (s *spool) leave() {
	if s.users.Add(-1) == 0 {
		_ = s.Close() // nothing is lost by an error here
	}
}

// Open implements imagesource.Source.
func (d *sharedDownload) Open(ctx context.Context, image imagesource.Image) (io.ReadCloser, error) {
	if r := d.again(image); r != nil {
		return r, nil
	}
	opened, err := d.Source.Open(ctx, image)
	if err != nil || !image.Stable() {
		return opened, err
	}
	file, err := d.scratch.File()
	if err != nil {
		return opened, nil // the others download it too
	}
	to := &spool{ScratchFile: file}
	to.users.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
	d.spool, d.whole, d.bytes, d.image, d.revision, d.data = to, false, 0, image, "", -1
	if r, ok := opened.(imagesource.Revised); ok {
		d.revision = r.Revision()
	}
	if t, ok := opened.(imagesource.DataTeller); ok {
		d.data = t.DataBytes()
	}
	return &spoolingReader{ReadCloser: opened, d: d, to: to, told: told{d.revision, d.data}}, nil
}

// again is the image from the spool; nil: it is not whole there, or another one.
func (d *sharedDownload) again(image imagesource.Image) io.ReadCloser {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.whole || !image.Stable() || !image.SameRevision(d.image) || image.Ref() != d.image.Ref() {
		return nil
	}
	d.spool.users.Add(1)
	return &spooledReader{Reader: io.NewSectionReader(d.spool, 0, d.bytes), told: told{d.revision, d.data}, close: sync.OnceFunc(d.spool.leave)}
}

// take spools what was read; nothing more is where there is no space for it. A reader whose spool has been replaced, since
// its fill was left by who shares it, spools nothing.
func (d *sharedDownload) take(to *spool, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spool != to || len(p) == 0 {
		return
	}
	if _, err := d.spool.WriteAt(p, d.bytes); err != nil {
		d.drop()
		return
	}
	d.bytes += int64(len(p))
}

// ended says whether the source came to its end.
func (d *sharedDownload) ended(to *spool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spool != to {
		return
	}
	if errors.Is(err, io.EOF) && (d.image.SizeBytes < 0 || d.image.SizeBytes == d.bytes) {
		d.whole = true
	} else {
		d.drop()
	}
}

// drop gives the spool back; mu is held.
func (d *sharedDownload) drop() {
	if d.spool != nil {
		d.spool.leave()
	}
	d.spool, d.whole = nil, false
}

// close gives the spool back.
func (d *sharedDownload) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
}

// told is what the source told of the image as it was opened.
type told struct {
	revision string
	data     int64
}

// Revision implements imagesource.Revised.
func (t told) Revision() string { return t.revision }

// DataBytes implements imagesource.DataTeller.
func (t told) DataBytes() int64 { return t.data }

// spoolingReader spools what is read.
type spoolingReader struct {
	io.ReadCloser
	told
	d    *sharedDownload
	to   *spool
	over bool
}

// Read implements io.Reader.
func (r *spoolingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.d.take(r.to, p[:n])
	if err != nil && !r.over {
		r.over = true
		r.d.ended(r.to, err)
	}
	return n, err
}

// spooledReader reads an image from the spool, and uses it until it is closed.
type spooledReader struct {
	io.Reader
	told
	close func()
}

// Close implements io.Closer.
func (r *spooledReader) Close() error {
	r.close()
	return nil
}
