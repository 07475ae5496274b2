package plugin

import (
	"context"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// wanted is an image that is to be cached, whoever asks for it and for what: all that a fill goes by. No volume is
// part of it. It is a value: a fill has its own.
type wanted struct {
	source imagesource.Source
	id     string // of the image, as the source is asked for it
	// declared, digest and virtualBytes are what who wants the image says of it; zero values say nothing.
	declared     string // the format
	digest       imagesource.Digest
	virtualBytes int64           // of the disk in it
	sharing      catalog.Sharing // of the backend that is asked
	form         backends.Form   // backends.Source: its bytes are kept as they are; else they are decoded

	image imagesource.Image // as the source described it
	anew  bool              // it was looked at once more, after it had changed while it was read
	// key is what a fill of the image is known by, reading what the image is looked up by; see identify.
	key      catalog.Key
	reading  catalog.Key
	promised imagesource.Digest // by the source itself
	expected imagesource.Digest // by who wants it alone; zero where the source promises it
}

// resolve finds out whose image a reference names. The image has but a name then.
func (w *wanted) resolve(ctx context.Context, from *sources, ref string) (err error) {
	if w.source, w.id, err = from.Resolve(ctx, ref); err != nil {
		return err
	}
	w.image = imagesource.Image{Source: w.source.Name(), ID: imagesource.ShownID(w.source, w.id)}
	return nil
}

// authorise asks the source for the image: the source says whether this requester may have it, and what it is.
func (fl *fills) authorise(ctx context.Context, w *wanted) error {
	image, err := w.source.Stat(ctx, w.id)
	if err != nil {
		fl.noteGone(ctx, w, err)
		return err
	}
	return w.take(image)
}

// take makes it the image as the source describes it. imagesource.ErrDigestMismatch, ErrBadRequest.
func (w *wanted) take(image imagesource.Image) error {
	w.image, w.promised, w.expected = image, image.Digest, imagesource.Digest{}
	if w.declared != "" && w.declared != w.image.DiskFormat {
		w.image.DiskFormat, w.image.ClaimedBy = w.declared, imagesource.ByName
	}
	if err := w.require(w.digest); err != nil {
		return err
	}
	w.identify()
	return nil
}

// lookAgain asks the source for the image once more, by the right of the token in ctx, and for nothing from memory.
func (w *wanted) lookAgain(ctx context.Context) error {
	w.anew = true
	image, err := w.source.Stat(imagesource.Anew(ctx), w.id)
	if err != nil {
		return err
	}
	return w.take(image)
}

// require makes the image the one of that digest, if one is given. Where the source promises a digest
// itself, both must be one. imagesource.ErrDigestMismatch, ErrBadRequest.
func (w *wanted) require(digest imagesource.Digest) error {
	switch {
	case digest.IsZero() || digest == w.promised:
		return nil
	case !w.promised.IsZero() && w.promised.Algorithm != digest.Algorithm:
		return fmt.Errorf("%w: digest: the source tells the %s of %s; give that, or none", ErrBadRequest, w.promised.Algorithm, w.image.Ref())
	case !w.promised.IsZero():
		return fmt.Errorf("%w: %s has %s at its source, the request wants %s", imagesource.ErrDigestMismatch, w.image.Ref(), w.promised, digest)
	}
	w.expected = digest
	w.image.Digest, w.image.List = digest, ""
	return nil
}

// about is what is wanted where the image is, or is described, otherwise than it was said: what a fill makes is
// found by that.
func (w wanted) about(image imagesource.Image) wanted {
	w.image = image
	if w.expected.IsZero() {
		w.promised = image.Digest
	} else { // who wants it brought a digest
		w.image.Digest, w.image.List = w.expected, ""
	}
	w.identify()
	return w
}

// expectedBytes is the disk's size as far as it is told before the image is read; 0 where nobody tells.
func (w *wanted) expectedBytes() int64 {
	switch {
	case w.image.VirtualBytes > 0:
		return w.image.VirtualBytes
	case w.virtualBytes > 0:
		return w.virtualBytes
	case w.image.DiskFormat == string(diskimage.Raw) && w.image.SizeBytes > 0:
		return w.image.SizeBytes
	}
	return 0
}

// fits refuses a volume of size bytes, 0 for any, that is smaller than the image's disk. ErrTooSmall.
func (w *wanted) fits(size, virtual int64) error {
	if size != 0 && size < virtual {
		return fmt.Errorf("%w: %s needs %d bytes, the volume has %d; ask for a larger one", ErrTooSmall, w.image.Ref(), virtual, size)
	}
	return nil
}

// asItIs tells that the image's bytes are kept as they are.
func (w *wanted) asItIs() bool { return w.form == backends.Source }

// fields are what log lines about the image in a store carry.
func (w *wanted) fields(s *store) map[string]any {
	return map[string]any{"backend": s.name, "image": w.image.Ref()}
}
