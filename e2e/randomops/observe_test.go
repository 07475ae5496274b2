package randomops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
)

// observed is what can be seen of a world: by the plugin's API, and behind it.
type observed struct {
	entries map[string]plugin.EntryView // failed ones left out
	volumes map[string]plugin.VolumeView
	files   []string // names of volumes that are there, whoever made them
	stores  [2]map[backends.ImageVolumeID]backends.ImageVolume
	quota   plugin.Quota
	counts  counts
	figures [2]figures
}

// figures are what the report says of what is held now.
type figures struct {
	entries        int
	held, detached int64
}

// told is what a daemon says.
type told struct {
	Entries []plugin.EntryView
	Volumes []plugin.VolumeView
	Quota   plugin.Quota
	Report  report.Report
}

func (w *world) tell(ctx context.Context) (t told, err error) {
	if t.Entries, err = w.Entries(ctx, plugin.EntryFilter{}); err != nil {
		return t, err
	}
	if t.Volumes, err = w.ListVolumes(ctx, "local"); err != nil {
		return t, err
	}
	if t.Quota, err = w.Quota(ctx); err != nil {
		return t, err
	}
	t.Report, err = w.Report(ctx, "", time.Time{})
	return t, err
}

func (w *world) observe(ctx context.Context) (o observed, err error) {
	t, err := w.tell(ctx)
	if err != nil {
		return o, err
	}
	return w.beside(ctx, t)
}

// beside is what a daemon says, and what is there.
func (w *world) beside(ctx context.Context, t told) (o observed, err error) {
	o.quota = t.Quota
	o.entries = map[string]plugin.EntryView{}
	for _, e := range t.Entries {
		o.entries[e.ID] = e
	}
	o.volumes = map[string]plugin.VolumeView{}
	for _, v := range t.Volumes {
		o.volumes[string(v.Volume)] = v
	}
	for store := range w.stores() {
		o.stores[store] = map[backends.ImageVolumeID]backends.ImageVolume{}
		for iv, err := range w.storeOf(store).ListImageVolumes(ctx) {
			if err != nil {
				return o, err
			}
			o.stores[store][iv.ID] = iv
		}
	}
	w.readReport(t.Report, &o)
	o.files, err = w.volumeFiles(ctx)
	return o, err
}

// stores are those that there are: several hosts share a backend, and have no file cache here.
func (w *world) stores() []backends.Name {
	if w.cache == nil {
		return storeNames[:1]
	}
	return storeNames
}

// volumeFiles are the volumes that are there, whoever made them.
func (w *world) volumeFiles(ctx context.Context) (names []string, err error) {
	if w.memory != nil {
		for _, name := range volumeNames {
			if _, err := w.memory.StatVolume(ctx, backends.VolumeName(name)); !errors.Is(err, backends.ErrNotExist) {
				names = append(names, name)
			}
		}
		return names, nil
	}
	found, err := os.ReadDir(filepath.Join(w.dir, "volumes"))
	for _, f := range found {
		if f.Name() != ".clonecache" {
			names = append(names, f.Name())
		}
	}
	return names, err
}

func (w *world) readReport(r report.Report, o *observed) {
	t := r.Total
	o.counts = counts{
		"fills": t.Fills, "failed fills": t.FailedFills, "downloaded": t.DownloadedBytes, "saved": t.SavedBytes,
		"hits": t.Hits, "misses": t.Misses,
	}
	for name, n := range t.Outcomes {
		o.counts["outcome: "+name] += n
	}
	for name, n := range t.Fallbacks {
		o.counts["fallback: "+name] += n
	}
	for cause, n := range t.EvictionsBy {
		o.counts[evictedBy(catalog.EvictCause(cause))] += n
	}
	for i, name := range w.stores() {
		at := slices.IndexFunc(r.Backends, func(f report.Backend) bool { return f.Name == string(name) })
		f := r.Backends[at]
		o.figures[i] = figures{f.Entries, f.HeldBytes, f.DetachedBytes}
	}
}

// diff names the counters that differ.
func (c counts) diff(want counts) string {
	var lines []string
	names := map[string]bool{}
	for name := range c {
		names[name] = true
	}
	for name := range want {
		names[name] = true
	}
	for name := range names {
		if c[name] != want[name] {
			lines = append(lines, fmt.Sprintf("%s: got %d, want %d", name, c[name], want[name]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// settle compares what is there with the model, and lets it learn what it could not know: the IDs, times
// and sizes of what is new.
func (m *model) settle(o observed) error {
	if err := m.bind(o); err != nil {
		return err
	}
	for id := range m.entries {
		if _, ok := o.entries[id]; !ok {
			return fmt.Errorf("entry %s of content %d in %s is missing", id, m.entries[id].content, storeNames[m.entries[id].store])
		}
	}
	for id, got := range o.entries {
		if err := errors.Join(m.entries[id].compare(got), m.superseded(m.entries[id], got)); err != nil {
			return fmt.Errorf("entry %s: %w", id, err)
		}
	}
	m.learnFills(o.counts["fills"])
	m.learnDownloads(o.counts["downloaded"])
	if diff := o.counts.diff(m.counts); diff != "" {
		return fmt.Errorf("report: %s", diff)
	}
	return nil
}

// learnFills takes from the report how many fills were not even begun since they were too small.
func (m *model) learnFills(got int64) {
	if not := m.counts["fills"] - got; not >= 0 && not <= m.mayKnow {
		m.counts["fills"] -= not
		m.counts["failed fills"] -= not
	}
	m.mayKnow = 0
}

// learnDownloads takes what failed fills have read from what the report says: how far reading had come when
// they ended is chance.
func (m *model) learnDownloads(got int64) {
	if least := m.counts["downloaded"]; got >= least && got <= least+m.mayHaveRead {
		m.counts["downloaded"], m.mayHaveRead = got, 0
	}
}

// bind finds the IDs of entries that are new.
func (m *model) bind(o observed) error {
	for id, got := range o.entries {
		if m.entries[id] != nil {
			continue
		}
		store, content := slices.Index(storeNames, got.Backend), contentOf(got.Digest)
		fresh := fmt.Sprintf("fresh/%d/%d", store, content)
		e := m.entries[fresh]
		if e == nil || got.State != "ready" {
			return fmt.Errorf("entry %s, %s, of content %d in %s came from nowhere", id, got.State, content, got.Backend)
		}
		m.name(e, id)
	}
	return nil
}

// name gives a fresh entry its ID.
func (m *model) name(e *entry, id string) {
	delete(m.entries, e.id)
	for _, v := range m.volumes {
		if v.entry == e.id {
			v.entry = id
		}
	}
	e.id = id
	m.entries[id] = e
}

// superseded compares whether nobody is expected to ask for an entry again, and learns it: when exactly an image
// is found to have changed is the plugin's business. What an image is known to be now is never superseded.
func (m *model) superseded(e *entry, got plugin.EntryView) error {
	e.outdated = got.SupersededAt != nil
	if !e.outdated || e.detached {
		return nil
	}
	for n, i := range m.images {
		if key, _ := m.key(op{Image: n}); i.there && e.keys[key] {
			return fmt.Errorf("is superseded, and is what %s is", imageNames[n])
		}
	}
	return nil
}

// compare compares an entry with what the plugin says of it, and learns when it was used.
func (e *entry) compare(got plugin.EntryView) error {
	state := "ready"
	if e.detached {
		state = "detached"
	}
	switch {
	case got.State != state:
		return fmt.Errorf("is %s, want %s", got.State, state)
	case contentOf(got.Digest) != e.content:
		return fmt.Errorf("has content %d, want %d", contentOf(got.Digest), e.content)
	case got.Pinned != e.pinned && !e.detached:
		return fmt.Errorf("pinned: got %t, want %t", got.Pinned, e.pinned)
	case got.Hits != e.hits:
		return fmt.Errorf("got %d hits, want %d", got.Hits, e.hits)
	case got.HeldBytes != e.held:
		return fmt.Errorf("got %d bytes held, want %d", got.HeldBytes, e.held)
	case !e.touched && !got.LastUsedAt.Equal(e.used):
		return fmt.Errorf("was used %v, want %v", got.LastUsedAt, e.used)
	case e.touched && got.LastUsedAt.Before(e.used.Add(-time.Minute)):
		return fmt.Errorf("was last used %v, though just now", got.LastUsedAt)
	}
	e.used, e.created, e.touched, e.believed = got.LastUsedAt, got.CreatedAt, false, got.Clones
	return nil
}
