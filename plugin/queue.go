package plugin

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

const (
	// queueAttempts is how often an image is tried before somebody has to say that it is worth another try.
	queueAttempts = 12
	// longestRetry bounds the time between two attempts.
	longestRetry = 15 * time.Minute
	// keepDone is how long what was done is shown.
	keepDone = time.Hour
)

// queue has images cached ahead of their first request: what is asked for waits in the catalog, and is filled whenever a
// place among the fills is free, by whichever daemon takes it first.
//
// It makes no image-volume itself: it waits for fills like any request, and joins the one that is in flight. It never takes the
// place of a request that waits for one. What it works on is under this process's lease; a crash leaves a row that the
// next start, or another daemon once the lease has run out, takes up again.
type queue struct {
	*house
	stock   *stock
	fills   *fills
	sources *sources
	gate    *gate

	keeper *keeper

	added   chan struct{} // something may be taken
	groups  atomic.Pointer[[]GroupConfig]
	mu      sync.Mutex // guards what follows
	workers int
	reading map[string]int           // workers by the source of their image
	filling map[backends.StoreID]int // workers by the store that they fill
	going   map[catalog.QueueID]*job
}

func newQueue(h *house, b *books, k *stock, fl *fills, sources *sources, g *gate) *queue {
	q := &queue{
		house: h, stock: k, fills: fl, sources: sources, gate: g,
		added: make(chan struct{}, 1), reading: make(map[string]int), filling: make(map[backends.StoreID]int), going: make(map[catalog.QueueID]*job),
	}
	q.setGroups(h.cfg.Groups)
	q.keeper = newKeeper(h, b, k, fl, sources, q)
	return q
}

// following is who has images cached that the configuration names.
func (q *queue) following() *keeper { return q.keeper }

// setGroups are the groups of backends from now on; it returns those of before.
func (q *queue) setGroups(all []GroupConfig) (was []GroupConfig) {
	if before := q.groups.Swap(&all); before != nil {
		was = *before
	}
	return was
}

// job is a row that this process works on.
type job struct {
	row    catalog.Queued
	ctx    context.Context //nolint:containedctx // of the row's work, which lasts as long as the job
	cancel context.CancelCauseFunc
	before *job // of the same row, which this process has lost since and still works on; nil: none

	mu sync.Mutex // guards so
	so Progress
}

// newJob is to end with ctx at the latest.
func newJob(ctx context.Context, row catalog.Queued) *job {
	j := &job{row: row, so: Progress{TotalBytes: -1}}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	return j
}

// report notes how far the fill is.
func (j *job) report(so Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.so = so
}

func (j *job) soFar() Progress {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.so
}

// errRowLost ends the work on a row that was deleted, or that another daemon has by now.
var errRowLost = errors.New("the image is in the queue no more, or another daemon works on it")

// due tells when to look at the queue at once.
func (q *queue) due() <-chan struct{} { return q.added }

// poke lets the queue be looked at soon.
func (q *queue) poke() {
	select {
	case q.added <- struct{}{}:
	default:
	}
}

// resume takes up what an earlier process on this state directory worked on.
func (q *queue) resume(ctx context.Context) error {
	if err := q.catalog.ResumeQueue(ctx, q.holder); err != nil {
		return err
	}
	q.poke()
	return nil
}

// tend forgets rows that ended long ago.
func (q *queue) tend(ctx context.Context) {
	for state, keep := range map[catalog.QueueState]time.Duration{catalog.QueueDone: keepDone, catalog.QueueFailed: q.cfg.KeepFailed} {
		if _, err := q.catalog.ExpireQueue(ctx, state, q.catalogTime().Add(-keep)); err != nil && ctx.Err() == nil {
			q.log.WithError(err).Warn("ended rows of the queue not expired; trying again")
		}
	}
}

// dispatch begins to work on what is next, as long as there is a place for a fill.
func (q *queue) dispatch(ctx context.Context) {
	for q.fills.idle() {
		if !q.enter() {
			return
		}
		if !q.beginNext(ctx) {
			q.leave()
			return
		}
	}
}

// enter counts a worker in, if there are fewer than fills may go on.
func (q *queue) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.workers >= q.fills.limit() {
		return false
	}
	q.workers++
	return true
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.workers--
}

// beginNext begins to work on what is next, in a place that the caller has taken; false: nothing is to be done.
func (q *queue) beginNext(ctx context.Context) bool {
	leave, open := q.gate.enter()
	if !open {
		return false
	}
	rows, err := q.catalog.TakeQueued(ctx, q.holder, q.cfg.LeaseFor, q.crowded())
	if err != nil && ctx.Err() == nil && !errors.Is(err, catalog.ErrUnavailable) { // which is said once, for all
		q.log.WithError(err).Warn("queue not looked at; trying again")
	}
	if len(rows) == 0 {
		leave()
		return false
	}
	q.reads(rows[0].Image, 1)
	go func() {
		defer func() {
			q.reads(rows[0].Image, -1)
			q.leave()
			q.poke()
			leave()
		}()
		q.work(rows)
	}()
	return true
}

// work has one image filled into the stores of its rows, one after the other, each when it has a place to give. Those that have none
// once the others are filled go back to the queue: the worker waits for nobody.
func (q *queue) work(rows []catalog.Queued) {
	slices.SortStableFunc(rows, bytesFirst)
	jobs := q.begin(rows)
	stop := q.keepLeases(jobs)
	defer stop()
	shared := q.fills.spooling()
	defer shared.close()
	several, kept := len(jobs) > 1, false // kept: of the image, so that nothing need be spooled for others
	for len(jobs) > 0 {
		j, ok := q.enterAny(jobs)
		if !ok {
			break
		}
		entry, err := catalog.Entry{}, error(ErrStopping)
		asItIs := j.row.Form == backends.Source
		if q.gate.open() {
			entry, err = q.attempt(j, shared, several && !asItIs && !kept)
		}
		kept = kept || asItIs && err == nil
		q.leaveStore(j)
		q.finish(j, entry, err)
		q.poke()
		jobs = slices.DeleteFunc(slices.Clone(jobs), func(o *job) bool { return o == j })
	}
	for _, j := range jobs {
		q.finish(j, catalog.Entry{}, errNoPlace)
	}
}

func (q *queue) begin(rows []catalog.Queued) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs := make([]*job, 0, len(rows))
	for _, row := range rows {
		j := newJob(q.base, row)
		j.before = q.going[row.ID] // the process was stopped, or a clock was set, for longer than a lease
		q.going[row.ID] = j
		jobs = append(jobs, j)
	}
	return jobs
}

// cancelled ends the work on rows that were deleted; none means all.
func (q *queue) cancelled(ids ...catalog.QueueID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, j := range q.going {
		if len(ids) > 0 && ids[0] != id {
			continue
		}
		for ; j != nil; j = j.before {
			j.cancel(errRowLost)
		}
	}
}

// working is the job of a row; nil: this process does not work on it.
func (q *queue) working(id catalog.QueueID) *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.going[id]
}

// keepLeases renews the leases of jobs that go on, until stop is called, which waits for it. Work on a row that is lost,
// or whose lease could not be renewed before it ran out, ends.
func (q *queue) keepLeases(jobs []*job) (stop func()) {
	done, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(q.cfg.LeaseFor / 3)
		defer tick.Stop()
		renewed := time.Now()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			ok := true
			for _, j := range jobs {
				ok = q.keepLease(j, time.Since(renewed)) && ok
			}
			if ok {
				renewed = time.Now()
			}
		}
	}()
	return func() { close(end); <-done }
}

// keepLease renews one lease; since is the age of the last renewal.
func (q *queue) keepLease(j *job, since time.Duration) bool {
	if q.working(j.row.ID) != j {
		return true // it has ended
	}
	so := j.soFar()
	err := q.catalog.KeepQueued(j.ctx, j.row, q.holder, q.cfg.LeaseFor, catalog.FillProgress{Read: so.ReadBytes, Total: so.TotalBytes})
	if errors.Is(err, catalog.ErrNotQueued) && q.working(j.row.ID) == j || err != nil && since > q.cfg.LeaseFor {
		j.cancel(errRowLost)
	}
	return err == nil
}

// pin pins what a job has cached, for whoever wants that.
func (q *queue) pin(j *job, entry catalog.Entry) error {
	if j.row.PinByRule {
		return q.stock.pinByRule(j.ctx, entry.ID)
	}
	_, err := q.stock.pin(j.ctx, string(entry.ID), true)
	return err
}

// finish notes what became of a job.
func (q *queue) finish(j *job, entry catalog.Entry, err error) {
	defer j.cancel(nil)
	if err == nil && j.row.Pin {
		err = q.pin(j, entry)
	}
	lost := errors.Is(context.Cause(j.ctx), errRowLost)
	q.mu.Lock()
	if q.going[j.row.ID] == j { // else it was taken anew
		delete(q.going, j.row.ID) // before the row has ended, so that no lease is looked for any more
	}
	q.mu.Unlock()
	log := q.log.WithFields(map[string]any{"backend": q.stock.label(j.row.Store), "image": j.row.Image, "attempt": j.row.Attempts})
	if lost {
		log.Info("image is not cached ahead any more")
		return
	}
	end := q.endOf(j, entry, err)
	if err != nil && !end.Uncounted {
		log.WithError(err).WithField("state", end.State).Warn("image not cached ahead")
	}
	ctx, cancel := q.cleanup(q.base)
	defer cancel()
	if err := q.catalog.EndQueued(ctx, j.row, q.holder, end); err != nil && !errors.Is(err, catalog.ErrNotQueued) {
		log.WithError(err).Warn("end of a queued fill not noted; it is looked at again")
	}
}

// endOf is what an attempt that came to err has the row become.
func (q *queue) endOf(j *job, entry catalog.Entry, err error) catalog.QueueEnd {
	why, aside := steppedAside(classify(err))
	switch {
	case err == nil:
		return catalog.QueueEnd{State: catalog.QueueDone, Entry: entry.ID}
	case errors.Is(err, errNoPlace), q.stopped(), aside && why.reason == ReasonStopping:
		return catalog.QueueEnd{State: catalog.QueueWaiting, Error: j.row.LastError, Uncounted: true}
	case aside && why.reason == ReasonDisabled:
		return catalog.QueueEnd{State: catalog.QueueWaiting, Error: err.Error(), Again: retryIn(q.cfg.RetryAfter, 1), Uncounted: true}
	case hopeless(err), j.row.Attempts >= queueAttempts:
		return catalog.QueueEnd{State: catalog.QueueFailed, Error: err.Error()}
	}
	return catalog.QueueEnd{State: catalog.QueueWaiting, Error: err.Error(), Again: retryIn(q.cfg.RetryAfter, j.row.Attempts)}
}

// retryIn is how long the next attempt waits after so many: longer each time, and not all at one moment.
func retryIn(first time.Duration, attempts int) time.Duration {
	wait := first
	for range min(attempts-1, queueAttempts) {
		wait = min(2*wait, longestRetry)
	}
	return wait*3/4 + rand.N(wait/2+1)
}

// errNoStore: the store of a row is not configured any more.
var errNoStore = errors.New("its backend is not in the configuration any more")

// hopeless tells of errors that another attempt meets again, unless somebody changes something.
func hopeless(err error) bool {
	if why, aside := steppedAside(classify(err)); aside {
		return why.reason == ReasonTooLarge || why.reason == ReasonCannotClone || errors.Is(err, errNoStore)
	}
	for _, passing := range []error{
		context.Canceled, context.DeadlineExceeded,
		imagesource.ErrUnavailable, imagesource.ErrChanged, imagesource.ErrTruncated, imagesource.ErrNotActive,
	} {
		if errors.Is(classify(err), passing) {
			return false
		}
	}
	return true
}
