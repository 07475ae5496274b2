package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/journal"
)

// direct answers with a clone of the image itself, where the image service keeps it on the request's own
// backend: then there is nothing to cache. It is asked only where liesHere.
func (l *ladder) direct(ctx context.Context, q *request, _ *stepAside) (Answer, error) {
	cloner, _ := backends.Capability[backends.DirectCloner](q.store.backend)
	if err := q.fits(q.image.SizeBytes); err != nil {
		return Answer{}, err
	}
	if q.late(l.now()) {
		return Answer{}, &stepAside{reason: ReasonDeadline, detail: "too little time is left for a clone"}
	}
	spec := q.directSpec()
	intent, err := l.intend(q, journal.Direct, spec)
	if err != nil {
		return Answer{}, err
	}
	q.report(Progress{Phase: "cloning", TotalBytes: -1})
	volume, err := cloner.CloneDirect(ctx, q.location, spec)
	if err != nil {
		answer, err := l.notMade(ctx, q, intent, err)
		return answer, notDirect(err)
	}
	failpoint.Reached(failpoint.Clone)
	return l.made(ctx, q, intent, volume, Answer{Outcome: Direct, Reason: ReasonOnBackend}, nil)
}

// ownLocation is the first place that the backend can clone the image from, of those that its service tells and
// those that the requester knows. Glance's RBD store names each image after its ID, and keeps it in the snapshot
// "snap" (glance_store, _drivers/rbd.py; Nova's snapshots too). Another name is not believed, the service's neither:
// an image's owner may set its locations, and the backend's user opens more of the cluster than the service's.
func (q *request) ownLocation() string {
	cloner, ok := backends.Capability[backends.DirectCloner](q.store.backend)
	if !ok || q.image.ClaimedBy != imagesource.ByService {
		return ""
	}
	for _, l := range append([]string{q.image.Location}, q.ImageLocations...) {
		path, isRBD := strings.CutPrefix(l, "rbd://")
		if parts := strings.Split(path, "/"); isRBD && len(parts) == 4 && parts[2] == q.image.ID && parts[3] == "snap" && cloner.CanCloneDirect(l) {
			return l
		}
	}
	return ""
}

// liesHere tells whether the backend can clone the image where it lies: only images that their service calls raw are what their bytes
// say, and only bytes that nobody was promised otherwise need no check.
func (q *request) liesHere() bool {
	cloner, ok := backends.Capability[backends.DirectCloner](q.store.backend)
	plain := q.image.DiskFormat == string(diskimage.Raw) && q.image.ClaimedBy == imagesource.ByService && q.image.SizeBytes > 0
	asPromised := q.Digest.IsZero() || q.Digest == q.promised
	return ok && plain && asPromised && q.location != "" && cloner.CanCloneDirect(q.location)
}

func (q *request) directSpec() backends.VolumeSpec {
	size := q.SizeBytes
	if size == 0 {
		size = backends.RoundUp(q.image.SizeBytes)
	}
	return backends.VolumeSpec{
		Name: q.Volume, SizeBytes: size, Token: uuid.NewString(),
		Origin: backends.Origin{
			ContentKey: q.key, LookupKey: q.key, ImageID: q.image.Ref(),
			Store: q.store.name, DirectFrom: q.location,
		},
	}
}

// notDirect says of what keeps the image from being cloned where it lies that it does, and that the next rung may serve;
// but for what the caller's usual way would meet too.
func notDirect(err error) error {
	if errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrCannotClone) || errors.Is(err, backends.ErrLimit) || errors.Is(err, backends.ErrNotOurs) {
		return &stepAside{reason: ReasonCannotClone, cause: err, detail: fmt.Sprintf("the image is not to be cloned where it lies: %v", err)}
	}
	return err
}
