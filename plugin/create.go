package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/journal"
)

// deadlineMargin is how long before its deadline a request starts no clone any more.
const deadlineMargin = 2 * time.Second

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

// CreateVolume makes a volume from an image: a clone of its image-volume, which is made first where
// there is none, or a copy where there can be none. The volume is there whole or not at all.
//
// Outcome bypassed means that no volume was made and that nothing is wrong with the request: the caller
// goes its usual way. An error means that the usual way would refuse too (the errors of imagesource,
// diskimage.ErrRefused, ErrTooSmall, ErrConflict), or that the request is wrong (ErrBadRequest,
// ErrUnknownBackend). Repeating a request for a volume that it has already made succeeds.
//
// When ctx ends, the caller gets its error and no volume; a fill that others wait for goes on.
func (p *Plugin) CreateVolume(ctx context.Context, r Request) (Answer, error) {
	if !p.enter() {
		return Answer{Outcome: Bypassed, Reason: ReasonStopping, Backend: r.Backend, ImageID: imagesource.ShownRef(r.Image), Volume: r.Volume}, nil
	}
	defer p.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.base, cancel)() // Close's time is over
	q, err := p.admit(r)
	if err != nil {
		p.observer.RequestError(p.labelOf(r.Backend), err)
		return Answer{}, err
	}
	answer, err := p.inTime(ctx, q)
	if p.stopped() && errors.Is(err, context.Canceled) {
		return p.bypass(q, &stepAside{reason: ReasonStopping, cause: ErrStopping}), nil
	}
	if err != nil {
		p.observer.RequestError(q.store.name, err)
		return Answer{}, err
	}
	return answer, nil
}

// inTime serves the request, and waits for nothing beyond its deadline, neither the image's source nor a fill:
// then the caller goes its usual way.
func (p *Plugin) inTime(ctx context.Context, q *request) (Answer, error) {
	if q.Deadline.IsZero() {
		return p.lookUpAndServe(ctx, q)
	}
	timed, cancel := context.WithTimeout(ctx, q.Deadline.Sub(p.now()))
	defer cancel()
	answer, err := p.lookUpAndServe(timed, q)
	if err != nil && errors.Is(timed.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return p.bypass(q, &stepAside{reason: ReasonDeadline, cause: err, detail: "the deadline came before the volume"}), nil
	}
	return answer, err
}

// lookUpAndServe asks the image's source, which authorises the request, and then makes the volume.
func (p *Plugin) lookUpAndServe(ctx context.Context, q *request) (Answer, error) {
	err := p.lookUp(imagesource.WithToken(ctx, q.Token), q)
	if exhausted(err) {
		err = &stepAside{reason: ReasonCacheError, cause: err}
	}
	if why, aside := steppedAside(err); aside {
		p.logAside(q, why, "image not looked up")
		return p.bypass(q, why), nil
	}
	if err != nil {
		return Answer{}, err
	}
	return p.serveAlone(ctx, q)
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

// serveAlone serves the request while nobody else makes a volume of that name.
func (p *Plugin) serveAlone(ctx context.Context, q *request) (Answer, error) {
	unlock, err := p.names.lock(ctx, volumeKey{q.store.name, q.Volume})
	if err != nil {
		return Answer{}, err
	}
	defer unlock()
	if err := q.store.down(); err != nil {
		p.reached(q.store, err)
		return p.bypass(q, &stepAside{reason: ReasonUnavailable, cause: err}), nil
	}
	if err := p.ensure(ctx, q.store); err != nil {
		if ctx.Err() != nil {
			return Answer{}, ctx.Err()
		}
		return p.bypass(q, &stepAside{reason: ReasonUnavailable, cause: err, detail: err.Error()}), nil
	}
	if err := p.settleFirst(ctx, q); err != nil {
		return p.bypass(q, err), nil
	}
	return p.serve(ctx, q)
}

// serve goes down the ladder: the image's own clone, the image-volume's clone, the file cache's copy, out
// of the way.
func (p *Plugin) serve(ctx context.Context, q *request) (Answer, error) {
	answer, err := p.direct(ctx, q)
	step, aside := steppedAside(err)
	switch {
	case errors.Is(err, errNotDirect):
	case !aside:
		return answer, err
	case step.final():
		return p.bypass(q, step), nil
	default:
		p.logAside(q, step, "no clone of the image itself")
	}
	answer, err = p.cloned(ctx, q)
	step, aside = steppedAside(err)
	if !aside {
		return answer, err
	}
	if step.final() {
		return p.bypass(q, step), nil
	}
	p.logAside(q, step, "no clone of an image-volume")
	answer, err = p.copied(ctx, q, step)
	if step, aside = steppedAside(err); aside {
		p.logAside(q, step, "no copy from a file cache")
		return p.bypass(q, step), nil
	}
	return answer, err
}

// logAside logs why a rung of the ladder was left: an error of the cache's own needs a human, and what is
// wrong with the internal tenant stays so until somebody mends it.
func (p *Plugin) logAside(q *request, why *stepAside, what string) {
	log := p.log.WithFields(q.fields()).WithField("reason", why.reason).WithError(why)
	switch why.reason {
	case ReasonCacheError:
		log.Error(what)
	case ReasonNoTenant, ReasonTenantDown, ReasonOverQuota, ReasonMismatch:
		log.Warn(what)
	default:
		log.Debug(what)
	}
}

// cloned answers with a clone of the image-volume, which is filled first where it is missing.
func (p *Plugin) cloned(ctx context.Context, q *request) (Answer, error) {
	if info := q.store.images.Info(); !info.CanClone {
		return Answer{}, &stepAside{reason: ReasonCannotClone, detail: info.NoClone}
	}
	var err error
	for range 2 {
		var found *filled
		if found, err = p.entryFor(ctx, q, q.store); err != nil {
			return Answer{}, err
		}
		if found.repeated != nil {
			return *found.repeated, nil
		}
		var answer Answer
		answer, err = p.clone(ctx, q, found)
		if !errors.Is(err, backends.ErrNotExist) {
			return answer, classify(err)
		}
		if err := p.forgetVanished(ctx, q.store, found.entry); err != nil {
			return Answer{}, classify(err)
		}
	}
	return Answer{}, classify(fmt.Errorf("the image-volume vanished twice: %w", err))
}

// entryFor finds the ready entry in a store, or fills it; once more where the image changed meanwhile: each
// who waited asks for the image again, and one of them fills.
func (p *Plugin) entryFor(ctx context.Context, q *request, s *store) (*filled, error) {
	f, err := p.findOrFill(ctx, q, s)
	if q.anew || !errors.Is(err, imagesource.ErrChanged) {
		return f, err
	}
	if err := q.lookAgain(imagesource.WithToken(ctx, q.Token)); err != nil {
		return nil, classify(err)
	}
	return p.findOrFill(ctx, q, s)
}

// findOrFill finds the ready entry, or fills it. A volume that an earlier request made, or that is somebody
// else's, is noticed before anything is downloaded.
func (p *Plugin) findOrFill(ctx context.Context, q *request, s *store) (*filled, error) {
	if e, ok := s.find(q); ok {
		if e, ok = p.current(ctx, s, e); ok {
			return &filled{entry: e, role: Hit}, q.fits(e.VirtualBytes)
		}
	}
	if !q.image.StaleSince.IsZero() {
		return nil, fmt.Errorf("%w: %s does not answer since %s, and %s is not cached as it was then",
			imagesource.ErrUnavailable, q.image.Source, q.image.StaleSince.UTC().Format(time.RFC3339), q.image.Ref())
	}
	if answer, err := p.alreadyMade(ctx, q); err != nil || answer != nil {
		return &filled{repeated: answer}, err
	}
	f, err := p.fillShared(ctx, q, s)
	if err != nil {
		return nil, err
	}
	return f, q.fits(f.entry.VirtualBytes)
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

// clone makes the volume from an entry's image-volume, between intent and answer.
func (p *Plugin) clone(ctx context.Context, q *request, f *filled) (Answer, error) {
	if q.late(p.now()) {
		return Answer{}, &stepAside{reason: ReasonDeadline, detail: "too little time is left for a clone"}
	}
	spec := q.volumeSpec(q.store.name, f.entry)
	intent, err := p.intend(q, journal.Clone, spec)
	if err != nil {
		return Answer{}, err
	}
	q.report(Progress{Phase: "cloning", TotalBytes: -1})
	var volume backends.Volume
	err = p.withSpace(ctx, q.store, spaceWanted{but: f.entry.ID}, func() (err error) {
		volume, err = q.store.backend.Clone(ctx, f.entry.ImageVolume, spec)
		return err
	})
	p.reached(q.store, err)
	if err != nil {
		return p.notMade(ctx, q, intent, err)
	}
	failpoint.Reached(failpoint.Clone)
	return p.made(ctx, q, intent, volume, Answer{Outcome: f.role, Reason: reasonOf(f.role), Detail: cmp.Or(f.missed.detail, q.stale()), MissCause: f.missed.cause, EntryID: string(f.entry.ID), DownloadedBytes: f.downloaded}, f)
}

// volumeSpec is the volume that the request asks for, as made from an entry of store.
func (q *request) volumeSpec(store backends.Name, e catalog.Entry) backends.VolumeSpec {
	size := q.SizeBytes
	if size == 0 {
		size = backends.RoundUp(e.VirtualBytes)
	}
	return backends.VolumeSpec{
		Name: q.Volume, SizeBytes: size, Token: uuid.NewString(),
		Origin: backends.Origin{
			EntryID: string(e.ID), ContentKey: string(e.Key), LookupKey: string(q.key),
			ImageID: q.image.Ref(), Store: store, ImageVolume: e.ImageVolume,
		},
	}
}

// notMade ends the intent of a clone or copy that the backend did not make. A backend that did not
// answer may still be at it: then the intent stays, and is settled later.
func (p *Plugin) notMade(ctx context.Context, q *request, intent journal.Intent, cause error) (Answer, error) {
	if errors.Is(cause, backends.ErrUnavailable) {
		p.open.add(mustGo, intent)
		return Answer{}, cause
	}
	if err := p.journal.Drop(intent.Seq); err != nil {
		p.log.WithFields(q.fields()).WithError(err).Warn("intent not dropped; it is settled at the next start")
	}
	if !errors.Is(cause, backends.ErrExist) {
		return Answer{}, cause
	}
	answer, err := p.alreadyMade(ctx, q)
	switch {
	case err != nil:
		return Answer{}, err
	case answer == nil: // it was there a moment ago
		return Answer{}, fmt.Errorf("%w: %s came and went while it was made; repeat the request", ErrConflict, q.Volume)
	}
	return *answer, nil
}

// bypass answers that the cache steps aside.
func (p *Plugin) bypass(q *request, why *stepAside) Answer {
	a := Answer{
		Outcome: Bypassed, Reason: why.reason, Detail: why.Error(),
		Backend: q.store.name, ImageID: q.image.Ref(), Volume: q.Volume, SizeBytes: q.SizeBytes,
	}
	if why.reason == ReasonUndelivered { // it was noted when its volume was made
		a.TookMS = milliseconds(p.now().Sub(q.begun))
		return a
	}
	_ = p.answered(q, 0, &a, nil) // it ends no intent, and is logged
	return a
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

func reasonOf(role Outcome) Reason {
	switch role {
	case Filled:
		return ReasonMiss
	case Joined:
		return ReasonInFlight
	default:
		return ReasonReady
	}
}
