package randomops

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
)

// invariants looks at all of them. I5 is the model's: a repeated request must come to what it predicts.
func (w *world) invariants(ctx context.Context, m *model, o observed) error {
	return errors.Join(
		w.readyRowsNameCommittedImageVolumes(ctx, m, o),
		everyImageVolumeIsNamed(o),
		w.clonesAreUnharmed(ctx, m),
		volumesAreWholeOrAbsent(m, o),
		quotaIsWhatExists(m, o),
		boundsHold(m, o),
		reportSaysWhatIsHeld(o),
	)
}

// I1: a ready row names a committed image-volume with the right bytes.
func (w *world) readyRowsNameCommittedImageVolumes(ctx context.Context, m *model, o observed) error {
	for id, e := range m.entries {
		if e.lost || e.detached {
			continue
		}
		name := backends.ImageVolumeID(o.entries[id].ImageVolume)
		iv, ok := o.stores[e.store][name]
		if !ok || iv.State != backends.Committed {
			return fmt.Errorf("I1: entry %s names image-volume %s, which is %v", id, name, iv.State)
		}
		if iv.HeldBytes != e.held || iv.VirtualBytes != contentSize(e.content) {
			return fmt.Errorf("I1: image-volume %s has %d bytes and holds %d, want %d and %d", name, iv.VirtualBytes, iv.HeldBytes, contentSize(e.content), e.held)
		}
		got, err := w.imageBytes(ctx, e.store, name)
		if err != nil {
			return fmt.Errorf("I1: %w", err)
		}
		if !isContent(got, e.content) {
			return fmt.Errorf("I1: image-volume %s is not content %d", name, e.content)
		}
	}
	return nil
}

// I2: every image-volume is named by a row (or removed by the next reconcile, which the model knows).
func everyImageVolumeIsNamed(o observed) error {
	named := map[string]bool{}
	for _, e := range o.entries {
		named[string(e.Backend)+"/"+e.ImageVolume] = true
	}
	for store, name := range storeNames {
		for id, iv := range o.stores[store] {
			if !named[string(name)+"/"+string(id)] {
				return fmt.Errorf("I2: image-volume %s in %s, %s, is named by no row", id, name, iv.State)
			}
		}
	}
	return nil
}

// I3: evicting never harms a clone: all have their image's bytes, whatever became of the image-volume.
func (w *world) clonesAreUnharmed(ctx context.Context, m *model) error {
	for i, v := range m.volumes {
		if v.foreign && w.memory != nil {
			continue
		}
		got, err := w.volumeBytes(ctx, volumeNames[i])
		switch {
		case err != nil:
			return fmt.Errorf("I3: %w", err)
		case v.foreign && string(got) != foreignBytes:
			return fmt.Errorf("I3: volume %s of somebody else was touched", volumeNames[i])
		case !v.foreign && (int64(len(got)) != v.size || !isContent(got, v.content)):
			return fmt.Errorf("I3: volume %s, %d bytes, is not content %d in %d bytes", volumeNames[i], len(got), v.content, v.size)
		}
	}
	return nil
}

// I4: a volume is whole or absent.
func volumesAreWholeOrAbsent(m *model, o observed) error {
	there := map[string]bool{}
	for _, name := range o.files {
		there[name] = true
	}
	for i, name := range volumeNames {
		v, seen := m.volumes[i], o.volumes[name]
		switch {
		case there[name] != (v != nil):
			return fmt.Errorf("I4: volume %s: there %t, want %t", name, there[name], v != nil)
		case v == nil || v.foreign:
			continue
		case !seen.Complete || seen.SizeBytes != v.size || seen.VolumeID != v.id:
			return fmt.Errorf("I4: volume %s: got %+v, want %d bytes, ID %s, complete", name, seen, v.size, v.id)
		}
		delete(there, name)
	}
	for name := range there {
		if m.volume(name) == nil {
			return fmt.Errorf("I4: %s lies among the volumes", name)
		}
	}
	return nil
}

func (m *model) volume(name string) *volume {
	for i, n := range volumeNames {
		if n == name {
			return m.volumes[i]
		}
	}
	return nil
}

// I6: the quota that is charged is the image-volumes that exist. One that was removed behind our back is
// charged until that is noticed.
func quotaIsWhatExists(m *model, o observed) error {
	unnoticed := int64(0)
	for id, e := range m.entries {
		if e.store == 0 && o.stores[0][backends.ImageVolumeID(o.entries[id].ImageVolume)].State == 0 {
			unnoticed++
		}
	}
	q := o.quota
	if charged := m.owned() - q.Volumes.InUse; charged >= 0 && charged < m.uncharged { // there was room for some by now
		m.uncharged = charged
	}
	exist := q.Volumes.Actual + unnoticed - m.uncharged
	if q.Volumes.InUse != exist || q.Gigabytes.InUse != exist || q.Volumes.Reserved != 0 {
		return fmt.Errorf("I6: quota: %+v, %+v, with %d unnoticed", q.Volumes, q.Gigabytes, unnoticed)
	}
	if q.Volumes.InUse != m.charged() {
		return fmt.Errorf("I6: quota: %d in use, want %d", q.Volumes.InUse, m.charged())
	}
	return nil
}

// I7: what is counted is at least what is held, so limits hold. (Lowered ones hold from the next fill or
// prune on: until then nothing grows.)
func boundsHold(m *model, o observed) error {
	for store, name := range storeNames {
		var counted, held int64
		n := 0
		for _, e := range o.entries {
			if e.Backend != name || e.State == "detached" {
				continue
			}
			counted += e.HeldBytes
			held += o.stores[store][backends.ImageVolumeID(e.ImageVolume)].HeldBytes
			n++
		}
		if held > counted {
			return fmt.Errorf("I7: %s holds %d bytes, and counts %d", name, held, counted)
		}
		maxBytes, maxCount := m.bounds(store)
		if last := m.last[store]; maxBytes > 0 && counted > max(maxBytes, last.held) || maxCount > 0 && n > max(maxCount, last.entries) {
			return fmt.Errorf("I7: %s has %d entries, %d bytes; bounds are %d and %d", name, n, counted, maxCount, maxBytes)
		}
		m.last[store] = figures{entries: n, held: counted}
	}
	return nil
}

// The report's figures of now are the catalog's.
func reportSaysWhatIsHeld(o observed) error {
	for store, name := range storeNames {
		var want figures
		for _, e := range o.entries {
			switch {
			case e.Backend != name:
			case e.State == "detached":
				want.detached += e.HeldBytes
			default:
				want.entries++
				want.held += e.HeldBytes
			}
		}
		if o.figures[store] != want {
			return fmt.Errorf("report of %s: got %+v, want %+v", name, o.figures[store], want)
		}
	}
	return nil
}
