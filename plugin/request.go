package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// request is a Request that was checked, with its image as the source described it for this requester.
type request struct {
	Request
	store  *store
	source imagesource.Source
	id     string // of the image, as the source is asked for it
	anew   bool   // the image was looked at once more, after it had changed while it was read
	image  imagesource.Image
	// key is what a fill of the image is known by, reading what the image is looked up by; see identify.
	key      catalog.Key
	reading  catalog.Key
	promised imagesource.Digest // by the source itself
	expected imagesource.Digest // by the request alone; zero where the source promises it
	asked    int64              // SizeBytes as the request had it, which is rounded up since
	begun    time.Time
}

// admit checks the request and finds its backend. ErrBadRequest, ErrUnknownBackend.
func (p *Plugin) admit(r Request) (*request, error) {
	q := &request{Request: r, image: imagesource.Image{ID: imagesource.ShownRef(r.Image)}, asked: r.SizeBytes, begun: p.now()}
	q.SizeBytes = backends.RoundUp(r.SizeBytes)
	var err error
	if q.store, err = p.backendNamed(r.Backend); err != nil {
		return nil, err
	}
	q.Deadline = q.store.deadline(q.begun, r.Deadline)
	return q, r.wellFormed()
}

// lookUp asks the source for the image, which authorises the request: hits too.
func (p *Plugin) lookUp(ctx context.Context, q *request) error {
	source, id, err := p.sources.Resolve(ctx, q.Image)
	if err != nil {
		return err
	}
	q.source, q.id = source, id
	q.image = imagesource.Image{Source: source.Name(), ID: imagesource.ShownID(source, id)}
	if err := q.suited(); err != nil {
		return err
	}
	image, err := source.Stat(ctx, id)
	if err != nil {
		p.noteGone(ctx, q, source, err)
		return err
	}
	return q.take(image)
}

// take makes the request one for the image as the source describes it. imagesource.ErrDigestMismatch,
// ErrBadRequest.
func (q *request) take(image imagesource.Image) error {
	q.image, q.promised, q.expected = image, image.Digest, imagesource.Digest{}
	q.image.Location = q.ownLocation()
	if q.DiskFormat != "" && q.DiskFormat != q.image.DiskFormat {
		q.image.DiskFormat, q.image.ClaimedBy = q.DiskFormat, imagesource.ByName
	}
	if err := q.require(q.Digest); err != nil {
		return err
	}
	q.identify()
	return nil
}

// lookAgain asks the source for the image once more, by this requester's right, and for nothing from memory.
func (q *request) lookAgain(ctx context.Context) error {
	q.anew = true
	image, err := q.source.Stat(imagesource.Anew(ctx), q.id)
	if err != nil {
		return err
	}
	return q.take(image)
}

// require makes the image the one of that digest, if one is given. Where the source promises a digest
// itself, both must be one. imagesource.ErrDigestMismatch, ErrBadRequest.
func (q *request) require(digest imagesource.Digest) error {
	switch {
	case digest.IsZero() || digest == q.promised:
		return nil
	case !q.promised.IsZero() && q.promised.Algorithm != digest.Algorithm:
		return fmt.Errorf("%w: digest: the source tells the %s of %s; give that, or none", ErrBadRequest, q.promised.Algorithm, q.image.Ref())
	case !q.promised.IsZero():
		return fmt.Errorf("%w: %s has %s at its source, the request wants %s", imagesource.ErrDigestMismatch, q.image.Ref(), q.promised, digest)
	}
	q.expected = digest
	q.image.Digest, q.image.List = digest, ""
	return nil
}

// suited steps aside where no clone of a shared image-volume could be what is asked for.
func (q *request) suited() error {
	switch {
	case q.Encrypted:
		return &stepAside{reason: ReasonEncrypted, detail: "the volume is to be encrypted, and image-volumes are not"}
	case q.store.suits != "" && q.VolumeType != "" && q.VolumeType != q.store.suits:
		return &stepAside{reason: ReasonUnsuitable, detail: fmt.Sprintf("the volume is to be of type %s, and image-volumes on %s are of type %s", q.VolumeType, q.store.name, q.store.suits)}
	}
	return nil
}

// rounded tells whether a volume is larger than what was asked for, or than its image's disk where nothing
// was, since sizes are rounded up. f is what it was made from; nil: the image itself, or not known.
func (q *request) rounded(v backends.Volume, f *filled) bool {
	asked := q.asked
	switch {
	case asked != 0:
	case f != nil && f.entry.DiskFormat == string(diskimage.Raw):
		asked = f.entry.SourceBytes
	case f == nil && q.image.DiskFormat == string(diskimage.Raw):
		asked = q.image.SizeBytes
	}
	return asked > 0 && v.SizeBytes > asked && v.SizeBytes == backends.RoundUp(asked)
}

// fits refuses a volume that is smaller than the image.
func (q *request) fits(virtual int64) error {
	if q.SizeBytes != 0 && q.SizeBytes < virtual {
		return fmt.Errorf("%w: %s needs %d bytes, the volume has %d; ask for a larger one", ErrTooSmall, q.image.Ref(), virtual, q.SizeBytes)
	}
	return nil
}

// late tells whether too little time is left to start a clone.
func (q *request) late(now time.Time) bool {
	return !q.Deadline.IsZero() && now.Add(deadlineMargin).After(q.Deadline)
}

// overdue tells whether the caller no longer listens.
func (q *request) overdue(now time.Time) bool {
	return !q.Deadline.IsZero() && now.After(q.Deadline)
}

// report tells the requester how far it is, if it wants to know.
func (q *request) report(progress Progress) {
	if q.Progress != nil {
		q.Progress(progress)
	}
}

// fields are what log lines about the request carry.
func (q *request) fields() map[string]any {
	return map[string]any{"backend": q.store.name, "image": q.image.Ref(), "volume": q.Volume}
}
