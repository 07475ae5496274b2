package plugin

import (
	"context"
	"path/filepath"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/journal"
)

// books keep what happened: the journal of what was about to be made and of what was answered, and the event log.
// From these the catalog counts requests and lists events, some time later, in one transaction.
//
// They never decide anything, never keep a request waiting for the catalog, and never fail one because they could
// not be written, but for who asked to know. A crash loses no answer and no event of one, since the journal has
// it; other events that were noted in the last moments are lost. What the journal has and the catalog had not
// counted is counted at the next start.
type books struct {
	*house
	// label is what people call a store.
	label func(backends.StoreID) backends.Name

	journal  *journal.Journal // from open on
	events   eventLog
	flushing turnstile // one flush at a time
}

func newBooks(h *house, label func(backends.StoreID) backends.Name) *books {
	return &books{house: h, label: label, events: newEventLog(max(h.cfg.EventsMax, 0)), flushing: make(turnstile, 1)}
}

// open opens the journal, and lets the catalog count the answers that it has not seen. It returns the intents that
// an earlier process left.
func (b *books) open(ctx context.Context) (journal.Recovered, error) {
	j, recovered, err := journal.Open(journal.Config{Dir: filepath.Join(b.cfg.StateDir, "journal")})
	if err != nil {
		return recovered, err
	}
	b.journal = j
	applied, err := b.catalog.Applied(ctx, b.holder.Instance)
	if err != nil {
		return recovered, err
	}
	j.SetFloor(applied)
	if recovered.Damaged > 0 {
		b.log.WithField("records", recovered.Damaged).Warn("journal has unreadable records; what they named is found by the reconcile")
	}
	if err := b.catalog.Record(ctx, b.holder.Instance, recovered.LastSeq, recovered.Answered, b.eventsOf(recovered.Answered, nil)...); err != nil {
		return recovered, err
	}
	return recovered, j.Applied(recovered.LastSeq)
}

// close closes the journal. It may be called though open failed, or was not called.
func (b *books) close() error {
	if b.journal == nil {
		return nil
	}
	return b.journal.Close()
}

// begin notes what is about to be made, and returns it with its number: a crash from here on is settled.
func (b *books) begin(i journal.Intent) (journal.Intent, error) {
	seq, err := b.journal.Begin(i)
	if err != nil {
		return i, err
	}
	i.Seq = seq
	failpoint.Reached(failpoint.Intent)
	return i, nil
}

// drop notes that an intent has ended, and that nothing is left of it. A failure is logged.
func (b *books) drop(i journal.Intent) {
	if err := b.journal.Drop(i.Seq); err != nil {
		b.log.WithFields(intentFields(i)).WithError(err).Warn("intent not dropped; it is settled at the next start")
	}
}

// keep notes that the volume of an intent stays, and why. A failure is logged.
func (b *books) keep(i journal.Intent, why journal.Kept) {
	if err := b.journal.Keep(i.Seq, why); err != nil {
		b.log.WithFields(intentFields(i)).WithError(err).Warn("that the volume stays is not noted; after a kill it stays all the same")
	}
}

func intentFields(i journal.Intent) map[string]any {
	return map[string]any{"backend": i.Backend, "image": i.Spec.Origin.ImageID, "volume": i.Spec.Name}
}

// answer notes an answered request, and that its intent has ended; 0: it had none. The catalog counts it later.
// A failure is logged; it is returned for those whose intent would outlive it, and for nobody else to act on.
func (b *books) answer(intent int64, r catalog.Request) error {
	r.Detail = clipped(r.Detail)
	_, err := b.journal.Answer(intent, r)
	if err != nil {
		b.log.WithFields(map[string]any{"backend": r.Backend, "image": r.ImageID, "volume": r.Volume}).WithError(err).
			Warn("answered request not noted; the report will lack it")
	}
	failpoint.Reached(failpoint.Touch)
	b.observer.Request(r.Backend, Outcome(r.Outcome), Reason(r.Reason), r.Took)
	b.observer.Saved(r.Backend, r.SavedBytes)
	return err
}

// flush lets the catalog count what was answered, and writes the events of that and all others that were
// noted. What it could not count now it counts next time; a kill in between loses no answer and no event of
// one, since the journal has it.
func (b *books) flush(ctx context.Context) error {
	unlock, err := b.flushing.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	noted := b.events.take() // first: what was answered before it is taken with it
	requests, upTo := b.journal.Take()
	if len(requests) == 0 && len(noted) == 0 {
		return nil
	}
	if err := b.catalog.Record(ctx, b.holder.Instance, upTo, requests, b.eventsOf(requests, noted)...); err != nil {
		b.journal.PutBack(requests)
		b.events.putBack(noted)
		return err
	}
	b.events.wake()
	if len(requests) > 0 {
		failpoint.Reached(failpoint.Flush)
	}
	return b.journal.Applied(upTo)
}

// flushToRead is flush for one who only wants to read: where the catalog cannot be written, what it says
// lacks the latest requests, and that is all.
func (b *books) flushToRead(ctx context.Context) error {
	err := b.flush(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	b.log.WithError(err).Warn("answered requests not counted yet; what is shown lacks them")
	return nil
}

// writeNow writes at once what was noted, for an admin's own deed: a kill afterwards does not lose it. A
// failure is logged.
func (b *books) writeNow(ctx context.Context) {
	ctx, cancel := b.cleanup(ctx)
	defer cancel()
	_ = b.flushToRead(ctx)
}

// flushLater is flush for who does it again soon.
func (b *books) flushLater(ctx context.Context) {
	if err := b.flush(ctx); err != nil && ctx.Err() == nil && b.catalogAway() == nil { // else that was said
		b.log.WithError(err).Warn("answered requests not counted yet; trying again")
	}
}
