package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// What was found damaged is remembered in state_dir too: an image-volume does not say of itself that it is, so that a catalog
// that was lost, or restored to what it was before, would let it serve again until it is read back once more.

// damagedFile is where, below state_dir.
const damagedFile = "damaged.json"

// mostDamaged bounds how many are remembered; the oldest are forgotten.
const mostDamaged = 1000

// damagedVolume is one image-volume that was put into quarantine. Its name is used once, so that it tells of nothing else.
type damagedVolume struct {
	ImageVolume backends.ImageVolumeID `json:"image_volume"`
	Entry       catalog.EntryID        `json:"entry"`
	Why         string                 `json:"why"`
	At          time.Time              `json:"at"` // by the catalog's clock
}

// damaged is what this daemon remembers of quarantines. It may be used from several goroutines; the zero value remembers
// nothing and writes nowhere. The file is replaced as a whole, durably: a crash leaves the former one or the new one.
type damaged struct {
	mu        sync.Mutex // guards what follows, and the file
	path      string
	volumes   []damagedVolume
	unwritten bool // the file does not say so yet
}

// open reads what was remembered. A file that is damaged itself is an error that says what to do.
func (d *damaged) open(stateDir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.path = filepath.Join(stateDir, damagedFile)
	text, err := os.ReadFile(d.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &d.volumes)
	}
	if err != nil {
		return fmt.Errorf("%s, which tells of damaged image-volumes, cannot be read; restore it, or remove it and run `clonecache scrub`: %w", d.path, err)
	}
	return nil
}

// add remembers entries that are in quarantine.
func (d *damaged) add(all ...catalog.Entry) error {
	return d.change(func(was []damagedVolume) []damagedVolume {
		for _, e := range all {
			is := func(v damagedVolume) bool { return v.ImageVolume == e.ImageVolume }
			known := slices.IndexFunc(was, is)
			if e.ImageVolume != "" && (known < 0 || was[known].At.Before(e.QuarantinedAt)) {
				was = append(slices.DeleteFunc(was, is), damagedVolume{ImageVolume: e.ImageVolume, Entry: e.ID, Why: e.Quarantine, At: e.QuarantinedAt})
			}
		}
		return was[max(0, len(was)-mostDamaged):]
	})
}

// forget is told of one that was read again, and is right.
func (d *damaged) forget(id backends.ImageVolumeID) error {
	return d.change(func(was []damagedVolume) []damagedVolume {
		return slices.DeleteFunc(was, func(v damagedVolume) bool { return v.ImageVolume == id })
	})
}

// of is what is remembered of an image-volume.
func (d *damaged) of(id backends.ImageVolumeID) (v damagedVolume, known bool) {
	for _, v := range d.all() {
		if v.ImageVolume == id {
			return v, true
		}
	}
	return damagedVolume{}, false
}

func (d *damaged) all() []damagedVolume {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.volumes)
}

// change writes the file anew where what is remembered differs, or could not be written the last time.
func (d *damaged) change(to func([]damagedVolume) []damagedVolume) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := to(slices.Clone(d.volumes))
	if slices.Equal(next, d.volumes) && !d.unwritten {
		return nil
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	d.volumes = next
	err = writeID(d.path, string(text))
	d.unwritten = err != nil
	return err
}

// rememberDamaged remembers what is in quarantine, and logs where that cannot be written down: it is in the catalog.
func (k *stock) rememberDamaged(all ...catalog.Entry) {
	if err := k.damaged.add(all...); err != nil {
		k.log.WithError(err).Warn("what is in quarantine is not written down in state_dir; a catalog that is lost would not know of it")
	}
}

// openDamaged reads what was remembered.
func (k *stock) openDamaged(stateDir string) error { return k.damaged.open(stateDir) }

// rememberedDamage is why an image-volume was put into quarantine, as far as that is remembered.
func (k *stock) rememberedDamage(id backends.ImageVolumeID) (why string, known bool) {
	v, known := k.damaged.of(id)
	return v.Why, known
}

// quarantineRemembered puts into quarantine again what a catalog that was restored, or rebuilt by a start that was killed,
// does not know to be damaged, unless it was read back since it was found so. It goes before anything is served.
func (k *stock) quarantineRemembered(ctx context.Context) error {
	for _, d := range k.damaged.all() {
		e, err := k.catalog.Get(ctx, d.Entry)
		if errors.Is(err, catalog.ErrNotFound) {
			continue // it has gone; or the store is late, and it is taken in later
		}
		if err != nil {
			return err
		}
		s := k.storeOf(e.Store)
		if s == nil || e.ImageVolume != d.ImageVolume || !e.Serves() || e.VerifiedAt.After(d.At) {
			continue
		}
		if _, err := k.quarantine(ctx, s, e, d.Why); err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}
