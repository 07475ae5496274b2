package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// What older rules of the inspector let through serves nobody until it was inspected by those of now. The bytes of a
// raw image are in its image-volume, and are inspected there. Of other formats only what they decode to is there: such
// an image is read again, and the old entry gives way to the new one.

// current is an entry that may serve: e itself, or as it is after it was inspected again. Else the image is to be
// filled anew.
func (fl *fills) current(ctx context.Context, s *store, e catalog.Entry) (catalog.Entry, bool) {
	if !outdated(e) {
		return e, true
	}
	log := fl.log.WithFields(map[string]any{"backend": s.name, "image_volume": e.ImageVolume})
	inspected := fl.renewing.DoChan(string(e.ID), func() (any, error) { return fl.inspectAgain(fl.base, s, e) })
	select {
	case r := <-inspected:
		if r.Err == nil {
			return r.Val.(catalog.Entry), true
		}
		log.WithError(r.Err).Info("image-volume of older rules is not used; its image is cached anew")
	case <-ctx.Done(): // whoever asks next gets it
	}
	return catalog.Entry{}, false
}

// errNotRaw: an image-volume does not hold its image's bytes as they came.
var errNotRaw = errors.New("only a raw image can be inspected where it is cached")

// inspectAgain inspects an entry's bytes by the rules of now, from end to end. An entry that they refuse is dropped:
// diskimage.ErrRefused. errNotRaw: it stays as it is.
func (fl *fills) inspectAgain(ctx context.Context, s *store, e catalog.Entry) (catalog.Entry, error) {
	reader, readable := backends.Capability[backends.ImageVolumeReader](s.images)
	if e.Form == backends.Source || e.DiskFormat != string(diskimage.Raw) || !readable {
		return catalog.Entry{}, errNotRaw
	}
	content, err := reader.OpenImageVolume(ctx, e.ImageVolume)
	if err != nil {
		return catalog.Entry{}, err
	}
	defer content.Close()
	err = inspectRaw(ctx, io.NewSectionReader(content, 0, e.SourceBytes), diskimage.Options{
		Declared: diskimage.Raw, SourceBytes: e.SourceBytes, Accept: fl.cfg.AcceptFormats, AcceptCompression: fl.cfg.AcceptCompression, Scratch: fl.scratch,
	})
	if errors.Is(err, diskimage.ErrRefused) {
		return catalog.Entry{}, errors.Join(err, fl.stock.giveWay(ctx, s, e))
	}
	if err != nil {
		return catalog.Entry{}, err
	}
	defer s.changing()()
	if e, err = fl.catalog.SetInspected(ctx, e.ID, diskimage.InspectorVersion); err != nil {
		return catalog.Entry{}, err
	}
	s.learn(e)
	fl.books.noteEntry(EventMended, e, catalog.Event{Reason: "old-inspector", Detail: fmt.Sprintf("image-volume %s was inspected again, under rules %d", e.ImageVolume, diskimage.InspectorVersion)})
	return e, nil
}

// inspectRaw reads a raw image as a fill does, and writes nothing. errNotRaw: by the rules of now it is something
// else, which is to be unpacked perhaps.
func inspectRaw(ctx context.Context, image io.Reader, options diskimage.Options) error {
	r, err := diskimage.Open(ctx, image, options)
	if err != nil {
		return err
	}
	if r.Info().ContentFormat() != string(diskimage.Raw) {
		return errors.Join(errNotRaw, r.Close())
	}
	_, err = r.Decode(ctx, nowhere{}, func(int64, int64) {})
	return errors.Join(err, r.Close())
}

// nowhere takes what is decoded only to be inspected.
type nowhere struct{}

// WriteAt drops b.
func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

// giveWay evicts an entry that may not serve any more, pinned or not.
func (k *stock) giveWay(ctx context.Context, s *store, e catalog.Entry) error {
	_, err := k.evict(ctx, s, e.ID, catalog.CauseStale)
	if errors.Is(err, catalog.ErrPinned) {
		if _, err := k.catalog.SetPinned(ctx, e.ID, false); err != nil {
			return err
		}
		_, err = k.evict(ctx, s, e.ID, catalog.CauseStale)
	}
	if isGone(err) { // somebody else was faster
		return nil
	}
	return err
}

// pinAnew pins the entry that took a pinned one's place, for the same. A failure is logged.
func (k *stock) pinAnew(ctx context.Context, e, was catalog.Entry) catalog.Entry {
	pin := func(ctx context.Context, id catalog.EntryID) (catalog.Entry, error) {
		return k.catalog.SetPinned(ctx, id, true)
	}
	if was.PinnedByRule {
		pin = k.catalog.PinByRule
	}
	pinned, err := pin(context.WithoutCancel(ctx), e.ID)
	if err != nil {
		k.log.WithField("entry", e.ID).WithError(err).Warn("entry not pinned as the one was whose place it took")
		return e
	}
	return pinned
}

// Revalidated is what Revalidate found.
type Revalidated struct {
	Entry  EntryView `json:"entry" doc:"The entry as it is now; as it was where it was dropped"`
	Valid  bool      `json:"valid" doc:"Its bytes are those of its image, and pass the inspector's rules. Otherwise it was dropped, and the next request caches the image anew; one in quarantine stays there"`
	Detail string    `json:"detail,omitempty" doc:"Why it was dropped, or stays in quarantine"`
}

// Revalidate reads an entry's bytes from end to end, compares them with its digest or content sum, and inspects them
// by the rules of now. One that does not pass is dropped, pinned or not; volumes made from it should be looked at. One in
// quarantine is released if it passes, and stays there if not.
// catalog.ErrNotFound, ErrBadRequest, ErrBusy (it is not ready), backends.ErrUnavailable.
func (p *Plugin) Revalidate(ctx context.Context, id string) (Revalidated, error) {
	return p.fills.revalidate(ctx, id)
}

// revalidate is Revalidate.
func (fl *fills) revalidate(ctx context.Context, id string) (Revalidated, error) {
	e, err := fl.stock.entry(ctx, id)
	if err != nil {
		return Revalidated{}, err
	}
	if e.State != catalog.Ready {
		return Revalidated{}, fmt.Errorf("%w: it is %s; only what is ready can be looked at", ErrBusy, e.State)
	}
	s := fl.stock.storeOf(e.Store)
	if s == nil {
		return Revalidated{}, fmt.Errorf("%w: %q is no longer configured", ErrUnknownBackend, fl.stock.label(e.Store))
	}
	defer fl.books.writeNow(ctx)
	why, err := fl.invalid(ctx, s, e)
	if err != nil {
		return Revalidated{}, err
	}
	if why != "" && !e.QuarantinedAt.IsZero() {
		return Revalidated{Entry: fl.stock.fullView(ctx, e), Detail: why}, nil
	}
	if why != "" {
		if err := fl.stock.giveWay(ctx, s, e); err != nil {
			return Revalidated{}, err
		}
		fl.books.noteEntry(EventMended, e, catalog.Event{Reason: "content", Detail: "dropped: " + why})
		return Revalidated{Entry: fl.stock.entryView(e), Detail: why}, nil
	}
	if !e.QuarantinedAt.IsZero() {
		released, err := fl.stock.release(ctx, s, e)
		if err != nil || !released {
			return Revalidated{Entry: fl.stock.entryView(e), Detail: "its content is right, and another entry has it by now"}, err
		}
	}
	if e, err = fl.catalog.Get(ctx, e.ID); err != nil {
		return Revalidated{}, err
	}
	return Revalidated{Entry: fl.stock.fullView(ctx, e), Valid: true}, nil
}

// invalid says why an entry must not serve any more; "" where it may.
func (fl *fills) invalid(ctx context.Context, s *store, e catalog.Entry) (string, error) {
	iv, err := findImageVolume(ctx, s, e.ImageVolume)
	if err != nil {
		return "", err
	}
	reader, readable := backends.Capability[backends.ImageVolumeReader](s.images)
	switch {
	case iv.State != backends.Committed:
		return fmt.Sprintf("image-volume %s is not there any more", e.ImageVolume), nil
	case !readable:
		return "", fmt.Errorf("%w: %s cannot be read back", ErrBadRequest, s.name)
	}
	if read, err := readContentOf(ctx, fl.catalog, reader, iv); err != nil || read.wrong != "" {
		return read.wrong, err
	}
	_, err = fl.inspectAgain(ctx, s, e)
	switch {
	case errors.Is(err, errNotRaw) && !outdated(e):
		return "", nil
	case errors.Is(err, errNotRaw):
		return fmt.Sprintf("it was inspected under rules %d, now they are %d, and %s images are read again for that", e.InspectorVersion, diskimage.InspectorVersion, e.DiskFormat), nil
	case errors.Is(err, diskimage.ErrRefused):
		return err.Error(), nil
	}
	return "", err
}
