package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// miss is why a fill was needed, as a word and as a sentence.
type miss struct {
	cause  MissCause
	detail string
}

// sameContent is the miss of a fill that found the content of the image cached already.
func sameContent() miss {
	return miss{MissSameContent, "its content was cached already, under another name or revision; no image-volume was made"}
}

// whyMissed finds out why an image is not in a store. What cannot be found out is nothing that a request
// should end for.
func (fl *fills) whyMissed(ctx context.Context, s *store, want *wanted) miss {
	why, cause, err := fl.catalog.WhyAbsent(ctx, s.id(), want.image.Domain, want.image.Ref())
	if err != nil {
		fl.log.WithFields(want.fields(s)).WithError(err).Warn("why the image is not cached was not found out")
		return miss{}
	}
	switch why {
	case MissNeverCached:
		return miss{why, "the image was not cached before"}
	case MissChanged:
		return miss{why, "the image has other content than what was cached of it"}
	case MissEvicted:
		return miss{why, fmt.Sprintf("what was cached of the image had been evicted (%s)", cause)}
	case MissQuarantined:
		return miss{why, "what is cached of the image was found damaged, and nothing is made from it"}
	case MissSameContent: // only a fill finds that out
	}
	return miss{}
}

// noteGone lets the entries of an image go first once its source has it no more, for anybody.
func (fl *fills) noteGone(ctx context.Context, want *wanted, err error) {
	if _, all := imagesource.Underlying(want.source).(imagesource.SameForAll); !all || !errors.Is(err, imagesource.ErrNotFound) || fl.catalogAway() != nil {
		return
	}
	if err := fl.catalog.ImageGone(ctx, want.image.Ref()); err != nil && ctx.Err() == nil {
		fl.log.WithField("image", want.image.Ref()).WithError(err).Warn("entries of an image that is gone are not marked as superseded")
	}
}
