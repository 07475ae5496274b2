package plugin

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// mayFollow tells whether a request may name an image so, and the queue may keep it: who writes a source's list, or puts
// files there, chooses the names.
func mayFollow(source imagesource.Source, id string) bool {
	return plainText("image", id) == nil && len(id) <= maxQueuedImage && imagesource.ShownID(source, id) == id
}

// namesAreIDs tells whether a rule's pattern says of an image that is cached whether it is the rule's, listed or not, and
// whether the source's word that there is none is meant for everybody. An image service matches other names than IDs, and
// says so of each image that is private.
func (f *keeper) namesAreIDs(r *rule) bool {
	w := f.sources.called(r.Source)
	if w == nil {
		return false
	}
	_, all := imagesource.Underlying(w).(imagesource.SameForAll)
	return all
}

// isGone tells whether the source says that it has no such image: that a list lacks it may have another reason.
func (f *keeper) isGone(ctx context.Context, ref string) bool {
	var want wanted
	err := want.resolve(ctx, f.sources, ref)
	if err == nil {
		err = f.fills.authorise(imagesource.Anew(ctx), &want)
	}
	return errors.Is(err, imagesource.ErrNotFound) || errors.Is(err, imagesource.ErrNotActive)
}
