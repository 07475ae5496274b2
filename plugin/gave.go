package plugin

import (
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// Who reads an image while it comes goes on with another attempt of its fill where one comes to nothing. What they have by then
// must be what that attempt finds: of what was read from a damaged image-volume they may have other bytes than the image's.

// errUnlike: what was given of an image is not what the image is. Whoever has it must not take it for a whole one.
var errUnlike = errors.New("what was given of the image came from damaged bytes")

// gave is what a KeptImage has given as it came: by which course of the tide, and what it adds up to. The sum finds damage, and is
// no proof against somebody who made it.
type gave struct {
	course     int
	from, till int64
	sum        *xxh3.Hasher // nil: nothing was given
}

// next reads what has come at off, where what was given before is as it comes now. errUnlike; another error is the stage's.
func (g *gave) next(from level, b []byte, off int64) (int, error) {
	if g.sum == nil || off != g.till {
		*g = gave{from.course, off, off, xxh3.New()}
	}
	if err := g.sameIn(from.stage, from.course); err != nil {
		return 0, err
	}
	n, err := from.stage.ReadAt(b, off)
	_, _ = g.sum.Write(b[:n]) // it never fails
	g.till += int64(n)
	return n, err
}

// sameIn compares what was given with what there is on another course. errUnlike; another error is the reader's.
func (g *gave) sameIn(there io.ReaderAt, course int) error {
	if g.sum == nil || g.course == course {
		return nil
	}
	err := g.same(io.NewSectionReader(there, g.from, g.till-g.from))
	if errors.Is(err, io.EOF) {
		return errUnlike
	}
	if err == nil {
		g.course = course
	}
	return err
}

// same compares what was given with as many bytes as they come. errUnlike; another error is the reader's.
func (g *gave) same(from io.Reader) error {
	again := xxh3.New()
	if _, err := io.CopyN(again, from, g.till-g.from); err != nil {
		return err
	}
	if again.Sum128() != g.sum.Sum128() {
		return errUnlike
	}
	return nil
}

// sameWhole is sameIn the file that all of the image is in. ErrPart.
func (k *KeptImage) sameWhole() error {
	if k.flight == nil {
		return nil
	}
	tide, _ := k.flight.tide.now()
	err := k.gave.sameIn(k.file, tide.course)
	if err != nil && !errors.Is(err, errUnlike) {
		return k.ends(err)
	}
	return k.told(err)
}

// ends is why the rest is not to be had here. ErrPart.
func (k *KeptImage) ends(err error) error {
	tide, _ := k.flight.tide.now()
	k.unproven = k.gave.sum != nil && k.gave.course < tide.sound
	return fmt.Errorf("%w: %w", ErrPart, err)
}

// Unproven tells, after ErrPart, that what Copy has written was read from what is kept here, and was not verified: it is Same as
// what the source gives before anything is added to it.
func (k *KeptImage) Unproven() bool { return k.unproven }

// Same compares what Copy has written with the source's bytes from the same offset on, of which it reads as many. An error says that they
// differ, or is the reader's.
func (k *KeptImage) Same(source io.Reader) error {
	if k.gave.sum == nil {
		return nil
	}
	return k.gave.same(source)
}

// told says that a download is broken off: whoever serves it cannot tell that from a reader who has gone.
func (k *KeptImage) told(err error) error {
	if errors.Is(err, errUnlike) {
		k.o.log.WithField("image", k.Image.Ref()).WithError(err).Warn("download broken off; it is to be repeated")
	}
	return err
}
