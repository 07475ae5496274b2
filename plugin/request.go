package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// request is a Request that was checked: a volume that is asked for, and the image that it is to be made from.
type request struct {
	Request
	wanted          // the image, as its source described it for this requester
	store    *store // the backend that is asked
	location string // where the backend may clone the image from itself; "": nowhere
	asked    int64  // SizeBytes as the request had it, which is rounded up since
	begun    time.Time
	before   earlierOffer
	duty     nameDuty
}

// admit checks the request and finds its backend. ErrBadRequest, ErrUnknownBackend, backends.ErrBadName.
func (l *ladder) admit(r Request) (*request, error) {
	q := &request{Request: r, asked: r.SizeBytes, begun: l.now()}
	q.image = imagesource.Image{ID: imagesource.ShownRef(r.Image)}
	q.SizeBytes = backends.RoundUp(r.SizeBytes)
	var err error
	if q.store, err = l.stock.backendNamed(r.Backend); err != nil {
		return nil, err
	}
	q.Deadline = q.store.deadline(q.begun, r.Deadline)
	q.declared, q.digest, q.virtualBytes, q.sharing = r.DiskFormat, r.Digest, r.ImageVirtualBytes, q.store.sharing()
	if err := r.wellFormed(); err != nil {
		return q, err
	}
	if err := q.transfers(); err != nil {
		return q, err
	}
	if namer, ok := backends.Capability[backends.VolumeNamer](q.store.images); ok {
		return q, namer.CheckVolumeName(r.Volume)
	}
	return q, nil
}

// lookUp asks the source for the image, which authorises the request: hits too.
func (l *ladder) lookUp(ctx context.Context, q *request) error {
	if err := q.resolve(ctx, l.sources, q.Image); err != nil {
		return err
	}
	if err := q.store.outOfUse(); err != nil {
		return err
	}
	if err := q.suited(); err != nil {
		return err
	}
	if err := l.fills.authorise(ctx, &q.wanted); err != nil {
		return err
	}
	q.location = q.ownLocation()
	return nil
}

// suited steps aside where no clone of a shared image-volume could be what is asked for.
func (q *request) suited() error {
	switch {
	case q.Encrypted:
		return &stepAside{reason: ReasonEncrypted, detail: "the volume is to be encrypted, and image-volumes are not"}
	case q.store.volumeType != "" && q.VolumeType != "" && q.VolumeType != q.store.volumeType:
		return &stepAside{reason: ReasonUnsuitable, detail: fmt.Sprintf("the volume is to be of type %s, and image-volumes on %s are of type %s", q.VolumeType, q.store.name, q.store.volumeType)}
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

// fits refuses a volume that is smaller than the image. ErrTooSmall.
func (q *request) fits(virtual int64) error { return q.wanted.fits(q.SizeBytes, virtual) }

// waiter is who waits for the request's fill.
func (q *request) waiter() *waiter {
	return &waiter{size: q.SizeBytes, token: q.Token, project: q.ProjectID, background: q.OnMiss == Background, deadline: q.Deadline, progress: q.Progress, places: q.store.limit().waiting}
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
