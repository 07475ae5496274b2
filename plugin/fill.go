package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// filling is one attempt at one image-volume, from the reserved row to the ready one. What it has made
// so far stands in its fields, for undo.
type filling struct {
	fl     *fills
	store  *store
	flight *flight
	want   wanted

	entry catalog.Entry
	berth *berth // room and claim
	turn  *fillTurn
	ahead bool // room and claim come before the slot
	asked bool // the row may be ready, whatever came of asking for that
	stage *meteredStage
	begun time.Time

	phases catalog.FillPhases
	lapped time.Time // when the current phase began

	downloaded atomic.Int64 // bytes that came from the source
	kept       *keptBytes   // of the image, which are read in place of the source's; nil: they are not
}

// fill makes the image-volume of an image in s, or finds that another host has made it. One that another host took over,
// since this one was stopped or cut off for too long, is waited for.
// Whatever goes wrong, nothing is left of it, but for a detached entry of what its store cannot free yet.
func (fl *fills) fill(ctx context.Context, s *store, f *flight, want *wanted) (catalog.Entry, error) {
	if err := fl.refusedBefore(ctx, s, want); err != nil {
		return catalog.Entry{}, err
	}
	defer f.project.leave()
	for tries := 1; ; tries++ {
		entry, mine, err := fl.reserve(ctx, s, f, want)
		if err != nil || !mine {
			return entry, err
		}
		failpoint.Reached(failpoint.Reserve)
		w := fl.newFilling(ctx, s, f, want, entry)
		entry, err = w.run(ctx)
		again := (tries == 1 && errors.Is(err, catalog.ErrLost) || errors.Is(err, errSpoilt)) && ctx.Err() == nil && fl.catalogAway() == nil
		if again {
			f.stopFollowing(want.image.SizeBytes)
		} else {
			fl.flights.land(f)
		}
		if w.turn.has() || w.ahead || !errors.Is(err, context.Canceled) { // else it ended while it waited for its turn
			fl.recordFill(w, entry, err)
		}
		w.turn.leave()
		if !again {
			return entry, err
		}
	}
}

// newFilling is an attempt that has its row.
func (fl *fills) newFilling(ctx context.Context, s *store, f *flight, want *wanted, entry catalog.Entry) *filling {
	if f.missed == (miss{}) {
		f.missed = fl.whyMissed(ctx, s, want)
	}
	return &filling{
		fl: fl, store: s, flight: f, want: *want, turn: fl.turnFor(s, want), ahead: fl.claimsAhead(s, f, want),
		entry: entry, berth: fl.stock.berth(s, entry, want), begun: fl.now(), phases: catalog.FillPhases{Waiting: f.heldBack},
	}
}

// run fills under a lease; losing the lease ends it.
func (w *filling) run(ctx context.Context) (catalog.Entry, error) {
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	stop := w.fl.keepLease(ctx, w.entry, w.flight, lost)
	entry, err := w.steps(ctx)
	stop()
	if err == nil {
		w.flight.local = w.kept != nil
		return entry, nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, catalog.ErrLost) {
		err = cause
	} else if w.lostMeanwhile(ctx, err) {
		err = fmt.Errorf("%w: %w", catalog.ErrLost, err)
	}
	err = w.spoilt(ctx, err)
	w.undo(ctx, err)
	return catalog.Entry{}, err
}

// lostMeanwhile tells whether a fill failed because another host has taken it over, and removed what it was writing to: one
// that was stopped for long may notice that before it notices its lease.
func (w *filling) lostMeanwhile(ctx context.Context, err error) bool {
	if w.fl.sole || ctx.Err() != nil || !cachesFault(err) {
		return false
	}
	return errors.Is(w.fl.certain(ctx, w.entry), catalog.ErrLost)
}

// steps are the arrows of a fill. Each may be the last thing that the process did.
func (w *filling) steps(ctx context.Context) (catalog.Entry, error) {
	w.lapped = w.fl.now()
	if filler, elsewhere := backends.Capability[backends.Filler](w.store.images); elsewhere {
		return w.filledElsewhere(ctx, filler)
	}
	if w.want.asItIs() {
		return w.keepAsItIs(ctx)
	}
	if w.ahead {
		if err := w.acquire(ctx, foretold{virtual: w.want.expectedBytes(), source: w.want.image.SizeBytes, data: -1, format: w.want.image.DiskFormat}); err != nil {
			return catalog.Entry{}, err
		}
	}
	w.lap(&w.phases.Quota)
	if err := w.takeTurn(ctx); err != nil {
		return catalog.Entry{}, err
	}
	w.lap(&w.phases.Waiting)
	stream, image, err := w.openStream(ctx)
	if err != nil {
		return catalog.Entry{}, err
	}
	defer stream.close()
	failpoint.Reached(failpoint.Source)
	w.lap(&w.phases.Source)
	if err := w.prepare(ctx, image); err != nil {
		return catalog.Entry{}, err
	}
	w.lap(&w.phases.Quota)
	stats, err := image.reader.Decode(ctx, w.stage, image.progress)
	if err != nil {
		return catalog.Entry{}, fmt.Errorf("read %s into %s: %w", w.want.image.Ref(), w.entry.ImageVolume, err)
	}
	failpoint.Reached(failpoint.Write)
	w.lap(&w.phases.Decode)
	w.phases.Write = min(time.Duration(w.stage.writing.Load()), w.phases.Decode)
	w.phases.Decode -= w.phases.Write
	if err := w.verify(ctx, stream); err != nil {
		return catalog.Entry{}, err
	}
	failpoint.Reached(failpoint.Verify)
	entry, err := w.publish(ctx, image, stream, stats)
	w.lap(&w.phases.Commit)
	return entry, err
}

// lap adds the time since the last phase ended to one.
func (w *filling) lap(phase *time.Duration) {
	now := w.fl.now()
	*phase += now.Sub(w.lapped)
	w.lapped = now
}

// takeTurn waits for a place among the fills that read and write. What is done ahead of that counts as part of the fill.
func (w *filling) takeTurn(ctx context.Context) error {
	w.flight.turn.Store(w.turn)
	if err := w.turn.take(ctx); err != nil {
		return err
	}
	if !w.ahead {
		w.begun = w.fl.now()
	}
	w.fl.observer.FillStarted(w.store.name)
	return nil
}

// prepare makes room and charges the quota, unless that was done ahead, and stages the image-volume, in
// this order: nothing is written that was not reserved, nothing is staged that the row does not name.
func (w *filling) prepare(ctx context.Context, image *openImage) error {
	virtual := image.virtualBytes
	if err := w.refuseTooLarge(virtual); err != nil {
		return err
	}
	if err := w.acquire(ctx, foretold{virtual, image.sourceBytes, image.dataBytes, image.format}); err != nil {
		return err
	}
	id := backends.ImageVolumeID(fmt.Sprintf("cc-%s-%d", w.entry.ID, w.entry.Attempt))
	if err := w.fl.catalog.RecordStage(ctx, w.entry.ID, w.entry.Attempt, id, w.form(), virtual); err != nil {
		return err
	}
	w.entry.ImageVolume = id
	failpoint.Reached(failpoint.Name)
	metered := &meteredStage{w: w, ctx: ctx, size: virtual, disk: image.diskBytes}
	metered.reserved.Store(w.berth.bytes)
	var err error
	metered.ImageVolumeStage, err = w.stageIt(ctx, backends.StageSpec{ID: id, VirtualBytes: virtual, Room: metered.room, Description: w.description(catalog.Published{
		Key: w.want.key, Content: backends.Content{DiskFormat: image.format, VirtualBytes: virtual, InspectorVersion: diskimage.InspectorVersion},
	})})
	if err != nil {
		return err
	}
	w.stage = metered
	if w.want.asItIs() {
		w.flight.tide.rise(metered, 0)
	}
	failpoint.Reached(failpoint.Stage)
	return nil
}

// refuseTooLarge refuses an image that is larger than every volume which waits for it, before anything
// is staged.
func (w *filling) refuseTooLarge(virtual int64) error {
	w.flight.needs.Store(virtual)
	if largest := w.fl.flights.largestVolume(w.flight); largest != 0 && virtual > largest {
		return fmt.Errorf("%w: %s needs %d bytes, the volume has %d; ask for a larger one", ErrTooSmall, w.want.image.Ref(), virtual, largest)
	}
	return nil
}

// publish commits the image-volume and makes the row ready: first durable, then named. Where another
// entry turns out to have the same content, that one is used and ours is discarded.
func (w *filling) publish(ctx context.Context, image *openImage, stream *imageStream, stats diskimage.Stats) (catalog.Entry, error) {
	digest := stream.digest()
	proven := w.want.proven(digest)
	final := catalog.Published{
		Key:         w.contentKey(digest, image.format),
		RevisionKey: proven[0], Also: proven[1:], ImageID: w.want.image.Ref(), Sharing: w.want.sharing,
		Content: backends.Content{
			Digest: digest.String(), DiskFormat: image.format,
			SourceBytes: stream.length(), VirtualBytes: image.virtualBytes, InspectorVersion: diskimage.InspectorVersion,
		},
	}
	committed, err := w.stage.Commit(ctx, w.description(final))
	if err != nil {
		return catalog.Entry{}, err
	}
	return w.publishCommitted(ctx, committed, final, proven)
}

// publishCommitted makes the row of a committed image-volume ready, to be found by what is proven of it.
func (w *filling) publishCommitted(ctx context.Context, committed backends.ImageVolume, final catalog.Published, proven []catalog.Key) (catalog.Entry, error) {
	failpoint.Reached(failpoint.Commit)
	if committed.HeldBytes > w.berth.bytes { // the backend's own records beside the content count too
		if err := w.berth.makeRoom(ctx, committed.HeldBytes, evicting); err != nil {
			return catalog.Entry{}, err
		}
	}
	final.HeldBytes, final.ContentSum = committed.HeldBytes, committed.Description.ContentSum
	defer w.store.changing()()
	entry, duplicate, err := w.name(ctx, final)
	if err != nil {
		return catalog.Entry{}, err
	}
	failpoint.Reached(failpoint.Publish)
	if duplicate != nil {
		w.undo(ctx, errDuplicate)
		entry = *duplicate
		w.flight.missed = sameContent()
	} else {
		w.settleClaim(ctx)
	}
	w.store.learn(entry, proven...)
	return entry, nil
}

// name makes the row ready, or finds the one with equal content. One that older rules let through gives way: the bytes
// have just been read under those of now.
func (w *filling) name(ctx context.Context, final catalog.Published) (entry catalog.Entry, duplicate *catalog.Entry, err error) {
	var was catalog.Entry // pinned, and gone
	for {
		w.asked = true
		entry, duplicate, err = w.fl.catalog.Publish(ctx, w.entry.ID, w.entry.Attempt, final)
		if err != nil || duplicate == nil || !outdated(*duplicate) {
			break
		}
		if duplicate.Pinned {
			was = *duplicate
		}
		if err := w.fl.stock.giveWay(ctx, w.store, *duplicate); err != nil {
			return catalog.Entry{}, nil, err
		}
	}
	if err == nil && duplicate == nil && was.Pinned {
		return w.fl.stock.pinAnew(ctx, entry, was), nil, nil
	}
	return entry, duplicate, err
}

// errDuplicate ends a fill whose content turned out to be cached, or being cached, already.
var errDuplicate = errors.New("equal content is cached already")

// description is what the image-volume says of itself.
func (w *filling) description(final catalog.Published) backends.Description {
	return backends.Description{
		EntryID: w.entry.ID, Attempt: w.entry.Attempt, ContentKey: final.Key, Domain: w.entry.Domain,
		ImageIDs: []string{w.want.image.Ref()}, RevisionKey: final.RevisionKey, Content: final.Content,
		ProjectID: cmp.Or(w.berth.claim.ProjectID, w.fl.tenant.ProjectID),
		UserID:    cmp.Or(w.berth.claim.UserID, w.fl.tenant.UserID),
		ClaimID:   w.berth.claim.ID, Form: w.form(), CreatedAt: w.fl.now().UTC(),
	}
}

func (w *filling) progress(read, written int64) {
	w.flight.read.Store(read)
	w.flight.written.Store(written)
	w.flight.pace.note(w.fl.now(), read)
}
