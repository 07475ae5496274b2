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
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/journal"
)

// deadlineMargin is how long before its deadline a request starts no clone any more.
const deadlineMargin = 2 * time.Second

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
	leave, ok := p.gate.enter()
	if !ok {
		return Answer{Outcome: Bypassed, Reason: ReasonStopping, Backend: r.Backend, ImageID: imagesource.ShownRef(r.Image), Volume: r.Volume}, nil
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.base, cancel)() // Close's time is over
	q, err := p.ladder.admit(r)
	if err != nil {
		p.observer.RequestError(p.stock.labelOf(r.Backend), err)
		return Answer{}, err
	}
	answer, err := p.ladder.inTime(ctx, q)
	if p.stopped() && errors.Is(err, context.Canceled) {
		return p.ladder.bypass(q, &stepAside{reason: ReasonStopping, cause: ErrStopping}), nil
	}
	if err != nil {
		p.observer.RequestError(q.store.name, err)
		return Answer{}, err
	}
	return answer, nil
}

// inTime serves the request, and waits for nothing beyond its deadline, neither the image's source nor a fill:
// then the caller goes its usual way.
func (l *ladder) inTime(ctx context.Context, q *request) (Answer, error) {
	if q.Deadline.IsZero() {
		return l.lookUpAndServe(ctx, q)
	}
	timed, cancel := context.WithTimeout(ctx, q.Deadline.Sub(l.now()))
	defer cancel()
	answer, err := l.lookUpAndServe(timed, q)
	if err != nil && errors.Is(timed.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return l.bypass(q, &stepAside{reason: ReasonDeadline, cause: err, detail: "the deadline came before the volume"}), nil
	}
	return answer, err
}

// lookUpAndServe asks the image's source, which authorises the request, and then makes the volume.
func (l *ladder) lookUpAndServe(ctx context.Context, q *request) (Answer, error) {
	q.before.here = l.names.look(volumeKey{q.store.name, q.Volume})
	defer q.before.here.leave()
	_ = l.seeOffer(ctx, q) // a backend that does not answer yet is asked again
	err := l.lookUp(imagesource.WithToken(ctx, q.Token), q)
	if exhausted(err) {
		err = &stepAside{reason: ReasonCacheError, cause: err}
	}
	if why, aside := steppedAside(err); aside {
		l.logAside(q, why, "image not looked up")
		return l.bypass(q, why), nil
	}
	if err != nil {
		return Answer{}, err
	}
	return l.serveAlone(ctx, q)
}

// serveAlone serves the request while nobody else makes a volume of that name.
func (l *ladder) serveAlone(ctx context.Context, q *request) (Answer, error) {
	unlock, err := l.names.lock(ctx, volumeKey{q.store.name, q.Volume})
	if err != nil {
		return Answer{}, err
	}
	defer unlock()
	if err := q.store.down(); err != nil {
		l.stock.reached(q.store, err)
		return l.bypass(q, &stepAside{reason: ReasonUnavailable, cause: err}), nil
	}
	if err := l.stock.ensure(ctx, q.store); err != nil {
		if ctx.Err() != nil {
			return Answer{}, ctx.Err()
		}
		return l.bypass(q, &stepAside{reason: ReasonUnavailable, cause: err, detail: err.Error()}), nil
	}
	if err := l.seeOffer(ctx, q); err != nil {
		switch {
		case ctx.Err() != nil:
			return Answer{}, ctx.Err()
		case errors.Is(err, backends.ErrExist):
			return Answer{}, severalOfName(q.store, q.Volume, err)
		}
		return l.bypass(q, &stepAside{reason: ReasonUnavailable, cause: err}), nil
	}
	if err := l.settleFirst(ctx, q); err != nil {
		return l.bypass(q, err), nil
	}
	return l.serve(ctx, q)
}

// rung is one way of making the volume that is asked for.
type rung struct {
	without string // what logs say where it does not serve
	// suits tells whether the way is one for the request at all.
	suits func(*request) bool
	// make makes the volume; why is what kept the rung before from doing so, nil at the first. Errors are as they were met.
	make func(ctx context.Context, q *request, why *stepAside) (Answer, error)
	// in is where the way goes through besides the request's backend; "": nowhere.
	in func(*request) backends.Name
}

// lends tells that the requester makes the volume itself.
func (q *request) lends() bool { return q.Lend }

// makes tells that the volume is made here.
func (q *request) makes() bool { return !q.Lend }

// allRungs are the ways, the best one first.
func (l *ladder) allRungs() []rung {
	return []rung{
		{without: "no image-volume lent", suits: (*request).lends, make: l.lent},
		{without: "no clone of the image itself", suits: (*request).liesHere, make: l.direct},
		{without: "no clone of an image-volume", suits: (*request).makes, make: l.cloned},
		{without: "no copy from a file cache", suits: (*request).mayCopy, make: l.copied, in: (*request).fileCache},
	}
}

// serve goes down the ladder: the image's own clone, the image-volume's clone, the file cache's copy, out of the way.
// Here, and nowhere else, it is decided what is for the caller to know and what only keeps one way from serving.
func (l *ladder) serve(ctx context.Context, q *request) (Answer, error) {
	var why *stepAside // what kept the last rung from serving
	for _, way := range l.rungs {
		if !way.suits(q) {
			continue
		}
		answer, err := way.make(ctx, q, why)
		err = classifyIn(ctx, err)
		step, aside := steppedAside(err)
		if !aside {
			return answer, err
		}
		if step.final() {
			return l.bypass(q, step), nil
		}
		if way.in != nil && why != nil {
			step = step.behind(why, way.in(q))
		}
		l.noteCatalogDown(step)
		l.logAside(q, step, way.without)
		why = step
	}
	return l.bypass(q, why), nil
}

// noteCatalogDown spares the requests that come the patience of this one, where that was with the catalog's database.
func (l *ladder) noteCatalogDown(why *stepAside) {
	if why.reason == ReasonCatalogDown {
		l.noteCatalog(why)
	}
}

// logAside logs why a rung of the ladder was left: an error of the cache's own needs a human, and what is
// wrong with the internal tenant stays so until somebody mends it.
func (l *ladder) logAside(q *request, why *stepAside, what string) {
	log := l.log.WithFields(q.fields()).WithField("reason", why.reason).WithError(why)
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
func (l *ladder) cloned(ctx context.Context, q *request, _ *stepAside) (Answer, error) {
	if info := q.store.images.Info(); !info.CanClone {
		return Answer{}, &stepAside{reason: ReasonCannotClone, detail: info.NoClone}
	}
	return l.fromEntry(ctx, q, q.store, func(f *filled) (a Answer, err error) {
		err = l.byName(ctx, q, func() (err error) {
			a, err = l.clone(ctx, q, f)
			return err
		})
		return a, err
	})
}

// errVanished: what an entry names is not there any more.
var errVanished = errors.New("what was cached has vanished")

// tries is how often an entry is looked for: once more where what it names has vanished, and once more again where the
// view here may have been behind what another host has evicted.
func (h *house) tries() int {
	if h.sole {
		return 2
	}
	return 3
}

// fromEntry makes the volume from an entry in s, which is filled where there is none; anew where what the entry
// names turns out to have vanished, or what had the volume's name has gone.
func (l *ladder) fromEntry(ctx context.Context, q *request, s *store, do func(*filled) (Answer, error)) (Answer, error) {
	var err error
	for range l.tries() {
		f, repeated, notFound := l.entryFor(ctx, q, s)
		switch {
		case notFound != nil:
			return Answer{}, notFound
		case repeated != nil:
			return *repeated, nil
		}
		if s.ready.bans(f.entry.ID) { // found damaged since it was found
			err = errVanished
			continue
		}
		var answer Answer
		answer, err = do(f)
		if errors.Is(err, errNameFree) {
			continue
		}
		if !errors.Is(err, errVanished) {
			return answer, err
		}
		if err := l.stock.forgetVanished(ctx, s, f.entry); err != nil {
			return Answer{}, err
		}
	}
	if errors.Is(err, errNameFree) {
		return Answer{}, err
	}
	return Answer{}, fmt.Errorf("%d times: %w", l.tries(), err)
}

// entryFor finds the ready entry in a store, or fills it: f is the entry and the part that the request had in making
// it. Instead, repeated is the answer where an earlier request made the volume already. Where the image changed
// meanwhile, each who waited asks for it once more, and one of them fills.
func (l *ladder) entryFor(ctx context.Context, q *request, s *store) (f *filled, repeated *Answer, err error) {
	f, repeated, err = l.findOrFill(ctx, q, s)
	if q.anew || !errors.Is(err, imagesource.ErrChanged) {
		return f, repeated, err
	}
	if err := q.lookAgain(imagesource.WithToken(ctx, q.Token)); err != nil {
		return nil, nil, err
	}
	return l.findOrFill(ctx, q, s)
}

// findOrFill finds the ready entry, or fills it. A volume that an earlier request made, or that is somebody
// else's, is noticed before anything is downloaded.
func (l *ladder) findOrFill(ctx context.Context, q *request, s *store) (f *filled, repeated *Answer, err error) {
	if e, ok := s.find(&q.wanted); ok {
		if e, ok = l.fills.current(ctx, s, e); ok {
			return &filled{entry: e, role: Hit}, nil, q.fits(e.VirtualBytes)
		}
	}
	if !q.image.StaleSince.IsZero() {
		return nil, nil, fmt.Errorf("%w: %s does not answer since %s, and %s is not cached as it was then",
			imagesource.ErrUnavailable, q.image.Source, q.image.StaleSince.UTC().Format(time.RFC3339), q.image.Ref())
	}
	if !q.Lend {
		var answer Answer
		var made bool
		err := l.byName(ctx, q, func() (err error) {
			answer, made, err = l.alreadyMade(ctx, q)
			return err
		})
		switch {
		case err != nil:
			return nil, nil, err
		case made:
			return nil, &answer, nil
		}
	}
	if err := l.catalogAway(); err != nil {
		return nil, nil, err
	}
	if f, err = l.fills.fillShared(ctx, q.wanted, s, q.waiter()); err != nil {
		return nil, nil, err
	}
	return f, nil, q.fits(f.entry.VirtualBytes)
}

// clone makes the volume from an entry's image-volume, between intent and answer.
func (l *ladder) clone(ctx context.Context, q *request, f *filled) (Answer, error) {
	if q.late(l.now()) {
		return Answer{}, &stepAside{reason: ReasonDeadline, detail: "too little time is left for a clone"}
	}
	spec := q.volumeSpec(q.store.name, f.entry)
	intent, err := l.intend(q, journal.Clone, spec)
	if err != nil {
		return Answer{}, err
	}
	q.report(Progress{Phase: "cloning", TotalBytes: -1})
	var volume backends.Volume
	err = l.stock.withSpace(ctx, q.store, spaceWanted{but: f.entry.ID}, func() (err error) {
		volume, err = q.store.backend.Clone(ctx, f.entry.ImageVolume, spec)
		return err
	})
	l.stock.reached(q.store, err)
	if err != nil {
		answer, err := l.notMade(ctx, q, intent, err)
		if errors.Is(err, backends.ErrNotExist) {
			err = fmt.Errorf("%w: %w", errVanished, err)
		}
		return answer, err
	}
	failpoint.Reached(failpoint.Clone)
	return l.made(ctx, q, intent, volume, Answer{Outcome: f.role, Reason: reasonOf(f.role), Detail: cmp.Or(f.missed.detail, q.stale()), MissCause: f.missed.cause, EntryID: string(f.entry.ID), DownloadedBytes: f.downloaded}, f)
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
			EntryID: e.ID, ContentKey: e.Key, LookupKey: q.key,
			ImageID: q.image.Ref(), Store: store, ImageVolume: e.ImageVolume,
		},
	}
}

// errNameFree: what had the volume's name a moment ago has it no longer.
var errNameFree = errors.New("the name is free by now")

// notMade ends the intent of a clone or copy that the backend did not make. A backend that did not
// answer may still be at it: then the intent stays, and is settled later.
func (l *ladder) notMade(ctx context.Context, q *request, intent journal.Intent, cause error) (Answer, error) {
	if errors.Is(cause, backends.ErrUnavailable) {
		l.unsettled.add(mustGo, intent)
		return Answer{}, cause
	}
	l.books.drop(intent)
	if !errors.Is(cause, backends.ErrExist) {
		return Answer{}, cause
	}
	answer, made, err := l.alreadyMade(ctx, q)
	if err != nil || made {
		return answer, err
	}
	if _, err := l.endHalfMade(ctx, q); err != nil { // it was there a moment ago, or is not enough to be looked at
		return Answer{}, err
	}
	return Answer{}, fmt.Errorf("%w: %s came and went while it was made; repeat the request: %w", ErrConflict, q.Volume, errNameFree)
}

// bypass answers that the cache steps aside.
func (l *ladder) bypass(q *request, why *stepAside) Answer {
	a := Answer{
		Outcome: Bypassed, Reason: why.reason, Detail: why.Error(),
		Backend: q.store.name, ImageID: q.image.Ref(), Volume: q.Volume, SizeBytes: q.SizeBytes, ETA: why.eta,
	}
	if why.reason == ReasonUndelivered { // it was noted when its volume was made
		a.TookMS = milliseconds(l.now().Sub(q.begun))
		return a
	}
	_ = l.answered(q, 0, &a, nil) // it ends no intent, and is logged
	return a
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
