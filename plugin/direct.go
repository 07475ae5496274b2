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

// errNotDirect: the image is not one that this backend clones from where it lies.
var errNotDirect = errors.New("the image is not on this backend")

// direct answers with a clone of the image itself, where the image service keeps it on the request's own
// backend: then there is nothing to cache. errNotDirect: the next rung of the ladder serves the request.
func (l *ladder) direct(ctx context.Context, q *request) (Answer, error) {
	cloner, ok := q.directly()
	if !ok {
		return Answer{}, errNotDirect
	}
	if err := q.fits(q.image.SizeBytes); err != nil {
		return Answer{}, err
	}
	if q.late(l.now()) {
		return Answer{}, &stepAside{reason: ReasonDeadline, detail: "too little time is left for a clone"}
	}
	spec := q.directSpec()
	intent, err := l.intend(q, journal.Direct, spec)
	if err != nil {
		return Answer{}, classify(err)
	}
	q.report(Progress{Phase: "cloning", TotalBytes: -1})
	volume, err := cloner.CloneDirect(ctx, q.location, spec)
	if err != nil {
		answer, err := l.notMade(ctx, q, intent, err)
		return answer, classifyDirect(err)
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

// directly is what clones the image where it lies: only images that their service calls raw are what their bytes
// say, and only bytes that nobody was promised otherwise need no check.
func (q *request) directly() (backends.DirectCloner, bool) {
	cloner, ok := backends.Capability[backends.DirectCloner](q.store.backend)
	plain := q.image.DiskFormat == string(diskimage.Raw) && q.image.ClaimedBy == imagesource.ByService && q.image.SizeBytes > 0
	asPromised := q.Digest.IsZero() || q.Digest == q.promised
	return cloner, ok && plain && asPromised && q.location != "" && cloner.CanCloneDirect(q.location)
}

func (q *request) directSpec() backends.VolumeSpec {
	size := q.SizeBytes
	if size == 0 {
		size = backends.RoundUp(q.image.SizeBytes)
	}
	return backends.VolumeSpec{
		Name: q.Volume, SizeBytes: size, Token: uuid.NewString(),
		Origin: backends.Origin{
			ContentKey: string(q.key), LookupKey: string(q.key), ImageID: q.image.Ref(),
			Store: q.store.name, DirectFrom: q.location,
		},
	}
}

// classifyDirect lets whatever keeps the image from being cloned where it lies lead to the next rung, but
// for what the caller's usual way would meet too.
func classifyDirect(err error) error {
	if errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrCannotClone) || errors.Is(err, backends.ErrLimit) || errors.Is(err, backends.ErrNotOurs) {
		return fmt.Errorf("%w: %w", errNotDirect, err)
	}
	return classify(err)
}
