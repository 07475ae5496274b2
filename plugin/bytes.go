package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

var (
	// ErrNotKept: the file cache cannot give an image's bytes, now or ever; the message says why. The caller gets them from
	// the source, as if there were no cache.
	ErrNotKept = errors.New("the image's bytes are not kept")
	// ErrPart: the file cache has given a part of an image's bytes, and cannot give the rest. The caller gets that from the
	// source; KeptImage.Unproven.
	ErrPart = errors.New("the rest of the image's bytes is not kept")
)

// Bytes hands out images as their sources have them, from a file cache that keeps them. It is for who serves
// downloads. It may be used from several goroutines.
type Bytes struct {
	*house
	books   *books
	stock   *stock
	fills   *fills
	sources *sources
	gate    *gate
	queue   *queue
	spared  *spared // what is fetched sparingly
}

// BytesOf is that of an open cache.
func BytesOf(p *Plugin) Bytes { return p.ladder.bytes(&p.gate, p.queue) }

// bytes is one that knows what the ladder knows.
func (l *ladder) bytes(g *gate, q *queue) Bytes {
	return Bytes{l.house, l.books, l.stock, l.fills, l.sources, g, q, &spared{}}
}

// BytesRequest asks for an image's bytes.
type BytesRequest struct {
	Image string        // as Request.Image
	Cache backends.Name // the file cache that keeps it
	// Token is the requester's own, for sources that authorise each request by it. It is never stored or logged.
	Token imagesource.Token
	// Permitted, unless nil, tells whether the requester may have the bytes, once the source has described the image: where
	// that is asked elsewhere, both questions are asked at once. Without its word nothing is given or begun.
	Permitted func() bool
	// Fetch says what is done where the image is not kept.
	Fetch Fetching
}

// Fetching says what is done about an image that is not kept yet.
type Fetching int

const (
	// FetchNow waits for its bytes as they come, and begins to fetch it.
	FetchNow Fetching = iota
	// FetchNever gives what is kept, and ErrNotKept else.
	FetchNever
	// FetchSparingly is FetchNow, and Bytes.Fetch, for whom nobody knows: what is not being fetched yet is begun as long as it is a small part of
	// the file cache an hour, and ErrNotKept else.
	FetchSparingly
)

// Open asks the source for the image by the requester's right, and opens its bytes: those that are kept, or those that are
// being fetched, which is begun where nobody has. One download from the source serves all who ask meanwhile, and ends
// with the last of them; what it has brought is kept once its digest was verified.
//
// ErrNotKept, also where the requester may not have them; the errors of imagesource are those of the source; ErrStopping.
// Whatever it is, nothing was begun.
func (o Bytes) Open(ctx context.Context, r BytesRequest) (*KeptImage, error) {
	leave, ok := o.gate.enter()
	if !ok {
		return nil, ErrStopping
	}
	k, err := o.open(ctx, r)
	if err != nil {
		leave()
		return nil, err
	}
	k.leave = leave
	return k, nil
}

func (o Bytes) open(ctx context.Context, r BytesRequest) (*KeptImage, error) {
	begun := o.now()
	s, err := o.cacheNamed(ctx, r.Cache)
	if err != nil {
		return nil, err
	}
	want, err := o.wanted(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Permitted != nil && !r.Permitted() {
		return nil, fmt.Errorf("%w for this requester, who may not have those of %s", ErrNotKept, want.image.Ref())
	}
	k := &KeptImage{Image: want.image, o: o, store: s, begun: begun}
	if e, ok := s.find(want); ok {
		if k.file, err = o.whole(ctx, s, e); err == nil {
			k.entry, k.role = e, Hit
			return k, nil
		}
	}
	if r.Fetch == FetchNever {
		return nil, fmt.Errorf("%w: %s", ErrNotKept, want.image.Ref())
	}
	if err := errors.Join(o.keepable(s, want), o.mayFetch(s, want)); err != nil {
		return nil, err
	}
	if r.Fetch == FetchSparingly && !o.fills.fetches(s, want) {
		if err := o.spare(s, want, false); err != nil {
			return nil, err
		}
	}
	return k, k.fetch(ctx, *want, r.Token)
}

// Keeps asks the source for the image by the requester's right, and tells whether all of its bytes are kept. It counts as no
// request.
func (o Bytes) Keeps(ctx context.Context, r BytesRequest) bool {
	leave, ok := o.gate.enter()
	if !ok {
		return false
	}
	defer leave()
	s, err := o.cacheNamed(ctx, r.Cache)
	if err != nil {
		return false
	}
	want, err := o.wanted(ctx, r)
	if err != nil {
		return false
	}
	_, kept := s.find(want)
	return kept
}

// cacheNamed is the file cache of a name, if it answers. ErrNotKept, ErrUnknownBackend.
func (o Bytes) cacheNamed(ctx context.Context, name backends.Name) (*store, error) {
	s := o.stock.named(name)
	if s == nil || s.cache == nil {
		return nil, fmt.Errorf("%w: there is no file cache named %q", ErrUnknownBackend, name)
	}
	if err := errors.Join(s.outOfUse(), s.down()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	if err := o.stock.ensure(ctx, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return s, nil
}

// wanted is the image as its source describes it to the requester.
func (o Bytes) wanted(ctx context.Context, r BytesRequest) (*wanted, error) {
	want := &wanted{form: backends.Source, sharing: catalog.ShareOwner}
	if err := want.resolve(ctx, o.sources, r.Image); err != nil {
		return nil, err
	}
	if err := o.fills.authorise(imagesource.WithToken(ctx, r.Token), want); err != nil {
		return nil, err
	}
	return want, want.describedWhole()
}

// keepable refuses to fetch what is too large. ErrNotKept.
func (o Bytes) keepable(s *store, want *wanted) error {
	if bound := s.limit().bounds.MaxBytes; bound > 0 && want.image.SizeBytes > bound {
		return fmt.Errorf("%w: %s has %d bytes, file cache %s may hold %d", ErrNotKept, want.image.Ref(), want.image.SizeBytes, s.name, bound)
	}
	if err := o.catalogAway(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return nil
}

// mayFetch refuses what would have to wait until other images are fetched: its source gives it at once. ErrNotKept.
func (o Bytes) mayFetch(s *store, want *wanted) error {
	if turn := o.fills.turnFor(s, want); !turn.idle() && !o.fills.fetches(s, want) {
		return fmt.Errorf("%w: as many images are fetched as may be", ErrNotKept)
	}
	return nil
}

// whole opens what an entry names. An entry of something that has vanished is dropped.
func (o Bytes) whole(ctx context.Context, s *store, e catalog.Entry) (*os.File, error) {
	if s.ready.bans(e.ID) {
		return nil, fmt.Errorf("%w: it is damaged, and in quarantine", backends.ErrNotExist)
	}
	f, _, err := s.cache.OpenImage(ctx, e.ImageVolume)
	if errors.Is(err, backends.ErrNotExist) {
		return nil, errors.Join(err, o.stock.forgetVanished(ctx, s, e))
	}
	return f, err
}
