package plugin

import (
	"context"
	"io"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// The image-volume of a raw image begins with the image's own bytes. Of other formats, and of what is compressed, only what they
// decode to is there.

// diskOf are the bytes of an image that is to be kept as it is, where an image-volume here was made of them; nil: none was,
// or none can be read.
func (fl *fills) diskOf(ctx context.Context, want *wanted) *keptBytes {
	disk := *want
	disk.form = backends.Decoded
	disk.identify()
	for _, s := range fl.stock.orderedStores() {
		if kept := fl.diskIn(ctx, s, want, &disk); kept != nil {
			return kept
		}
	}
	return nil
}

// diskIn are those of one store. It does not leave the configuration until they are closed.
func (fl *fills) diskIn(ctx context.Context, s *store, want, disk *wanted) (kept *keptBytes) {
	s.fills.Add(1)
	defer func() {
		if kept == nil {
			s.fills.Add(-1)
		}
	}()
	reader, readable := backends.Capability[backends.ImageVolumeReader](s.images)
	if !readable || filledByService(s) || !s.served() || s.unheard.Load() > 0 {
		return nil
	}
	e, ok := fl.readInto(ctx, s, disk)
	if !ok || !e.beginsWith(want) {
		return nil
	}
	content, err := whileItAnswers(ctx, fl.patience, &s.unheard, func() (backends.ImageVolumeContent, error) {
		return reader.OpenImageVolume(ctx, e.ImageVolume)
	}, func(c backends.ImageVolumeContent) { _ = c.Close() }) // only read
	if err != nil {
		fl.log.WithFields(want.fields(s)).WithError(err).Debug("image-volume not opened in place of the image")
		return nil
	}
	from := &diskReader{ctx: ctx, from: newSparseReader(ctx, content, 0, e.SourceBytes), patience: fl.patience, unheard: &s.unheard}
	return &keptBytes{Reader: from, from: stays{content, s}, store: s, entry: e.Entry, disk: true}
}

// stays is what keeps its store until it is closed, once.
type stays struct {
	io.Closer
	s *store
}

// Close implements io.Closer.
func (o stays) Close() error {
	defer o.s.fills.Add(-1)
	return o.Closer.Close()
}

// madeOf is an entry that an image was read into.
type madeOf struct{ catalog.Entry }

// readInto is the ready entry in s that an image was read into, also where another host has filled it. What cannot be found
// out now is not there: the source has the image.
func (fl *fills) readInto(ctx context.Context, s *store, disk *wanted) (madeOf, bool) {
	if e, ok := s.find(disk); ok {
		return madeOf{e}, true
	}
	if fl.sole {
		return madeOf{}, false
	}
	e, err := fl.catalog.Find(ctx, s.id(), disk.image.Domain, disk.reading)
	return madeOf{e}, err == nil && e.Serves() && !s.ready.bans(e.ID)
}

// beginsWith tells whether the entry's content begins with the image's bytes, as far as its source describes them.
func (e madeOf) beginsWith(want *wanted) bool {
	return e.Form != backends.Source && e.DiskFormat == string(diskimage.Raw) && e.ImageVolume != "" &&
		e.Digest == want.image.Digest.String() && e.SourceBytes == want.image.SizeBytes && e.SourceBytes <= e.VirtualBytes
}

// lookAtSpoilt reads an image-volume of which other bytes came than the image's once more, as a scrub does, and puts it into
// quarantine where it is not what was written. It goes on when the fill has ended; Close waits for it, and ends it.
func (fl *fills) lookAtSpoilt(s *store, e catalog.Entry) {
	s.fills.Add(1)
	fl.running.Go(func() {
		defer s.fills.Add(-1)
		log := fl.log.WithFields(map[string]any{"backend": s.name, "image_volume": e.ImageVolume})
		read, err := fl.stock.readThrough(fl.base, s, e, 100, nil)
		switch {
		case fl.base.Err() != nil:
		case err != nil:
			log.WithError(err).Warn("image-volume gave other bytes than its image's, and was not to be read again; the next scrub reads it")
		case read.wrong == "":
			log.Warn("image-volume gave other bytes than its image's, and was right when it was read again")
		default:
			if _, err := fl.stock.quarantine(fl.base, s, e, read.wrong); gone(err) != nil {
				log.WithError(err).Warn("damaged image-volume not put into quarantine; the next scrub does that")
			}
		}
	})
}
