package plugin

import (
	"sync"

	"golang.org/x/sync/singleflight"

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

	scratch   diskimage.Scratch // from the start on
	flights   flights
	fillSlots chan struct{}      // places for those that read and write
	running   sync.WaitGroup     // flights
	renewing  singleflight.Group // entries that are inspected again
}

func newFills(h *house, b *books, k *stock) *fills {
	fl := &fills{
		house: h, books: b, stock: k,
		flights:   flights{byKey: make(map[flightKey]*flight), turns: make(map[*store]turnstile)},
		fillSlots: make(chan struct{}, h.cfg.FillLimit),
	}
	for _, s := range k.orderedStores() {
		fl.flights.turns[s] = make(turnstile, 1)
	}
	return fl
}
