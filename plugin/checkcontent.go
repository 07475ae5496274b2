package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// surveyContent reads what the stores hold.
func (v *surveyor) surveyContent(ctx context.Context, o CheckOptions) ([]finding, error) {
	var findings []finding
	var read, total int64
	held, err := v.catalog.Held(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range held {
		total += h.Bytes + h.DetachedBytes
	}
	for _, s := range v.stock.orderedStores() {
		reader, readable := backends.Capability[backends.ImageVolumeReader](s.images)
		for iv, err := range s.images.ListImageVolumes(ctx) {
			if err != nil || iv.State != backends.Committed || !readable {
				continue // the survey has said so
			}
			if f := v.surveyBytes(ctx, s, reader, iv); f != nil {
				findings = append(findings, *f)
			}
			read += iv.HeldBytes
			if o.Progress != nil {
				o.Progress(read, total)
			}
		}
		if s.backend != nil {
			findings = append(findings, surveyVolumes(ctx, s)...)
		}
	}
	return findings, ctx.Err()
}

// surveyBytes reads one image-volume from end to end, and compares it with what its description and its
// row say of it.
func (v *surveyor) surveyBytes(ctx context.Context, s *store, r backends.ImageVolumeReader, iv backends.ImageVolume) *finding {
	kind, detail := v.wrongBytes(ctx, r, iv)
	switch kind {
	case "":
		return nil
	case unreadable:
		return &finding{Problem: Problem{
			Kind: kind, Backend: s.name, ID: string(iv.Description.EntryID), Detail: detail,
			Remedy: "look at the disks below; if they stay like that, `clonecache entry delete --force " + string(iv.Description.EntryID) + "` lets the next request cache the image anew",
		}}
	}
	return &finding{noted: true, Problem: Problem{
		Kind: kind, Backend: s.name, ID: string(iv.Description.EntryID), Detail: detail,
		Remedy: "check --deep --repair drops the entry; the next request caches the image anew, volumes made from it should be checked",
	}, fix: func(ctx context.Context) error {
		e, err := v.catalog.Get(ctx, iv.Description.EntryID)
		if errors.Is(err, catalog.ErrNotFound) || err == nil && e.ImageVolume != iv.ID {
			return nil // evicted meanwhile, and perhaps filled anew
		}
		if err != nil {
			return err
		}
		if still, _ := v.wrongBytes(ctx, r, iv); still == "" { // a fault in reading is no fault of what is read
			return ctx.Err()
		}
		return v.stock.forgetVanished(ctx, s, e)
	}}
}

// wrongBytes says what is wrong with an image-volume's content; kind is "" where nothing is.
func (v *surveyor) wrongBytes(ctx context.Context, r backends.ImageVolumeReader, iv backends.ImageVolume) (kind, detail string) {
	version := iv.Description.InspectorVersion
	if e, err := v.catalog.Get(ctx, iv.Description.EntryID); err == nil && e.ImageVolume == iv.ID {
		version = e.InspectorVersion // it may have been inspected again
	}
	if version < diskimage.InspectorVersion {
		return "old-inspector", fmt.Sprintf("image-volume %s was inspected under rules %d, now they are %d", iv.ID, version, diskimage.InspectorVersion)
	}
	return wrongContent(ctx, v.catalog, r, iv)
}

// wrongContent is wrongBytes whatever rules the image was inspected by.
func wrongContent(ctx context.Context, rows *catalog.Catalog, r backends.ImageVolumeReader, iv backends.ImageVolume) (kind, detail string) {
	read, err := readContentOf(ctx, rows, r, iv)
	if errors.Is(err, errUnread) {
		return unreadable, err.Error()
	}
	if err != nil || read.wrong == "" {
		return "", "" // evicted meanwhile, or the survey has said so
	}
	return "content", read.wrong
}

// contentRead is what reading an image-volume from end to end has shown.
type contentRead struct {
	sum   string // "": it has none
	wrong string // what is not as it was written; "": nothing
}

// errUnread: the disk does not give an image-volume's content (EIO), though it could be opened.
var errUnread = errors.New("the disk does not give its content")

// readContentOf reads an image-volume, and compares it with what its description and its row say. The error is of what
// could not be read now, and says nothing of the content.
func readContentOf(ctx context.Context, rows *catalog.Catalog, r backends.ImageVolumeReader, iv backends.ImageVolume) (contentRead, error) {
	content, err := r.OpenImageVolume(ctx, iv.ID)
	if err != nil {
		return contentRead{}, err
	}
	defer content.Close()
	read, err := readContent(ctx, content, iv)
	switch {
	case ctx.Err() != nil:
		return contentRead{}, ctx.Err() // which is not the image-volume's fault
	case errors.Is(err, syscall.EIO):
		return contentRead{}, fmt.Errorf("%w: image-volume %s: %w", errUnread, iv.ID, err)
	case errors.Is(err, backends.ErrUnavailable), errors.Is(err, errNotReadBack), errors.Is(err, catalog.ErrUnavailable):
		return contentRead{}, err
	case err != nil:
		return contentRead{wrong: fmt.Sprintf("image-volume %s: %v", iv.ID, err)}, nil
	}
	e, err := rows.Get(ctx, iv.Description.EntryID)
	if err != nil {
		e.ContentSum = "" // there is no row, which the survey has said, or which is gone by now
	}
	for _, was := range []struct{ by, sum string }{{"its description", iv.Description.ContentSum}, {"the catalog", e.ContentSum}} {
		if was.sum != "" && was.sum != read {
			return contentRead{wrong: fmt.Sprintf("image-volume %s: its content adds up to %s, %s says %s", iv.ID, read, was.by, was.sum)}, nil
		}
	}
	return contentRead{sum: read}, nil
}

// readContent reads an image-volume from end to end and returns its content sum. Where the image was
// raw, its bytes are the image-volume's, and the digest is compared too.
func readContent(ctx context.Context, content io.ReaderAt, iv backends.ImageVolume) (sum string, err error) {
	d := iv.Description
	digest, err := imagesource.ParseDigest(d.Digest)
	if err != nil || d.DiskFormat != string(diskimage.Raw) {
		return dataSum(ctx, content, iv.VirtualBytes)
	}
	image := imagesource.Verify(newSparseReader(ctx, content, 0, d.SourceBytes), digest)
	defer func() { _ = image.Close() }() // only read
	rest := newSparseReader(ctx, content, d.SourceBytes, max(d.SourceBytes, iv.VirtualBytes))
	all := io.MultiReader(image, rest)
	if sum, err = readSum(ctx, all, iv.VirtualBytes); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, all); err != nil { // the digest is known at the end
		return "", err
	}
	return sum, image.Check()
}

// surveyVolumes finds volumes of ours that are not whole.
func surveyVolumes(ctx context.Context, s *store) []finding {
	var findings []finding
	for v, err := range s.backend.ListVolumes(ctx) {
		switch {
		case err != nil:
			return append(findings, unavailable(s, err))
		case !v.Complete:
			findings = append(findings, finding{Problem: Problem{
				Kind: "half-made-volume", Backend: s.name, ID: string(v.Name),
				Detail: fmt.Sprintf("volume %s has %d bytes, and is not what it was made as", v.Name, v.SizeBytes),
				Remedy: "if its owner did not resize it, delete it and create it again",
			}})
		}
	}
	return findings
}
