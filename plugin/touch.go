package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// reapEvery is how often detached image-volumes are looked at, and left-over evictions and intents.
const reapEvery = time.Minute

// answered notes an answered request in the journal, from which the catalog counts it later. A failure is
// logged; it is returned for those whose intent would outlive it (see made and alreadyMade), and for nobody else to act on.
func (p *Plugin) answered(q *request, intent int64, a *Answer, f *filled) error {
	took := p.now().Sub(q.begun)
	a.TookMS = milliseconds(took)
	r := catalog.Request{
		At: p.now().UTC(), Backend: q.store.name, ImageID: q.image.Ref(), Entry: catalog.EntryID(a.EntryID),
		Outcome: catalog.Outcome(a.Outcome), Reason: catalog.Reason(a.Reason), Took: took, DownloadedBytes: a.DownloadedBytes,
		Volume: q.Volume, Detail: clipped(a.Detail),
	}
	if f != nil && a.DownloadedBytes == 0 {
		r.SavedBytes = f.entry.SourceBytes
	}
	if f != nil && a.Outcome != Copied && !q.store.images.Info().IndependentClones {
		r.Clones = 1
	}
	_, err := p.journal.Answer(intent, r)
	if err != nil {
		p.log.WithFields(q.fields()).WithError(err).Warn("answered request not noted; the report will lack it")
	}
	failpoint.Reached(failpoint.Touch)
	p.observer.Request(q.store.name, a.Outcome, a.Reason, took)
	p.observer.Saved(q.store.name, r.SavedBytes)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// recordFill notes how a fill went, for the report.
func (p *Plugin) recordFill(w *filling, e catalog.Entry, err error) {
	took := p.now().Sub(w.begun)
	p.observer.FillEnded(w.store.name, took, err)
	p.observer.Downloaded(w.store.name, w.downloaded.Load())
	p.reached(w.store, err)
	r := catalog.FillRecord{
		At: p.now().UTC(), Store: w.store.id(), ImageID: w.q.image.Ref(), Took: took,
		SourceBytes: w.downloaded.Load(), WrittenBytes: w.flight.written.Load(),
	}
	log := p.log.WithFields(w.q.fields()).WithFields(map[string]any{"took": took.Round(time.Millisecond), "attempt": w.entry.Attempt})
	if err != nil {
		r.Error = err.Error()
		p.noteEntry(EventFillFailed, w.entry, catalog.Event{ImageID: r.ImageID, Reason: catalog.Reason(failure(err)), Detail: r.Error, Took: took})
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
		p.noteEntry(EventFilled, e, filled)
	}
	ctx, cancel := p.cleanup(p.base)
	defer cancel()
	if err := p.catalog.RecordFill(ctx, r); err != nil {
		p.log.WithError(err).Warn("fill not counted; the report will lack it")
	}
}

// flush lets the catalog count what was answered, and writes the events of that and all others that were
// noted. What it could not count now it counts next time; a kill in between loses no answer and no event of
// one, since the journal has it.
func (p *Plugin) flush(ctx context.Context) error {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	noted := p.events.take() // first: what was answered before it is taken with it
	requests, upTo := p.journal.Take()
	if len(requests) == 0 && len(noted) == 0 {
		return nil
	}
	if err := p.catalog.Record(ctx, p.holder.Instance, upTo, requests, p.eventsOf(requests, noted)...); err != nil {
		p.journal.PutBack(requests)
		p.events.putBack(noted)
		return err
	}
	p.events.wake()
	if len(requests) > 0 {
		failpoint.Reached(failpoint.Flush)
	}
	return p.journal.Applied(upTo)
}

// flushToRead is flush for one who only wants to read: where the catalog cannot be written, what it says
// lacks the latest requests, and that is all.
func (p *Plugin) flushToRead(ctx context.Context) error {
	err := p.flush(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	p.log.WithError(err).Warn("answered requests not counted yet; what is shown lacks them")
	return nil
}

// keepUp starts what goes on beside requests: counting answers, reaping, settling. Close ends it.
func (p *Plugin) keepUp() {
	p.every(p.cfg.FlushEvery, p.events.kick, func(ctx context.Context) {
		if err := p.flush(ctx); err != nil && ctx.Err() == nil {
			p.log.WithError(err).Warn("answered requests not counted yet; trying again")
		}
	})
	p.every(reapEvery, nil, p.tidy)
}

// every calls do at each interval, and when it is asked to by now, until the plugin is closed.
func (p *Plugin) every(interval time.Duration, now <-chan struct{}, do func(context.Context)) {
	p.upkeep.Add(1)
	go func() {
		defer p.upkeep.Done()
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-p.base.Done():
				return
			case <-now:
				do(p.base)
			case <-tick.C:
				do(p.base)
			}
		}
	}()
}

// tidy ends what waited for something: clones that went, backends that came back.
func (p *Plugin) tidy(ctx context.Context) {
	for _, s := range p.stores {
		if _, err := p.reap(ctx, s); err != nil && ctx.Err() == nil {
			p.log.WithField("backend", s.name).WithError(err).Warn("detached image-volumes not reaped; trying again")
		}
	}
	for _, s := range p.stores {
		p.lookAround(ctx, s)
	}
	p.endAllStranded(ctx)
	p.expireFailed(ctx)
	p.settleOpen(ctx)
	if p.owed.Load() {
		if err := p.reconcile(ctx); err != nil && ctx.Err() == nil {
			p.log.WithError(err).Warn("catalog, backends and quota not reconciled; trying again")
		}
	}
}
