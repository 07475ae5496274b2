package plugin

import (
	"context"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// Where another service fills image-volumes from the image itself, none of its bytes come through here: nothing is
// inspected, and the digest is the image service's word. So an entry has the key of its image alone, whatever digest
// others have: whoever may set an image's digest would get another one's bytes else, or hand out its own.

// filledElsewhere has the image-volume filled by the store's service.
func (w *filling) filledElsewhere(ctx context.Context, filler backends.Filler) (catalog.Entry, error) {
	virtual := w.want.expectedBytes()
	if err := w.suitsFiller(virtual); err != nil {
		return catalog.Entry{}, err
	}
	if err := w.refuseTooLarge(virtual); err != nil {
		return catalog.Entry{}, err
	}
	if err := w.takeTurn(ctx); err != nil {
		return catalog.Entry{}, err
	}
	w.lap(&w.phases.Waiting)
	if err := w.berth.makeRoom(ctx, chargedBytes(virtual), evicting); err != nil {
		return catalog.Entry{}, err
	}
	failpoint.Reached(failpoint.Room)
	if err := w.berth.charge(ctx, virtual); err != nil { // the service begins to fill
		return catalog.Entry{}, err
	}
	final := w.told(virtual)
	if err := w.stageEmpty(ctx, final); err != nil {
		return catalog.Entry{}, err
	}
	if err := filler.Fill(ctx, w.stage.ImageVolumeStage, w.filledBytes); err != nil {
		return catalog.Entry{}, err
	}
	failpoint.Reached(failpoint.Write)
	committed, err := w.stage.ImageVolumeStage.Commit(ctx, w.description(final))
	if err != nil {
		return catalog.Entry{}, err
	}
	return w.publishCommitted(ctx, committed, final, []catalog.Key{w.want.reading})
}

// chargedBytes are what a volume of the tenant's service holds, as far as anybody is told: whole GiB.
func chargedBytes(virtual int64) int64 { return internaltenant.Gigabytes(virtual) << 30 }

// suitsFiller steps aside where the service could not be told what to fill, or nobody could say what it was.
func (w *filling) suitsFiller(virtual int64) error {
	switch {
	case virtual <= 0:
		return &stepAside{reason: ReasonUnsuitable, detail: fmt.Sprintf("nobody says how large the disk in %s is, and a volume for it must be as large", w.want.image.Ref())}
	case !w.want.expected.IsZero():
		return &stepAside{reason: ReasonUnsuitable, detail: fmt.Sprintf("a digest is expected of %s which its source does not promise, and its bytes are not read here", w.want.image.Ref())}
	}
	return nil
}

// stageEmpty names the image-volume in the row, and marks the volume that the claim has brought.
func (w *filling) stageEmpty(ctx context.Context, final catalog.Published) error {
	id := backends.ImageVolumeID(fmt.Sprintf("cc-%s-%d", w.entry.ID, w.entry.Attempt))
	if err := w.fl.catalog.RecordStage(ctx, w.entry.ID, w.entry.Attempt, id, backends.Decoded, final.VirtualBytes); err != nil {
		return err
	}
	w.entry.ImageVolume = id
	failpoint.Reached(failpoint.Name)
	stage, err := w.stageIt(ctx, backends.StageSpec{ID: id, VirtualBytes: final.VirtualBytes, Description: w.description(final)})
	if err != nil {
		return err
	}
	w.stage = &meteredStage{ImageVolumeStage: stage, w: w, ctx: ctx, size: final.VirtualBytes}
	failpoint.Reached(failpoint.Stage)
	return nil
}

// told is what the image's source says of it.
func (w *filling) told(virtual int64) catalog.Published {
	image := w.want.image
	return catalog.Published{
		Key: w.want.key, RevisionKey: w.want.reading, ImageID: image.Ref(), Sharing: catalog.ShareOwner,
		Content: backends.Content{
			Digest: image.Digest.String(), DiskFormat: image.DiskFormat,
			SourceBytes: max(image.SizeBytes, 0), VirtualBytes: virtual, InspectorVersion: diskimage.InspectorVersion,
		},
	}
}

// filledBytes counts the image as downloaded: the service has read it for us.
func (w *filling) filledBytes(written int64) {
	read := max(w.want.image.SizeBytes, 1)
	w.downloaded.Store(read)
	w.progress(read, written)
}
