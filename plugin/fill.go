package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
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

	entry    catalog.Entry
	claim    internaltenant.Claim // zero: none
	slot     fillSlot
	ahead    bool // room and claim come before the slot
	stage    *meteredStage
	reserved int64
	counted  bool // room was made for it: it counts as an entry
	begun    time.Time

	downloaded atomic.Int64 // bytes that came from the source
}

// fill makes the image-volume of an image in s, or finds that another host has made it.
// Whatever goes wrong, nothing is left of it.
func (fl *fills) fill(ctx context.Context, s *store, f *flight, want *wanted) (catalog.Entry, error) {
	if err := fl.refusedBefore(ctx, s, want); err != nil {
		return catalog.Entry{}, err
	}
	entry, mine, err := fl.reserve(ctx, s, f, want)
	if err != nil || !mine {
		return entry, err
	}
	failpoint.Reached(failpoint.Reserve)
	if f.missed == (miss{}) {
		f.missed = fl.whyMissed(ctx, s, want)
	}
	w := &filling{fl: fl, store: s, flight: f, want: *want, slot: fillSlot{slots: fl.fillSlots}, ahead: fl.claimsAhead(s, f, want), entry: entry, begun: fl.now()}
	defer w.slot.leave()
	entry, err = w.run(ctx)
	fl.flights.land(f)
	if w.slot.taken || w.ahead || !errors.Is(err, context.Canceled) { // else it ended while it waited for its turn
		fl.recordFill(w, entry, err)
	}
	return entry, err
}

// fillSlot is a fill's place among those that may read and write at a time. A fill takes it once the row is its own: one
// that another process makes is waited for without a place.
type fillSlot struct {
	slots chan struct{}
	taken bool
}

// take waits for a place; with one it does nothing.
func (s *fillSlot) take(ctx context.Context) error {
	if s.taken {
		return nil
	}
	select {
	case s.slots <- struct{}{}:
		s.taken = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fillSlot) leave() {
	if s.taken {
		<-s.slots
		s.taken = false
	}
}

// reserve makes the row filling, by us, or returns the entry that somebody else has made in the
// meantime (mine is false). A fill of another process is waited for.
func (fl *fills) reserve(ctx context.Context, s *store, f *flight, want *wanted) (entry catalog.Entry, mine bool, err error) {
	spec := fl.fillSpec(s, want)
	var pause backoff
	for {
		entry, previous, start, stranded, err := fl.beginFill(ctx, s, f, spec)
		if err != nil {
			return catalog.Entry{}, false, err
		}
		switch start {
		case catalog.Started:
			if err := fl.undoAttempt(ctx, s, previous); err != nil {
				return catalog.Entry{}, false, errors.Join(err, fl.strand(ctx, entry, previous))
			}
			f.stopFollowing(want.image.SizeBytes)
			return entry, true, nil
		case catalog.AlreadyReady:
			return entry, false, nil
		case catalog.Waiting:
			return catalog.Entry{}, false, failedBefore(want.image.Ref(), entry)
		case catalog.Busy:
			if stranded {
				if err := fl.endStranded(ctx, s, entry); err != nil && !isGone(err) {
					return catalog.Entry{}, false, err
				}
				continue
			}
		}
		if err := fl.follow(ctx, f, entry, &pause); err != nil {
			return catalog.Entry{}, false, err
		}
	}
}

func (fl *fills) fillSpec(s *store, want *wanted) catalog.FillSpec {
	return catalog.FillSpec{
		Store: s.id(), Key: want.key, Domain: want.image.Domain, ImageID: want.image.Ref(),
		Inspector: diskimage.InspectorVersion, Holder: fl.holder, LeaseFor: fl.cfg.LeaseFor, TotalBytes: want.image.SizeBytes,
	}
}

// beginFill is the catalog's, and keeps in mind what it finds ready. A row that is busy under our own
// lease, and that no other flight fills, is stranded.
func (fl *fills) beginFill(ctx context.Context, s *store, f *flight, spec catalog.FillSpec) (entry, previous catalog.Entry, start catalog.FillStart, stranded bool, err error) {
	defer s.ready.begin()()
	unlock, err := s.reserving.lock(ctx)
	if err != nil {
		return entry, previous, 0, false, err
	}
	defer unlock()
	entry, previous, start, err = fl.catalog.BeginFill(ctx, spec)
	if err != nil {
		return entry, previous, start, false, err
	}
	switch start {
	case catalog.Started:
		f.entryID.Store(entry.ID)
	case catalog.AlreadyReady:
		s.ready.add(entry, spec.Key)
	case catalog.Busy:
		stranded = entry.Lease == fl.holder && !fl.flights.fills(entry.ID, f)
	case catalog.Waiting:
	}
	return entry, previous, start, stranded, nil
}

// strand lets a row name again what its previous attempt had made and could not be removed now.
func (fl *fills) strand(ctx context.Context, e, previous catalog.Entry) error {
	ctx, cancel := fl.cleanup(ctx)
	defer cancel()
	var staged, claimed error
	if previous.ImageVolume != "" {
		staged = fl.catalog.RecordStage(ctx, e.ID, e.Attempt, previous.ImageVolume, previous.Form, previous.VirtualBytes)
	}
	if previous.Claim != "" {
		claimed = fl.catalog.RecordClaim(ctx, e.ID, e.Attempt, previous.Claim)
	}
	return errors.Join(staged, claimed)
}

// undoAttempt removes what a dead holder's attempt had staged and claimed.
func (fl *fills) undoAttempt(ctx context.Context, s *store, previous catalog.Entry) error {
	if previous.ImageVolume != "" {
		if _, err := s.images.Retire(ctx, previous.ImageVolume); err != nil && !errors.Is(err, backends.ErrNotExist) {
			return fmt.Errorf("remove image-volume %s of attempt %d: %w", previous.ImageVolume, previous.Attempt, err)
		}
	}
	if previous.Claim != "" {
		return fl.owner.Release(ctx, previous.Claim)
	}
	return nil
}

// run fills under a lease; losing the lease ends it.
func (w *filling) run(ctx context.Context) (catalog.Entry, error) {
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	stop := w.fl.keepLease(ctx, w.entry, w.flight, lost)
	entry, err := w.steps(ctx)
	stop()
	if err == nil {
		return entry, nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, catalog.ErrLost) {
		err = cause
	}
	w.undo(ctx, err)
	return catalog.Entry{}, err
}

// steps are the arrows of a fill. Each may be the last thing that the process did.
func (w *filling) steps(ctx context.Context) (catalog.Entry, error) {
	if w.ahead {
		if err := w.acquire(ctx, told{virtual: w.want.expectedBytes(), source: w.want.image.SizeBytes, data: -1, format: w.want.image.DiskFormat}); err != nil {
			return catalog.Entry{}, err
		}
	}
	if err := w.takeTurn(ctx); err != nil {
		return catalog.Entry{}, err
	}
	stream, image, err := w.open(ctx)
	if err != nil {
		return catalog.Entry{}, err
	}
	defer stream.close()
	failpoint.Reached(failpoint.Source)
	if err := w.prepare(ctx, image); err != nil {
		return catalog.Entry{}, err
	}
	stats, err := image.reader.Decode(ctx, w.stage, image.progress)
	if err != nil {
		return catalog.Entry{}, fmt.Errorf("read %s into %s: %w", w.want.image.Ref(), w.entry.ImageVolume, err)
	}
	failpoint.Reached(failpoint.Write)
	if err := w.verify(ctx, stream); err != nil {
		return catalog.Entry{}, err
	}
	failpoint.Reached(failpoint.Verify)
	return w.publish(ctx, image, stream, stats)
}

// takeTurn waits for a place among the fills that read and write. What is done ahead of that counts as part of the fill.
func (w *filling) takeTurn(ctx context.Context) error {
	if err := w.slot.take(ctx); err != nil {
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
	if err := w.acquire(ctx, told{virtual, image.sourceBytes, image.dataBytes, image.format}); err != nil {
		return err
	}
	id := backends.ImageVolumeID(fmt.Sprintf("cc-%s-%d", w.entry.ID, w.entry.Attempt))
	if err := w.fl.catalog.RecordStage(ctx, w.entry.ID, w.entry.Attempt, id, backends.Decoded, virtual); err != nil {
		return err
	}
	w.entry.ImageVolume = id
	failpoint.Reached(failpoint.Name)
	metered := &meteredStage{w: w, ctx: ctx, size: virtual, disk: image.diskBytes}
	metered.reserved.Store(w.reserved)
	var err error
	metered.ImageVolumeStage, err = w.stageIt(ctx, backends.StageSpec{ID: id, VirtualBytes: virtual, Room: metered.room, Description: w.description("", catalog.Published{
		Key: w.want.key, DiskFormat: image.format, VirtualBytes: virtual,
	})})
	if err != nil {
		return err
	}
	w.stage = metered
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
		Key:         catalog.ContentKey(digest.String(), image.format),
		RevisionKey: proven[0], Also: proven[1:], ImageID: w.want.image.Ref(), Sharing: w.want.sharing,
		Digest: digest.String(), DiskFormat: image.format,
		SourceBytes: stream.length(), VirtualBytes: image.virtualBytes, InspectorVersion: diskimage.InspectorVersion,
	}
	committed, err := w.stage.Commit(ctx, w.description(digest.String(), final))
	if err != nil {
		return catalog.Entry{}, err
	}
	failpoint.Reached(failpoint.Commit)
	if committed.HeldBytes > w.reserved { // the backend's own records beside the content count too
		if err := w.makeRoom(ctx, committed.HeldBytes, evicting); err != nil {
			return catalog.Entry{}, err
		}
	}
	final.HeldBytes, final.ContentSum = committed.HeldBytes, committed.Description.ContentSum
	defer w.store.ready.begin()()
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
	w.store.ready.add(entry, proven...)
	return entry, nil
}

// name makes the row ready, or finds the one with equal content. One that older rules let through gives way: the bytes
// have just been read under those of now.
func (w *filling) name(ctx context.Context, final catalog.Published) (entry catalog.Entry, duplicate *catalog.Entry, err error) {
	var pinned Pinning
	for {
		entry, duplicate, err = w.fl.catalog.Publish(ctx, w.entry.ID, w.entry.Attempt, final)
		if err != nil || duplicate == nil || !outdated(*duplicate) {
			break
		}
		pinned = pinned || Pinning(duplicate.Pinned)
		if err := w.fl.stock.giveWay(ctx, w.store, *duplicate); err != nil {
			return catalog.Entry{}, nil, err
		}
	}
	if err == nil && duplicate == nil && pinned {
		return w.fl.stock.pinAnew(ctx, entry), nil, nil
	}
	return entry, duplicate, err
}

// errDuplicate ends a fill whose content turned out to be cached, or being cached, already.
var errDuplicate = errors.New("equal content is cached already")

// settleClaim turns the reserved claim into one in use. The image-volume is ready: a failure is logged,
// and mended by the next reconcile.
func (w *filling) settleClaim(ctx context.Context) {
	if w.claim.ID == "" {
		return
	}
	if err := w.fl.owner.Settle(context.WithoutCancel(ctx), w.claim.ID); err != nil {
		w.fl.log.WithFields(w.want.fields(w.store)).WithError(err).Warn("quota claim stays reserved until the next reconcile")
	}
	failpoint.Reached(failpoint.Settle)
}

// undo removes what a fill that came to nothing has made, in the reverse order: the image-volume, the
// claim, the row. What cannot be removed now keeps its row, and is removed by the next reconcile.
func (w *filling) undo(ctx context.Context, cause error) {
	ctx, cancel := w.fl.cleanup(ctx)
	defer cancel()
	log := w.fl.log.WithFields(w.want.fields(w.store)).WithField("attempt", w.entry.Attempt)
	if errors.Is(cause, catalog.ErrLost) { // the row belongs to another process now, and so does what it names
		if w.stage != nil {
			_ = w.stage.Discard(ctx)
		}
		return
	}
	if w.stage != nil {
		if err := w.stage.Discard(ctx); err != nil {
			log.WithError(err).Warn("image-volume not discarded; the next reconcile removes it")
			return
		}
		if _, err := w.store.images.Retire(ctx, w.entry.ImageVolume); err != nil && !errors.Is(err, backends.ErrNotExist) {
			log.WithError(err).Warn("image-volume not removed; the next reconcile removes it")
			return
		}
	}
	if w.claim.ID != "" {
		if err := w.fl.owner.Release(ctx, w.claim.ID); err != nil {
			log.WithError(err).Warn("quota claim not released; the next reconcile releases it")
			return
		}
	}
	if err := w.endRow(ctx, cause); err != nil {
		log.WithError(err).Warn("row of a fill not ended; the next start ends it")
	}
}

// endRow keeps the error of an image or its source in the row, for people to see; all other rows go. So does that of an
// image which nobody finds again, since each look at it is told apart.
func (w *filling) endRow(ctx context.Context, cause error) error {
	if cachesFault(cause) || errors.Is(cause, errDuplicate) || errors.Is(cause, context.Canceled) || errors.Is(cause, ErrTooSmall) || w.want.foundOnce() {
		return w.fl.catalog.ForgetFill(ctx, w.entry.ID, w.entry.Attempt)
	}
	return w.fl.catalog.FailFill(ctx, w.entry.ID, w.entry.Attempt, w.fl.failedBy(cause))
}

// description is what the image-volume says of itself.
func (w *filling) description(digest string, final catalog.Published) backends.Description {
	return backends.Description{
		EntryID: string(w.entry.ID), Attempt: w.entry.Attempt, ContentKey: string(final.Key), Domain: w.entry.Domain,
		ImageIDs: []string{w.want.image.Ref()}, RevisionKey: string(final.RevisionKey), Digest: digest,
		DiskFormat: final.DiskFormat, SourceBytes: final.SourceBytes, VirtualBytes: final.VirtualBytes,
		InspectorVersion: diskimage.InspectorVersion, ProjectID: cmp.Or(w.claim.ProjectID, w.fl.tenant.ProjectID),
		UserID:  cmp.Or(w.claim.UserID, w.fl.tenant.UserID),
		ClaimID: string(w.claim.ID), Form: backends.Decoded, CreatedAt: w.fl.now().UTC(),
	}
}

func (w *filling) progress(read, written int64) {
	w.flight.read.Store(read)
	w.flight.written.Store(written)
}
