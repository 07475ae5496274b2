package plugin

import (
	"fmt"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// recordFill notes how a fill went, for the report.
func (fl *fills) recordFill(w *filling, e catalog.Entry, err error) {
	took, err := fl.now().Sub(w.begun), classify(err)
	if !w.turn.has() { // it ended before its turn
		fl.observer.FillStarted(w.store.name)
	}
	fl.observer.FillEnded(w.store.name, took, err)
	if err == nil {
		fl.observer.FillSpent(w.store.name, w.phases)
	}
	fl.observer.Downloaded(w.store.name, w.downloaded.Load())
	fl.stock.reached(w.store, err)
	r := catalog.FillRecord{
		At: fl.now().UTC(), Store: w.store.id(), ImageID: w.want.image.Ref(), Took: took, Phases: w.phases,
		SourceBytes: w.downloaded.Load(), WrittenBytes: w.flight.written.Load(),
		Host: fl.holder.Instance, Project: projectOf(w.want.image),
	}
	log := fl.log.WithFields(w.want.fields(w.store)).WithFields(map[string]any{"took": took.Round(time.Millisecond), "attempt": w.entry.Attempt})
	if err != nil {
		r.Error = err.Error()
		fl.books.noteEntry(EventFillFailed, w.entry, catalog.Event{ImageID: r.ImageID, Reason: failureReason(err), Detail: r.Error, Took: took})
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
		fl.books.noteEntry(EventFilled, e, filled)
	}
	if err != nil && fl.catalogAway() != nil {
		fl.log.Warn("fill not counted, since the catalog's database is away; the report will lack it")
		return
	}
	ctx, cancel := fl.cleanup(fl.base)
	defer cancel()
	if err := fl.catalog.RecordFill(ctx, r); err != nil {
		fl.log.WithError(err).Warn("fill not counted; the report will lack it")
	}
}
