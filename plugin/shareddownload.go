package plugin

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// sharedDownload is a source for several fills of one image, one after the other: what the first of them downloads is
// spooled in the scratch space on its way, and the others read that. They hash, inspect and decode the bytes as if they
// had come from the source, which is still asked what the image is.
//
// What cannot be spooled, was not read to its end, or could have changed unseen is downloaded again. Its owner
// closes it; a crash leaves nothing, since the spool has no name.
type sharedDownload struct {
	imagesource.Source
	scratch diskimage.Scratch

	mu       sync.Mutex
	spool    diskimage.ScratchFile // nil: there is nothing
	whole    bool                  // it holds all of image
	bytes    int64
	image    imagesource.Image // as the fill asked for it
	revision string            // as the source then called it; "": like image
	data     int64             // that lie in no hole; -1 unknown
}

var _ imagesource.Source = (*sharedDownload)(nil)

// Underlying is the source itself, which is asked what else it can.
func (d *sharedDownload) Underlying() imagesource.Source { return imagesource.Underlying(d.Source) }

// of makes it the download from a source.
func (d *sharedDownload) of(s imagesource.Source) *sharedDownload {
	d.Source = s
	return d
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
	d.close()
	spool, err := d.scratch.File()
	if err != nil {
		return opened, nil // the others download it too
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spool, d.whole, d.bytes, d.image, d.revision, d.data = spool, false, 0, image, "", -1
	if r, ok := opened.(imagesource.Revised); ok {
		d.revision = r.Revision()
	}
	if t, ok := opened.(imagesource.DataTeller); ok {
		d.data = t.DataBytes()
	}
	return &spoolingReader{ReadCloser: opened, d: d}, nil
}

// again is the image from the spool; nil: it is not whole there, or another one.
func (d *sharedDownload) again(image imagesource.Image) io.ReadCloser {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.whole || !image.Stable() || !image.SameRevision(d.image) || image.Ref() != d.image.Ref() {
		return nil
	}
	return &spooledReader{Reader: io.NewSectionReader(d.spool, 0, d.bytes), revision: d.revision, data: d.data}
}

// take spools what was read; nothing more is where there is no space for it.
func (d *sharedDownload) take(p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spool == nil || len(p) == 0 {
		return
	}
	if _, err := d.spool.WriteAt(p, d.bytes); err != nil {
		d.drop()
		return
	}
	d.bytes += int64(len(p))
}

// ended says whether the source came to its end.
func (d *sharedDownload) ended(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, io.EOF) && d.spool != nil && (d.image.SizeBytes < 0 || d.image.SizeBytes == d.bytes) {
		d.whole = true
	} else {
		d.drop()
	}
}

// drop gives the spool back; mu is held.
func (d *sharedDownload) drop() {
	if d.spool != nil {
		_ = d.spool.Close() // nothing is lost by an error here
	}
	d.spool, d.whole = nil, false
}

// close gives the spool back.
func (d *sharedDownload) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
}

// spoolingReader spools what is read.
type spoolingReader struct {
	io.ReadCloser
	d    *sharedDownload
	over bool
}

// Read implements io.Reader.
func (r *spoolingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.d.take(p[:n])
	if err != nil && !r.over {
		r.over = true
		r.d.ended(err)
	}
	return n, err
}

// Revision implements imagesource.Revised.
func (r *spoolingReader) Revision() string { return r.d.revision }

// DataBytes implements imagesource.DataTeller.
func (r *spoolingReader) DataBytes() int64 { return r.d.data }

// spooledReader reads an image from the spool.
type spooledReader struct {
	io.Reader
	revision string
	data     int64
}

// Revision implements imagesource.Revised.
func (r *spooledReader) Revision() string { return r.revision }

// DataBytes implements imagesource.DataTeller.
func (r *spooledReader) DataBytes() int64 { return r.data }

// Close implements io.Closer; the spool is its owner's to close.
func (*spooledReader) Close() error { return nil }
