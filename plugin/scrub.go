package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

const (
	// scrubTick is how often it is looked for what is due.
	scrubTick = time.Minute
	// scrubStint is how long one pass over a store goes on before others have their turn; the image-volume that is read
	// then is read to its end.
	scrubStint = 10 * time.Minute
	// restsAfterFault is how long an image-volume that could not be read is left alone.
	restsAfterFault = time.Hour
	// forgetsFault is how long a fault in reading counts with the next one.
	forgetsFault = 24 * restsAfterFault
	// mostUnread is how many readings in a row the disk may refuse before an image-volume counts as damaged.
	mostUnread = 2
)

// fault is what came of reading an image-volume that could not be read.
type fault struct {
	at     time.Time
	unread int // readings in a row that the disk refused
}

// scrubber reads image-volumes back, those that have waited longest first, and puts into quarantine what is not what was
// written. It reads one at a time of each store, and no longer than its share of the time.
//
// It removes nothing, and what it could not read it leaves as it is, for later; what the disk refuses to give twice, an hour
// apart, is damaged too. Of several daemons on a catalog one reads a
// store. A crash leaves nothing: what was read to its end is noted, the rest is due still.
type scrubber struct {
	*house
	books *books
	stock *stock

	every time.Duration // 0: never by itself
	share int           // percent of the time

	mu     sync.Mutex
	faulty map[catalog.EntryID]fault // those that could not be read
}

// newScrubber goes by the configuration.
func newScrubber(h *house, b *books, k *stock) *scrubber {
	return &scrubber{house: h, books: b, stock: k, every: max(h.cfg.ScrubEvery, 0), share: h.cfg.ScrubShare, faulty: make(map[catalog.EntryID]fault)}
}

// scrubs is what reads image-volumes back.
func (rec *reconciler) scrubs() *scrubber { return rec.scrubber }

// run reads what is due, on all stores at once.
func (sc *scrubber) run(ctx context.Context) {
	if sc.every == 0 || sc.catalogAway() != nil {
		return
	}
	var stores errgroup.Group
	for _, s := range sc.stock.orderedStores() {
		if _, readable := backends.Capability[backends.ImageVolumeReader](s.images); !readable || !s.served() {
			continue
		}
		stores.Go(func() error {
			if err := sc.runStore(ctx, s); err != nil && ctx.Err() == nil {
				sc.log.WithField("backend", s.name).WithError(err).Warn("image-volumes not read back; trying again")
			}
			return nil
		})
	}
	_ = stores.Wait() // they return none
}

// runStore reads what is due of one store, unless another daemon is at it. Where nothing is due, no lease is taken.
func (sc *scrubber) runStore(ctx context.Context, s *store) error {
	since := sc.catalogTime().Add(-sc.every)
	due, err := sc.due(ctx, s, since)
	if err != nil || len(due) == 0 {
		return err
	}
	_, err = sc.onDuty(ctx, dutyWanted{duty: catalog.DutyScrub, store: s.id()}, func(ctx context.Context) error {
		until := sc.now().Add(scrubStint)
		for sc.now().Before(until) {
			due, err := sc.due(ctx, s, since)
			if err != nil || len(due) == 0 || !s.served() {
				return err
			}
			if _, err := sc.readBack(ctx, s, due[0], sc.share, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// due are the next ones that were not read since that time, but for those that could not be read not long ago.
func (sc *scrubber) due(ctx context.Context, s *store, since time.Time) ([]catalog.Entry, error) {
	now := sc.catalogTime()
	sc.mu.Lock()
	rest := make(map[catalog.EntryID]bool, len(sc.faulty))
	for id, f := range sc.faulty {
		switch ago := now.Sub(f.at); {
		case ago < restsAfterFault:
			rest[id] = true
		case ago > forgetsFault:
			delete(sc.faulty, id)
		}
	}
	sc.mu.Unlock()
	all, err := sc.catalog.DueForScrub(ctx, s.id(), since, len(rest)+1)
	if err != nil {
		return nil, err
	}
	var due []catalog.Entry
	for _, e := range all {
		if !rest[e.ID] {
			due = append(due, e)
		}
	}
	return due, nil
}

// readingBack is what came of reading one image-volume.
type readingBack int

const (
	readRight   readingBack = iota + 1
	readDamaged             // it is in quarantine now
	readNot                 // it went meanwhile, or cannot be read now
)

// errNotReadBack: an entry went, or was changed, while its image-volume was read.
var errNotReadBack = errors.New("the entry has gone meanwhile")

// readBack reads an entry's image-volume in a share of the time, in percent, and notes what came of it. What is wrong is
// read a second time: a fault in reading is no fault of what is read.
func (sc *scrubber) readBack(ctx context.Context, s *store, e catalog.Entry, share int, progress func(int64)) (readingBack, error) {
	read, err := sc.stock.readThrough(ctx, s, e, share, progress)
	if err == nil && read.wrong != "" || errors.Is(err, errUnread) {
		read, err = sc.stock.readThrough(ctx, s, e, share, progress)
	}
	switch {
	case ctx.Err() != nil:
		return readNot, ctx.Err()
	case errors.Is(err, errNotReadBack), errors.Is(err, backends.ErrNotExist):
		sc.rest(e.ID) // where the entry is there still, it would be the next one that is due again
		return readNot, nil
	case errors.Is(err, errUnread) && sc.unread(ctx, s, e) >= mostUnread:
		_, err = sc.stock.quarantine(ctx, s, e, err.Error())
		return readDamaged, gone(err)
	case err != nil:
		sc.rest(e.ID)
		sc.log.WithFields(map[string]any{"backend": s.name, "image_volume": e.ImageVolume}).WithError(err).Warn("image-volume not read back; trying again later")
		return readNot, nil
	case read.wrong != "":
		_, err = sc.stock.quarantine(ctx, s, e, read.wrong)
		return readDamaged, gone(err)
	}
	sc.mu.Lock()
	delete(sc.faulty, e.ID)
	sc.mu.Unlock()
	return readRight, gone(sc.catalog.SetVerified(ctx, e, read.sum))
}

// gone leaves out that an entry went meanwhile.
func gone(err error) error {
	if isGone(err) {
		return nil
	}
	return err
}

func (sc *scrubber) rest(id catalog.EntryID) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	f := sc.faulty[id]
	f.at = sc.catalogTime()
	sc.faulty[id] = f
}

// unread counts a reading that the disk refused, and says how many these are by now. Where the store as a whole does not
// answer, it is no fault of the image-volume's.
func (sc *scrubber) unread(ctx context.Context, s *store, e catalog.Entry) int {
	if _, err := s.images.Capacity(ctx); err != nil {
		return 0
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	f := sc.faulty[e.ID]
	f.unread++
	sc.faulty[e.ID] = f
	return f.unread
}

// readThrough reads an entry's image-volume from end to end, in a share of the time, in percent. errNotReadBack.
func (k *stock) readThrough(ctx context.Context, s *store, e catalog.Entry, share int, progress func(int64)) (contentRead, error) {
	iv, err := findImageVolume(ctx, s, e.ImageVolume)
	if err != nil {
		return contentRead{}, err
	}
	if iv.State != backends.Committed {
		return contentRead{}, errNotReadBack // the reconcile sees to that
	}
	reader, _ := backends.Capability[backends.ImageVolumeReader](s.images)
	slow := &slowReader{ImageVolumeReader: reader, share: share, progress: progress, still: func(ctx context.Context) error {
		now, err := k.catalog.Get(ctx, e.ID)
		if errors.Is(err, catalog.ErrNotFound) || err == nil && (now.State != catalog.Ready || now.ImageVolume != e.ImageVolume) {
			return errNotReadBack
		}
		if err != nil { // whatever it is, the content is not why
			return fmt.Errorf("%w: %w", catalog.ErrUnavailable, err)
		}
		return nil
	}}
	return readContentOf(ctx, k.catalog, slow, iv)
}

// ScrubRequest says what Scrub reads.
type ScrubRequest struct {
	Backend backends.Name // or file cache; "": all
	Share   int           // percent of the time; 0: as configured
	// Progress, if not nil, is told how many bytes were read.
	Progress func(readBytes, totalBytes int64)
}

// ScrubResult is what Scrub found.
type ScrubResult struct {
	Entries     int               `json:"entries" doc:"Image-volumes that were read from end to end"`
	Quarantined []EntryView       `json:"quarantined" doc:"Those that are in quarantine, by this scrub or an earlier one, on the backends that were read"`
	Unread      int               `json:"unread" doc:"Those that went meanwhile, or could not be read now; the log says why"`
	Unavailable []UnavailableView `json:"unavailable" doc:"Backends that were left out, since they do not answer, are out of use, or cannot be read back"`
}

// Scrub reads the image-volumes of the stores that this daemon has, whether they are due or not, and puts into quarantine
// what is not what was written. The end of ctx ends it. ErrUnknownBackend, ErrBadRequest.
func (c Controls) Scrub(ctx context.Context, r ScrubRequest) (ScrubResult, error) {
	sc := c.p.reconciler.scrubs()
	result := ScrubResult{Quarantined: []EntryView{}, Unavailable: []UnavailableView{}}
	if r.Share < 0 || r.Share > 100 {
		return result, fmt.Errorf("%w: share: %d is no percentage from 1 to 100", ErrBadRequest, r.Share)
	}
	setDefault(&r.Share, sc.share)
	stores := sc.stock.orderedStores()
	if r.Backend != "" {
		s, err := sc.stock.anyNamed(r.Backend)
		if err != nil {
			return result, err
		}
		stores = []*store{s}
	}
	defer sc.books.writeNow(ctx)
	for _, s := range stores {
		if err := sc.scrubAll(ctx, s, r, &result); err != nil {
			return result, err
		}
	}
	return result, sc.addQuarantined(ctx, stores, &result)
}

// scrubAll reads all of one store.
func (sc *scrubber) scrubAll(ctx context.Context, s *store, r ScrubRequest, result *ScrubResult) error {
	if sc.stock.leaveUnused(&result.Unavailable, s) {
		return nil
	}
	if err := sc.stock.ensure(ctx, s); err != nil {
		if sc.stock.leaveOut(&result.Unavailable, s, err) {
			return nil
		}
		return err
	}
	if _, readable := backends.Capability[backends.ImageVolumeReader](s.images); !readable {
		result.Unavailable = append(result.Unavailable, UnavailableView{Name: s.name, Since: sc.now().UTC(), Error: "its image-volumes cannot be read back"})
		return nil
	}
	all, err := sc.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Ready}})
	if err != nil {
		return err
	}
	var total, done int64
	for _, e := range all {
		total += e.HeldBytes
	}
	for _, e := range all {
		if !e.Serves() {
			continue
		}
		came, err := sc.readBack(ctx, s, e, r.Share, func(read int64) {
			if r.Progress != nil {
				r.Progress(done+min(read, e.HeldBytes), total)
			}
		})
		if err != nil {
			return err
		}
		done += e.HeldBytes
		if came == readNot {
			result.Unread++
		} else {
			result.Entries++
		}
	}
	return nil
}

// addQuarantined adds what is in quarantine on these stores.
func (sc *scrubber) addQuarantined(ctx context.Context, stores []*store, result *ScrubResult) error {
	all, err := sc.catalog.Quarantined(ctx)
	for _, e := range all {
		for _, s := range stores {
			if e.Store == s.id() {
				result.Quarantined = append(result.Quarantined, sc.stock.fullView(ctx, e))
			}
		}
	}
	return err
}
