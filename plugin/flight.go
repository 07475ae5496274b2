package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// progressEvery is how often a waiting request tells its caller how far the fill is.
const progressEvery = 200 * time.Millisecond

// flightKey names what only one fill at a time makes.
type flightKey struct {
	store backends.Name
	key   catalog.Key
}

// flight is one fill and those who wait for it. It lives until its last waiter leaves, or to its end
// where somebody asked for it in the background.
type flight struct {
	key     flightKey
	imageID string
	begun   time.Time
	cancel  context.CancelFunc
	done    chan struct{} // closed when entry and err are final

	entry      catalog.Entry
	downloaded int64
	missed     miss
	err        error
	unkept     bool // the fill's own: what is kept of the image is not read
	local      bool // nothing was read from the source, since the image was kept

	heldBack time.Duration // the fill's own: how long it waited for the place of a project

	entryID atomic.Value // catalog.EntryID, once it is known
	follows atomic.Value // catalog.EntryID of the row that another process fills, while that is waited for
	read    atomic.Int64
	total   atomic.Int64
	written atomic.Int64
	needs   atomic.Int64             // the size of the image's disk, once it is known
	pace    pace                     // of read
	project projectTurn              // for the place of one of those projects that want it
	turn    atomic.Pointer[fillTurn] // for its place; nil: it has not asked for one
	tide    tide                     // of the bytes, where they are kept as they are

	// under flights.mu:
	waiters    int
	largest    int64 // the largest volume that waits; 0 where one takes any size
	anySize    bool
	background bool
	goesOnFor  map[ProjectID]*waiter // who wanted it in the background, one of each project
	leaving    bool                  // cancelled: nobody may join any more
	// callers are those with whose tokens the fill may act: who wait, and who wanted it in the background.
	callers []*waiter
	acting  *waiter // whose token was used last
}

// flights are the fills of this process: one per store and image.
type flights struct {
	mu    sync.Mutex // after a store's reserving
	byKey map[flightKey]*flight
}

// filled is an entry that a request may clone or copy, and the part it had in making it.
type filled struct {
	entry      catalog.Entry
	role       Outcome // Hit, Filled or Joined
	downloaded int64
	missed     miss // of role Filled
}

// fillShared waits for the one fill of an image in s, and starts it where there is none.
func (fl *fills) fillShared(ctx context.Context, want wanted, s *store, who *waiter) (*filled, error) {
	key := flightKey{s.name, want.key}
	for {
		f, role := fl.board(key, want, s, who)
		if f == nil {
			return nil, &stepAside{reason: ReasonStopping, cause: ErrStopping}
		}
		who.boards(f)
		if role == dying {
			select {
			case <-f.done:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if who.background {
			fl.flights.leave(f, who, stayInBackground)
			return nil, &stepAside{reason: ReasonFilling, eta: f.progress("filling", fl.now()).ETA, detail: "the image is being cached in the background"}
		}
		leave, ok := who.places.enter()
		if !ok {
			fl.flights.leave(f, who, stayInBackground)
			return nil, &stepAside{reason: ReasonManyWaiting, eta: f.progress("filling", fl.now()).ETA, detail: "as many requests wait as may; the image is being cached in the background"}
		}
		err := fl.awaitFlight(ctx, f, who, role)
		leave()
		if err != nil {
			return nil, err
		}
		if role == joined && fl.flights.anothersFailure(f, who) {
			continue
		}
		if errors.Is(f.err, ErrTooSmall) && f.needs.Load() > 0 {
			return nil, want.fits(who.size, f.needs.Load()) // in its own words
		}
		if f.err != nil {
			return nil, f.err
		}
		return f.outcome(role), nil
	}
}

// outcome is what a waiter of a fill that went well gets. An entry that another process had filled is a hit, or
// joined where that was waited for; the one that started the fill has downloaded it.
func (f *flight) outcome(role boarding) *filled {
	out := &filled{entry: f.entry, role: Joined}
	if role == started && f.followed() == "" {
		out.role, out.downloaded, out.missed = Filled, f.downloaded, f.missed
		if f.downloaded == 0 && !f.local {
			out.role, out.missed = Hit, miss{}
		}
	}
	return out
}

// boarding is how a request came to its flight.
type boarding int

const (
	started boarding = iota + 1
	joined
	dying // it was cancelled; wait for its end and try again
)

// board joins the flight of a key, or starts it. It returns nil when the plugin is stopping.
func (fl *fills) board(key flightKey, want wanted, s *store, who *waiter) (*flight, boarding) {
	fl.flights.mu.Lock()
	defer fl.flights.mu.Unlock()
	f, ok := fl.flights.byKey[key]
	switch {
	case ok && f.leaving:
		return f, dying
	case ok:
		f.admit(who)
		return f, joined
	case fl.stopped():
		return nil, 0
	}
	f = &flight{key: key, imageID: want.image.Ref(), begun: fl.now(), done: make(chan struct{}), project: projectTurn{places: &fl.projects}}
	f.total.Store(want.image.SizeBytes)
	f.admit(who)
	ctx, cancel := context.WithCancel(fl.base)
	f.cancel = cancel
	fl.flights.byKey[key] = f
	fl.running.Add(1)
	s.fills.Add(1)
	go func() {
		defer fl.running.Done()
		defer s.fills.Add(-1)
		defer cancel()
		fl.fly(ctx, f, want, s)
	}()
	return f, started
}

// fly runs the fill and tells the waiters.
func (fl *fills) fly(ctx context.Context, f *flight, want wanted, s *store) {
	ctx = imagesource.WithTokens(ctx, func() imagesource.Token { return fl.flights.token(f) })
	f.entry, f.err = fl.fill(ctx, s, f, &want)
	switch {
	case f.err == nil && f.followed() == "":
		if !f.local {
			f.downloaded = f.read.Load()
		}
	case fl.stopped() && errors.Is(f.err, context.Canceled):
		f.err = &stepAside{reason: ReasonStopping, cause: ErrStopping}
	}
	background := fl.flights.land(f)
	if f.err != nil && background {
		fl.log.WithFields(want.fields(s)).WithError(f.err).Warn("background fill ended without an image-volume")
	}
	close(f.done)
	if background && errors.Is(f.err, imagesource.ErrChanged) {
		fl.fillAgain(ctx, want, s, f.project.whose())
	}
}

// fillAgain fills in the background once more, after the image changed while it was read.
func (fl *fills) fillAgain(ctx context.Context, want wanted, s *store, by ProjectID) {
	if want.anew {
		return
	}
	if err := want.lookAgain(ctx); err != nil {
		fl.log.WithFields(want.fields(s)).WithError(err).Warn("image not looked at again for a background fill")
		return
	}
	if e, ready := s.find(&want); ready && !outdated(e) {
		return
	}
	who := &waiter{token: imagesource.TokenOf(ctx), project: by, background: true}
	if f, role := fl.board(flightKey{s.name, want.key}, want, s, who); f != nil && role != dying {
		fl.flights.leave(f, who, stayInBackground)
	}
}

// land lets nobody join any more, and tells whether the fill was wanted in the background too. It may be
// repeated.
func (fl *flights) land(f *flight) (background bool) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.byKey[f.key] == f {
		delete(fl.byKey, f.key)
	}
	return f.background
}

// awaitFlight waits for the end of the fill, telling the caller how far it is.
func (fl *fills) awaitFlight(ctx context.Context, f *flight, who *waiter, role boarding) error {
	phase := func() string {
		if role == joined || f.followed() != "" {
			return "joined"
		}
		return "filling"
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		so := f.progress(phase(), fl.now())
		who.report(so)
		if who.missesAll(so, f.pace.lasts(), fl.now()) {
			fl.flights.leave(f, who, stayInBackground)
			return &stepAside{reason: ReasonDeadline, eta: so.ETA, detail: fmt.Sprintf("the image will be cached at about %s, after the deadline; that goes on in the background", so.ETA.Format(time.RFC3339))}
		}
		select {
		case <-f.done:
			who.report(f.progress(phase(), fl.now()))
			fl.flights.leave(f, who, leaveForGood)
			return nil
		case <-ctx.Done():
			fl.flights.leave(f, who, leaveForGood)
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// admit counts a waiter; flights.mu is held.
func (f *flight) admit(who *waiter) {
	f.waiters++
	f.largest = max(f.largest, who.size)
	f.anySize = f.anySize || who.size == 0
	f.project.want(who.project)
	if who.token != "" {
		f.callers = append(f.callers, who)
	}
}

// token is the one to act with now: of the first caller that is still there and has brought one.
func (fl *flights) token(f *flight) imagesource.Token {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if len(f.callers) == 0 {
		return ""
	}
	f.acting = f.callers[0]
	return f.acting.token
}

// anothersFailure tells that a fill ended by what is only another request's: the image's source refused its token, or
// its volume was too small. One that joined tries for itself then. The image and its source are the same for
// all who wait for a fill; so are the store, the room and the quota.
func (fl *flights) anothersFailure(f *flight, who *waiter) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	switch {
	case errors.Is(f.err, imagesource.ErrForbidden), errors.Is(f.err, imagesource.ErrNotFound):
		var acted imagesource.Token
		if f.acting != nil {
			acted = f.acting.token
		}
		return acted != who.token
	case errors.Is(f.err, ErrTooSmall):
		return who.size == 0 || who.size >= f.needs.Load()
	}
	return false
}

// largestVolume is the size that the image may have at most for anyone who waits; 0 is any.
func (fl *flights) largestVolume(f *flight) int64 {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if f.anySize {
		return 0
	}
	return f.largest
}

// leaving says whether a waiter that goes keeps the fill alive.
type leaving int

const (
	leaveForGood leaving = iota + 1
	stayInBackground
)

// leave counts a waiter out, and its token with it; the last one to go ends the fill, unless it goes on
// in the background.
func (fl *flights) leave(f *flight, who *waiter, how leaving) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	f.waiters--
	if how == leaveForGood {
		f.forsake(who)
	}
	if how == stayInBackground {
		f.goOnFor(who)
	}
	if f.waiters == 0 && !f.background {
		f.leaving = true
		f.cancel()
	}
}

// views are the flights of this process, those that wait for another one's fill among them.
func (fl *flights) views(now time.Time) []FillView {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	views := make([]FillView, 0, len(fl.byKey))
	for _, f := range fl.byKey {
		if f.begun.IsZero() { // its key is closed
			continue
		}
		views = append(views, f.view(now))
	}
	return views
}

// view is the flight as people see it; flights.mu is held.
func (f *flight) view(now time.Time) FillView {
	id, _ := f.entryID.Load().(catalog.EntryID)
	read, total := f.read.Load(), f.total.Load()
	return FillView{
		EntryID: string(id), Backend: f.key.store, ImageID: f.imageID, Waiters: f.waiters,
		ReadBytes: read, TotalBytes: total, WrittenBytes: f.written.Load(), StartedAt: f.begun,
		Rate: f.pace.rate(now), ETA: f.pace.eta(now, read, total), WaitsFor: f.waitsFor(),
	}
}

// soFar is how far the fill is, for others.
func (f *flight) soFar() catalog.FillProgress {
	return catalog.FillProgress{Read: f.read.Load(), Written: f.written.Load(), Total: f.total.Load()}
}

// fills tells whether a flight other than the given one fills that row. The caller holds the store's reserving.
func (fl *flights) fills(id catalog.EntryID, but *flight) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, f := range fl.byKey {
		if f != but && f.entryID.Load() == id {
			return true
		}
	}
	return false
}

// flies tells whether an image is being filled.
func (fl *flights) flies(key flightKey) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	f, ok := fl.byKey[key]
	return ok && !f.leaving
}

// bytesRead is how much of an entry's image has been read, while it is filling here.
func (fl *flights) bytesRead(id catalog.EntryID) int64 {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, f := range fl.byKey {
		if f.entryID.Load() == id {
			return f.read.Load()
		}
	}
	return 0
}
