package plugin

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

const (
	// cleanTick is how often it is looked whether cleaning is due.
	cleanTick = time.Minute
	// cleanJitter is the share of clean_every by which it comes later at random: hosts that were started together do not
	// look together.
	cleanJitter = 10
	// cleanAgain is when it is looked again where something did not answer.
	cleanAgain = 10 * time.Minute
	// looksPerSecond is how many image-volumes of a store are looked at in a second: a pool of 10,000 takes 40 s.
	looksPerSecond = 250
)

// janitor looks from time to time for orphans: image-volumes and claims that no entry names, and entries whose image-volumes
// are gone. It mends nothing itself: where it finds a difference, all is reconciled, by the rules of a start.
//
// It looks slowly, holds nothing up meanwhile, and keeps no turn. Of several daemons on a catalog one looks at a store each
// time. A crash leaves nothing: who comes next looks.
type janitor struct {
	*house
	rec *reconciler

	mu    sync.Mutex
	every time.Duration // 0: never
	last  time.Time     // when all was looked at, also by a start
	next  time.Time
}

func newJanitor(h *house, rec *reconciler) *janitor {
	j := &janitor{house: h, rec: rec, last: h.now()}
	j.set(h.cfg.CleanEvery)
	return j
}

// cleans is what looks for orphans.
func (rec *reconciler) cleans() *janitor { return rec.janitor }

// set is how often it looks from now on; not positive: never. What is due by that is done within a minute.
func (j *janitor) set(every time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if every = max(every, 0); every != j.every || j.next.IsZero() {
		j.every, j.next = every, j.last.Add(jittered(every))
	}
}

// jittered is that long, or somewhat longer.
func jittered(every time.Duration) time.Duration {
	return every + rand.N(every/cleanJitter+1)
}

// due is how often it looks, if it is time to.
func (j *janitor) due() (every time.Duration, due bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.every, j.every > 0 && !j.now().Before(j.next)
}

// run looks, if that is due, and lets what it finds be mended.
func (j *janitor) run(ctx context.Context) {
	every, due := j.due()
	if !due || j.catalogAway() != nil {
		return
	}
	looked := j.now()
	differ, err := j.look(ctx, every)
	if differ && ctx.Err() == nil {
		j.mend(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	wait := jittered(j.every)
	if err != nil {
		j.log.WithError(err).Warn("orphans not looked for everywhere; trying again")
		j.next = j.now().Add(min(wait, cleanAgain))
		return
	}
	j.last, j.next = looked, looked.Add(wait)
}

// mend reconciles all.
func (j *janitor) mend(ctx context.Context) {
	j.log.Info("image-volumes, entries and claims do not agree; they are reconciled")
	if err := j.rec.reconcile(ctx); err != nil && ctx.Err() == nil {
		j.log.WithError(err).Warn("orphans not cleaned; trying again")
		j.rec.leftOut() // which comes within a minute
	}
}

// look tells whether something does not agree on a store, or of the claims, that no other daemon looks at, or has looked at
// within every. A store that is known not to answer is reconciled once it does, and is left out here. The error is of what did
// not answer; what did is told all the same.
func (j *janitor) look(ctx context.Context, every time.Duration) (bool, error) {
	var differ bool
	var problems []error
	for _, s := range j.rec.stock.orderedStores() {
		if !s.sure() || s.down() != nil {
			continue
		}
		_, err := j.onDuty(ctx, dutyWanted{duty: catalog.DutyClean, store: s.id(), every: every}, func(ctx context.Context) error {
			differs, err := j.differs(ctx, s)
			differ = differ || differs
			return err
		})
		problems = append(problems, err)
	}
	_, err := j.onDuty(ctx, dutyWanted{duty: catalog.DutyClean, every: every}, func(ctx context.Context) error {
		differs, err := j.claimsDiffer(ctx)
		differ = differ || differs
		return errors.Join(err, j.catalog.Prune(ctx, j.catalogTime().Add(-j.cfg.ReportRetention)))
	})
	return differ, errors.Join(append(problems, err)...)
}

// differs lists the rows of a store, then the store, slowly, then the rows again. What has come or gone meanwhile is no
// difference: an image-volume is unknown if no row named it before and after, and missing if a row named it both times.
func (j *janitor) differs(ctx context.Context, s *store) (bool, error) {
	before, err := j.named(ctx, s)
	if err != nil {
		return false, err
	}
	held, unread := map[backends.ImageVolumeID]bool{}, map[backends.ImageVolumeID]bool{}
	pace := unhurried{each: time.Second / looksPerSecond}
	for iv, err := range s.images.ListImageVolumes(ctx) {
		switch {
		case err != nil && iv.ID == "":
			return false, err
		case err != nil && !errors.Is(err, backends.ErrNotExist):
			unread[iv.ID] = true
		default:
			held[iv.ID] = err == nil && iv.State == backends.Committed
		}
		if err := pace.rest(ctx); err != nil {
			return false, err
		}
	}
	after, err := j.named(ctx, s)
	if err != nil {
		return false, err
	}
	for id := range held {
		if _, was := before[id]; !was {
			if _, is := after[id]; !is {
				return true, ctx.Err()
			}
		}
	}
	for id, state := range after {
		if state == catalog.Ready && before[id] == state && !held[id] && !unread[id] {
			return true, ctx.Err()
		}
	}
	return false, ctx.Err()
}

// named are the image-volumes that a store's rows name, and the states of these.
func (j *janitor) named(ctx context.Context, s *store) (map[backends.ImageVolumeID]catalog.State, error) {
	rows, err := j.catalog.List(ctx, catalog.Filter{Store: s.id()})
	named := make(map[backends.ImageVolumeID]catalog.State, len(rows))
	for _, e := range rows {
		named[e.ImageVolume] = e.State
	}
	return named, err
}

// claimsDiffer tells whether something is charged for nothing, or not at all. What waits for a backend that is not configured does
// not count: it would be found each time.
func (j *janitor) claimsDiffer(ctx context.Context) (bool, error) {
	findings, err := j.rec.surveyor.surveyClaims(ctx, nil)
	for _, f := range findings {
		if f.fix != nil && !f.waits {
			return true, err
		}
	}
	return false, err
}

// unhurried lets a loop take its time.
type unhurried struct {
	each time.Duration // of one round
	owed time.Duration
}

// rest is called once a round. The error is ctx's.
func (u *unhurried) rest(ctx context.Context) error {
	if u.owed += u.each; u.owed < shortestRest {
		return nil
	}
	timer := time.NewTimer(u.owed)
	defer timer.Stop()
	u.owed = 0
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CleaningView is how it is looked for orphans.
type CleaningView struct {
	Every  int64      `json:"every_seconds" doc:"How often (clean_every); 0: not by itself"`
	LastAt time.Time  `json:"last_at" doc:"When this daemon did so last, its start counts; of several daemons another one may have been later"`
	NextAt *time.Time `json:"next_at" doc:"When it will be looked whether that is due; null: never"`
}

func (j *janitor) view() CleaningView {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := CleaningView{Every: int64(j.every / time.Second), LastAt: j.last.UTC()}
	if next := j.next.UTC(); j.every > 0 {
		v.NextAt = &next
	}
	return v
}
