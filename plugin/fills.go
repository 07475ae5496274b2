package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// fills make image-volumes: one at a time for each image and store in this process, and by the row's lease among all
// processes on the catalog. Those who want the same image wait for the one fill.
//
// They know no volume: who wants an image cached says which, and where. They never write what was not reserved, never
// name what is not durable, and never publish what was not verified. Whatever goes wrong, nothing is left of a fill, or
// its row stays and says what is; a crash leaves a row under this process's lease, which the next start ends.
type fills struct {
	*house
	books *books
	stock *stock

	scratch  diskimage.Scratch // from the start on
	flights  flights
	line     *line              // who waits for a place
	places   *slot              // for those that read and write
	keeping  *slot              // of these, for images that are kept as they are
	limits   sourceLimits       // of what is asked of image sources
	projects projectPlaces      // before all others
	running  sync.WaitGroup     // flights
	renewing singleflight.Group // entries that are inspected again
	patience time.Duration      // with image-volumes that are read in place of their source
}

func newFills(h *house, b *books, k *stock) (*fills, error) {
	if err := checkSourceLimits(h.cfg.SourceLimits); err != nil {
		return nil, err
	}
	if h.cfg.ProjectFillLimit < 0 {
		return nil, fmt.Errorf("%w: ProjectFillLimit is negative", ErrBadRequest)
	}
	fl := &fills{
		house: h, books: b, stock: k,
		flights: flights{byKey: make(map[flightKey]*flight)},
		line:    new(line), patience: diskPatience,
	}
	fl.places, fl.keeping = fl.line.slot(h.cfg.FillLimit), fl.line.slot(keepingShare(h.cfg.FillLimit))
	fl.projects = projectPlaces{most: h.cfg.ProjectFillLimit, taken: make(map[ProjectID]int)}
	fl.limits.line = fl.line
	fl.limits.set(h.cfg.SourceLimits)
	return fl, nil
}

// open makes the scratch space.
func (fl *fills) open() (err error) {
	fl.scratch, err = diskimage.NewDirScratch(fl.cfg.ScratchDir, fl.cfg.ScratchMaxBytes)
	return err
}

// wait returns when no fill is in flight; nobody may begin one by then.
func (fl *fills) wait() { fl.running.Wait() }

// fetches tells whether an image is being filled into a store.
func (fl *fills) fetches(s *store, want *wanted) bool {
	return fl.flights.flies(flightKey{s.name, want.key})
}

// here are the images that are waited for in this process.
func (fl *fills) here() []FillView { return fl.flights.views(fl.now()) }

// bytesRead is how much of an entry's image has been read, while it is filling here.
func (fl *fills) bytesRead(id catalog.EntryID) int64 { return fl.flights.bytesRead(id) }

// spooling is a download that several fills of one image may share, one after the other.
func (fl *fills) spooling() *sharedDownload { return &sharedDownload{scratch: fl.scratch} }

// tend ends what fills have left: rows that nobody works on, failures that were kept long enough.
func (fl *fills) tend(ctx context.Context) {
	fl.seizeAll(ctx)
	fl.endAllStranded(ctx)
	fl.expireFailed(ctx)
}
