package cinder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// What the metadata of an image-volume's volumes says. Its owner has written the first four; the hook writes the place, when
// Cinder makes the volume.
const (
	metaCatalog     = "clonecache_catalog"
	metaEntry       = "clonecache_entry_id"
	metaAttempt     = "clonecache_attempt"
	metaGeneration  = "clonecache_generation" // "" is the first one
	metaPlace       = "clonecache_place"
	metaImageVolume = "clonecache_image_volume"
	metaCommitted   = "clonecache_committed" // of the first one: the time
	metaAbout       = "clonecache_about_"    // and a number: its description, in pieces
)

// family is an image-volume: the volumes that it consists of.
type family struct {
	id          backends.ImageVolumeID
	generations []*generation // the first one first; not empty
	committed   bool
	about       string // JSON
	claim       claim
}

// claim is what the owner wrote into each volume that is to be a generation.
type claim struct{ entry, attempt string }

func claimOf(v volume) claim { return claim{v.Metadata[metaEntry], v.Metadata[metaAttempt]} }

// generation is one volume of a family, and what became of its loans as far as this process knows.
type generation struct {
	id        backends.GenerationID
	number    int
	gigabytes int64
	place     backends.Place
	ready     bool // Cinder has filled it

	fullUntil time.Time
	clones    int // made or being made, less those that came to nothing
}

// generationOf reads one volume.
func generationOf(v volume) *generation {
	number, err := strconv.Atoi(v.Metadata[metaGeneration])
	if err != nil {
		number = 1
	}
	return &generation{
		id: backends.GenerationID(v.ID), number: number, gigabytes: int64(v.Size),
		place: backends.Place(v.Metadata[metaPlace]), ready: v.Status == statusAvailable || v.Status == "in-use",
	}
}

// aboutOf puts the pieces of a description together.
func aboutOf(metadata map[string]string) string {
	var about strings.Builder
	for i := 0; ; i++ {
		piece, there := metadata[metaAbout+strconv.Itoa(i)]
		if !there {
			return about.String()
		}
		about.WriteString(piece)
	}
}

// pieces are a description as metadata, whose values are short in Cinder.
func pieces(about string) map[string]string {
	all := make(map[string]string)
	for i, rest := 0, []rune(about); len(rest) > 0; i++ {
		n := min(longestText, len(rest))
		all[metaAbout+strconv.Itoa(i)], rest = string(rest[:n]), rest[n:]
	}
	return all
}

// imageVolume is the family as the backend's callers see it.
func (f *family) imageVolume() (backends.ImageVolume, error) {
	iv := backends.ImageVolume{ID: f.id, State: backends.Staged}
	for _, g := range f.generations {
		iv.HeldBytes += g.gigabytes << 30
	}
	if f.about != "" {
		if err := json.Unmarshal([]byte(f.about), &iv.Description); err != nil {
			return iv, fmt.Errorf("image-volume %s: its description cannot be read: %w", f.id, err)
		}
		iv.VirtualBytes = iv.Description.VirtualBytes
	}
	if f.committed && f.generations[0].number == 1 {
		iv.State = backends.Committed
	}
	return iv, nil
}

// mine is the catalog whose volumes are ours. ErrUnavailable: nobody said yet.
func (b *Backend) mine() (string, error) {
	if catalog := b.catalog.Load(); catalog != nil {
		return string(*catalog), nil
	}
	return "", fmt.Errorf("%w: it is not known yet whose image-volumes are meant", backends.ErrUnavailable)
}

// families are the image-volumes that Cinder has, by ID; of one alone, where id is not "". What this process knows of
// their loans is kept.
func (b *Backend) families(ctx context.Context, id backends.ImageVolumeID) (map[backends.ImageVolumeID]*family, error) {
	ours, err := b.ours(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[string]string{metaCatalog: ours.catalog}
	if id != "" {
		wanted[metaImageVolume] = string(id)
	}
	found, err := b.list(ctx, wanted)
	if err != nil {
		return nil, err
	}
	all := make(map[backends.ImageVolumeID]*family)
	for _, v := range found {
		of := backends.ImageVolumeID(v.Metadata[metaImageVolume])
		if of == "" || id != "" && of != id || !ours.has(v) || v.Status == statusDeleting {
			continue
		}
		f := all[of]
		if f == nil {
			f = &family{id: of, claim: claimOf(v)}
			all[of] = f
		}
		f.add(v)
	}
	b.shelf.put(id, all)
	return all, nil
}

func (f *family) add(v volume) {
	g := generationOf(v)
	f.generations = append(f.generations, g)
	slices.SortFunc(f.generations, func(a, b *generation) int { return a.number - b.number })
	if g.number == 1 {
		f.committed, f.about = v.Metadata[metaCommitted] != "", aboutOf(v.Metadata)
	}
}

// put takes what Cinder says: of one image-volume, or of all where id is "".
func (s *shelf) put(id backends.ImageVolumeID, now map[backends.ImageVolumeID]*family) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range now {
		f.remember(s.known[f.id])
	}
	if id == "" {
		s.known = make(map[backends.ImageVolumeID]*family, len(now))
	}
	delete(s.known, id)
	for of, f := range now {
		s.known[of] = f
	}
}

// remember keeps what is known of the loans of a family's generations.
func (f *family) remember(was *family) {
	if was == nil {
		return
	}
	for _, g := range f.generations {
		for _, before := range was.generations {
			if before.id == g.id {
				g.fullUntil, g.clones = before.fullUntil, before.clones
			}
		}
	}
}

// forget lets Cinder be asked before the image-volume is lent again.
func (s *shelf) forget(id backends.ImageVolumeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
}

// find looks at one image-volume in Cinder. ErrNotExist.
func (b *Backend) find(ctx context.Context, id backends.ImageVolumeID) (*family, error) {
	all, err := b.families(ctx, id)
	if err != nil {
		return nil, err
	}
	if f := all[id]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("image-volume %s: %w", id, backends.ErrNotExist)
}

// StatImageVolume implements backends.ImageVolumeStater.
func (b *Backend) StatImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	f, err := b.find(ctx, id)
	if err != nil {
		return backends.ImageVolume{}, err
	}
	return f.imageVolume()
}

// ListImageVolumes implements backends.Store.
func (b *Backend) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		all, err := b.families(ctx, "")
		if err != nil {
			yield(backends.ImageVolume{}, err)
			return
		}
		for _, f := range all {
			if !yield(f.imageVolume()) {
				return
			}
		}
	}
}

// unborn are volumes that were to be generations of an image-volume, and are none: whoever asked for them has died, or is
// about to see that the image-volume goes.
func (b *Backend) unborn(ctx context.Context, f *family) ([]volume, error) {
	ours, err := b.ours(ctx)
	if err != nil || f.claim.entry == "" {
		return nil, err
	}
	found, err := b.list(ctx, map[string]string{metaCatalog: ours.catalog, metaEntry: f.claim.entry})
	return slices.DeleteFunc(found, func(v volume) bool {
		return !ours.has(v) || claimOf(v) != f.claim || v.Metadata[metaGeneration] == "" || v.Metadata[metaImageVolume] != ""
	}), err
}

// Retire implements backends.Store. From its first step on nothing is lent; what was to be a generation and the later generations
// are deleted, and the first one's mark goes last, so that a repeated Retire finds what is left. The first one's volume is its owner's to remove.
// ErrInUse: the driver does not delete a generation while clones depend on it; it is tried again.
func (b *Backend) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	f, err := b.find(ctx, id)
	if err != nil {
		return backends.Retired{}, err
	}
	b.shelf.forget(id)
	defer b.shelf.forget(id)
	unborn, err := b.unborn(ctx, f)
	if err != nil {
		return backends.Retired{}, err
	}
	for _, v := range unborn {
		if err := b.remove(ctx, v.ID); err != nil {
			return backends.Retired{}, err
		}
	}
	freed := int64(0)
	for i, g := range slices.Backward(f.generations) {
		if i == len(f.generations)-1 && f.generations[0].number == 1 {
			if err := b.unnote(ctx, string(f.generations[0].id), metaCommitted); err != nil {
				return backends.Retired{}, err
			}
		}
		if g.number > 1 {
			if err := b.remove(ctx, string(g.id)); err != nil {
				return backends.Retired{}, err
			}
		} else if err := b.unnote(ctx, string(g.id), metaImageVolume); err != nil {
			return backends.Retired{}, err
		}
		freed += g.gigabytes << 30
	}
	return backends.Retired{Gone: true, FreedBytes: freed}, nil
}

// Reap implements backends.Store. Nothing is ever detached.
func (*Backend) Reap(context.Context) (backends.Reaped, error) { return backends.Reaped{}, nil }

// vanished tells that a volume is not there, or not ours any more.
func vanished(err error) bool {
	return errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrNotOurs)
}
