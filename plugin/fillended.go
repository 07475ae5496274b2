package plugin

import (
	"fmt"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// recordFill notes how a fill went, for the report.
func (p *Plugin) recordFill(w *filling, e catalog.Entry, err error) {
	took := p.now().Sub(w.begun)
	if !w.slot.taken { // it ended before its turn
		p.observer.FillStarted(w.store.name)
	}
	p.observer.FillEnded(w.store.name, took, err)
	p.observer.Downloaded(w.store.name, w.downloaded.Load())
	p.reached(w.store, err)
	r := catalog.FillRecord{
		At: p.now().UTC(), Store: w.store.id(), ImageID: w.want.image.Ref(), Took: took,
		SourceBytes: w.downloaded.Load(), WrittenBytes: w.flight.written.Load(),
	}
	log := p.log.WithFields(w.want.fields(w.store)).WithFields(map[string]any{"took": took.Round(time.Millisecond), "attempt": w.entry.Attempt})
	if err != nil {
		r.Error = err.Error()
		p.books.noteEntry(EventFillFailed, w.entry, catalog.Event{ImageID: r.ImageID, Reason: failure(err), Detail: r.Error, Took: took})
		log.WithError(err).Warn("image-volume not made")
	} else {
		log = log.WithFields(map[string]any{"image_volume": e.ImageVolume, "bytes": e.HeldBytes})
		filled := catalog.Event{ImageID: r.ImageID, Bytes: e.HeldBytes, Took: took}
		if w.flight.missed.cause == MissSameContent {
			filled.Detail = fmt.Sprintf("image-volume %s had the content already; nothing was made", e.ImageVolume)
			log.Info("the image's content was cached already; no image-volume was made")
		} else {
			log.Info("image-volume ready")
		}
		p.books.noteEntry(EventFilled, e, filled)
	}
	ctx, cancel := p.cleanup(p.base)
	defer cancel()
	if err := p.catalog.RecordFill(ctx, r); err != nil {
		p.log.WithError(err).Warn("fill not counted; the report will lack it")
	}
}
