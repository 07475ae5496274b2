package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// ForceDetach says whether an entry with live clones is detached rather than refused.
type ForceDetach bool

// Pinning says whether an entry is kept from eviction.
type Pinning bool

// ListVolumes lists the volumes that the plugin made on a backend, or on all (""). Where all are meant and some do not
// answer, the others' volumes come beside a *PartialError.
func (p *Plugin) ListVolumes(ctx context.Context, backend backends.Name) ([]VolumeView, error) {
	stores, err := p.backendsNamed(backend)
	if err != nil {
		return nil, err
	}
	views := []VolumeView{}
	var silent []UnavailableView
	for _, s := range stores {
		if err := p.volumesOf(ctx, s, &views); err != nil && (backend != "" || !p.leaveOut(&silent, s, err)) {
			return nil, err
		}
	}
	sort.Slice(views, func(i, j int) bool {
		a, b := views[i], views[j]
		return a.Backend < b.Backend || (a.Backend == b.Backend && a.Volume < b.Volume)
	})
	if len(silent) > 0 {
		return views, &PartialError{Unavailable: silent}
	}
	return views, nil
}

// DeleteVolume removes a volume that the plugin made. backends.ErrNotExist, backends.ErrNotOurs,
// backends.ErrInUse.
func (p *Plugin) DeleteVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	s, err := p.backendNamed(backend)
	if err != nil {
		return err
	}
	if err := s.backend.DeleteVolume(ctx, backends.VolumeRef{Name: volume}); err != nil {
		return err
	}
	p.forgetKept(volumeKey{s.name, volume})
	p.note(catalog.Event{Kind: catalog.EventKind(EventVolumeDeleted), Backend: s.name, Volume: volume})
	p.writeEvents(ctx)
	return nil
}

// backendsNamed is one backend, or all in the configuration's order.
func (p *Plugin) backendsNamed(name backends.Name) ([]*store, error) {
	if name != "" {
		s, err := p.backendNamed(name)
		return []*store{s}, err
	}
	all := make([]*store, 0, len(p.backends))
	for _, n := range p.backends {
		all = append(all, p.stores[n])
	}
	return all, nil
}

// Entries lists entries, ordered by ID.
func (p *Plugin) Entries(ctx context.Context, f EntryFilter) ([]EntryView, error) {
	if err := p.flushToRead(ctx); err != nil {
		return nil, err
	}
	states := []catalog.State{catalog.Filling, catalog.Ready, catalog.Evicting, catalog.Detached}
	switch f.State {
	case "":
	case "all":
		states = nil
	default:
		states = []catalog.State{catalog.State(f.State)}
	}
	var store backends.StoreID
	if f.Backend != "" {
		var err error
		store, err = p.storeID(ctx, f.Backend)
		if errors.Is(err, backends.ErrUnavailable) {
			return []EntryView{}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	entries, err := p.catalog.List(ctx, catalog.Filter{
		Store: store, States: states, ImageID: f.ImageID, After: catalog.EntryID(f.After), Limit: f.Limit,
	})
	if err != nil {
		return nil, err
	}
	if err := p.asked(f.Backend, len(entries)); err != nil {
		return nil, err
	}
	p.freshen(ctx, entries)
	views := make([]EntryView, 0, len(entries))
	for _, e := range entries {
		views = append(views, p.entryView(e))
	}
	return views, nil
}

func (p *Plugin) entryView(e catalog.Entry) EntryView {
	v := EntryView{
		ID: string(e.ID), Backend: p.label(e.Store), StoreID: e.Store, Configured: p.storeOf(e.Store) != nil, ImageIDs: e.ImageIDs, Digest: e.Digest, DiskFormat: e.DiskFormat,
		State: string(e.State), Form: string(e.Form), ImageVolume: string(e.ImageVolume), SourceBytes: e.SourceBytes,
		VirtualBytes: e.VirtualBytes, HeldBytes: e.CountedBytes(), Hits: e.Hits, Clones: e.Clones, Pinned: e.Pinned,
		InspectorVersion: e.InspectorVersion, CreatedAt: e.CreatedAt, LastUsedAt: e.LastUsedAt, Error: e.LastError,
	}
	v.SupersededBy, v.Generation = string(e.SupersededBy), max(e.Generation, 1)
	if !e.SupersededAt.IsZero() {
		v.SupersededAt = &e.SupersededAt
	}
	if e.State == catalog.Filling {
		v.ReadBytes = p.flights.bytesRead(e.ID)
	}
	return v
}

// Entry returns one entry by its ID, or by a part of at least four characters that only one begins with
// or ends with. catalog.ErrNotFound, ErrBadRequest.
func (p *Plugin) Entry(ctx context.Context, id string) (EntryView, error) {
	if err := p.flushToRead(ctx); err != nil {
		return EntryView{}, err
	}
	e, err := p.entry(ctx, id)
	if err != nil {
		return EntryView{}, err
	}
	shown := []catalog.Entry{e}
	p.freshen(ctx, shown)
	return p.fullView(ctx, shown[0]), nil
}

// fullView is an entry with the volumes that depend on it, where the backend can tell.
func (p *Plugin) fullView(ctx context.Context, e catalog.Entry) EntryView {
	view := p.entryView(e)
	view.Dependents = []backends.VolumeName{}
	if s := p.storeOf(e.Store); s != nil && e.ImageVolume != "" {
		names, err := s.dependents(ctx, e.ImageVolume)
		if err != nil {
			p.log.WithField("entry", e.ID).WithError(err).Debug("volumes that depend on it not listed")
		}
		view.Dependents = append(view.Dependents, names...)
	}
	return view
}

func (p *Plugin) entry(ctx context.Context, id string) (catalog.Entry, error) {
	e, err := p.catalog.Get(ctx, catalog.EntryID(id))
	if !errors.Is(err, catalog.ErrNotFound) || len(id) < catalog.MinPart {
		return e, err
	}
	matches, err := p.catalog.Match(ctx, id, candidates+1)
	if err != nil {
		return catalog.Entry{}, err
	}
	switch len(matches) {
	case 0:
		return catalog.Entry{}, fmt.Errorf("%w: %s", catalog.ErrNotFound, id)
	case 1:
		return p.catalog.Get(ctx, matches[0].ID)
	}
	return catalog.Entry{}, fmt.Errorf("%w: id: several entries begin or end with %s: %s; give more of it", ErrBadRequest, id, p.listed(matches))
}

// candidates is how many entries are named where an ID was not enough of one.
const candidates = 8

// listed names entries that an ID may have meant, with where each is.
func (p *Plugin) listed(matches []catalog.Entry) string {
	more := ""
	if len(matches) > candidates {
		matches, more = matches[:candidates], " and more"
	}
	names := make([]string, len(matches))
	for i, e := range matches {
		names[i] = fmt.Sprintf("%s (%s)", e.ID, p.label(e.Store))
	}
	return strings.Join(names, ", ") + more
}

// SetPinned pins an entry, or unpins it, and returns it as that left it: what is done to it by others at
// the same time comes before or after. catalog.ErrNotFound.
func (p *Plugin) SetPinned(ctx context.Context, id string, pin Pinning) (EntryView, error) {
	e, err := p.entry(ctx, id)
	if err != nil {
		return EntryView{}, err
	}
	if err := p.flushToRead(ctx); err != nil {
		return EntryView{}, err
	}
	if e, err = p.catalog.SetPinned(ctx, e.ID, bool(pin)); err != nil {
		return EntryView{}, err
	}
	kind := EventUnpinned
	if pin {
		kind = EventPinned
	}
	p.noteEntry(kind, e, catalog.Event{})
	p.writeEvents(ctx)
	return p.fullView(ctx, e), nil
}

// DeleteEntry evicts an entry now; its volumes stay. One with live clones is detached only with force.
// catalog.ErrNotFound, catalog.ErrPinned, ErrHasClones, ErrBusy (it is being filled or evicted).
func (p *Plugin) DeleteEntry(ctx context.Context, id string, force ForceDetach) (PruneResult, error) {
	e, err := p.entry(ctx, id)
	if err != nil {
		return PruneResult{}, err
	}
	r := PruneResult{Removed: []EntryView{}, Unavailable: []UnavailableView{}}
	if err := p.removable(ctx, e); err != nil {
		return r, err
	}
	defer p.writeEvents(ctx)
	return r, p.deleteEntry(ctx, e, force, p.liveClones, &r)
}

// DeleteAllEntries evicts every ready or failed entry of a backend or file cache, or of all (""). Pinned
// ones stay, and so do those with live clones, unless with force. Where all stores are meant, those of one that does
// not answer stay too, and it is in Unavailable.
func (p *Plugin) DeleteAllEntries(ctx context.Context, backend backends.Name, force ForceDetach) (PruneResult, error) {
	return p.deleteEntries(ctx, backend, force, func(catalog.Entry) bool { return true })
}

// deleteEntries evicts those of the ready and the failed entries that are wanted gone.
func (p *Plugin) deleteEntries(ctx context.Context, backend backends.Name, force ForceDetach, wanted func(catalog.Entry) bool) (PruneResult, error) {
	r := PruneResult{Removed: []EntryView{}, Unavailable: []UnavailableView{}}
	if err := p.flushToRead(ctx); err != nil { // what was used a moment ago is not superseded
		return r, err
	}
	entries, err := p.entriesToDelete(ctx, backend)
	if err != nil {
		return r, err
	}
	defer p.writeEvents(ctx)
	clones, removable := p.listedClones(), p.allRemovable()
	for _, e := range entries {
		if !wanted(e) {
			continue
		}
		err := removable(ctx, e)
		if err == nil {
			err = p.deleteEntry(ctx, e, force, clones, &r)
		}
		if s := p.storeOf(e.Store); passedOver(err) || backend == "" && s != nil && p.leaveOut(&r.Unavailable, s, err) {
			continue
		}
		return r, err
	}
	return r, nil
}

// DeleteSupersededEntries evicts the superseded entries of a backend or file cache, or of all (""): those that no
// image will be asked for by. Pinned ones stay, and so do those with live clones, unless with force.
func (p *Plugin) DeleteSupersededEntries(ctx context.Context, backend backends.Name, force ForceDetach) (PruneResult, error) {
	return p.deleteEntries(ctx, backend, force, func(e catalog.Entry) bool { return !e.SupersededAt.IsZero() })
}

// entriesToDelete are the ready and failed entries of a store, or of all that are configured (""). Of one that
// is not configured, which only its name or ID means, they are those in every state. ErrUnknownBackend.
func (p *Plugin) entriesToDelete(ctx context.Context, name backends.Name) ([]catalog.Entry, error) {
	f := catalog.Filter{States: []catalog.State{catalog.Ready, catalog.Failed}}
	if name == "" {
		all, err := p.catalog.List(ctx, f)
		return slices.DeleteFunc(all, func(e catalog.Entry) bool { return p.storeOf(e.Store) == nil }), err
	}
	id, err := p.storeID(ctx, name)
	if err != nil {
		return nil, err
	}
	if f.Store = id; p.storeOf(id) == nil {
		f.States = nil
	}
	return p.catalog.List(ctx, f)
}

// cloneCount tells how many live clones depend on an entry's image-volume.
type cloneCount func(ctx context.Context, s *store, e catalog.Entry) (int, error)

func (p *Plugin) deleteEntry(ctx context.Context, e catalog.Entry, force ForceDetach, clones cloneCount, r *PruneResult) error {
	s := p.storeOf(e.Store)
	if s == nil {
		return p.deleteUnconfigured(ctx, e, force, r)
	}
	if err := p.deletable(ctx, e, force, clones); err != nil {
		return err
	}
	if e.State == catalog.Failed {
		if err := p.catalog.Remove(ctx, e.ID); err != nil {
			return err
		}
		p.noteEntry(EventDeleted, e, catalog.Event{Reason: "failed", Detail: e.LastError})
		r.Removed = append(r.Removed, p.entryView(e))
		return nil
	}
	return p.evictInto(ctx, s, e, catalog.CauseAdmin, r)
}

// liveClones asks the backend where clones depend on their image-volume.
func (p *Plugin) liveClones(ctx context.Context, s *store, e catalog.Entry) (int, error) {
	if s.images.Info().IndependentClones || s.backend == nil {
		return 0, nil
	}
	iv, err := findImageVolume(ctx, s, e.ImageVolume)
	return iv.Clones, err
}

// listedClones is liveClones for many entries: each store is listed once.
func (p *Plugin) listedClones() cloneCount {
	held := make(map[backends.Name]listing)
	return func(ctx context.Context, s *store, e catalog.Entry) (int, error) {
		if s.images.Info().IndependentClones || s.backend == nil {
			return 0, nil
		}
		all, listed := held[s.name]
		if !listed {
			var err error
			if all, err = listStore(ctx, s); err != nil {
				return 0, err
			}
			held[s.name] = all
		}
		return all.read[e.ImageVolume].Clones, all.unread[e.ImageVolume]
	}
}

// evictInto evicts and adds what came of it to r.
func (p *Plugin) evictInto(ctx context.Context, s *store, e catalog.Entry, cause catalog.EvictCause, r *PruneResult) error {
	evicted, err := p.evict(ctx, s, e.ID, cause)
	if err != nil {
		return err
	}
	r.Removed = append(r.Removed, p.entryView(e))
	left, err := p.catalog.Get(ctx, evicted.ID)
	if err == nil && left.State == catalog.Detached {
		r.Detached++
		return nil
	}
	r.FreedBytes += e.HeldBytes
	return nil
}

// Fills are the fills in flight.
func (p *Plugin) Fills() []FillView { return p.flights.views() }

// Backends lists backends and file caches.
func (p *Plugin) Backends(ctx context.Context) ([]BackendView, error) {
	held, err := p.catalog.Held(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]BackendView, 0, len(p.stores))
	for _, s := range p.orderedStores() {
		info, h := s.images.Info(), held[s.id()]
		v := BackendView{
			Name: s.name, StoreID: s.id(), Kind: info.Kind, Location: info.Location, CanClone: info.CanClone, CloneMethod: info.CloneMethod, NoClone: info.NoClone,
			Available: true, Entries: h.Entries, HeldBytes: h.Bytes, DetachedBytes: h.DetachedBytes,
			MaxSizeBytes: s.bounds.MaxBytes, MaxCount: s.bounds.MaxCount, MaxPercent: s.bounds.MaxPercent,
		}
		if s.fallback != nil {
			v.Fallback = s.fallback.name
		}
		capacity, err := s.images.Capacity(ctx)
		p.reached(s, err)
		if err != nil {
			v.Available, v.Error = false, err.Error()
		}
		v.TotalBytes, v.FreeBytes = capacity.TotalBytes, capacity.FreeBytes
		views = append(views, v)
	}
	return views, nil
}

// Unavailable lists the backends and file caches that did not answer when they were last asked. It asks none
// of them: each is asked at least once a minute.
func (p *Plugin) Unavailable() []UnavailableView {
	down := []UnavailableView{}
	for _, s := range p.orderedStores() {
		if silence := s.silent.Load(); silence != nil {
			down = append(down, UnavailableView{Name: s.name, Since: silence.since, Error: silence.why})
		}
	}
	return down
}

// orderedStores are the backends, then the file caches, as configured.
func (p *Plugin) orderedStores() []*store {
	all := make([]*store, 0, len(p.stores))
	for _, n := range p.backends {
		all = append(all, p.stores[n])
	}
	for _, c := range p.cfg.FileCaches {
		all = append(all, p.stores[c.Name])
	}
	return all
}

// Status says how the plugin is.
func (p *Plugin) Status(ctx context.Context) (Status, error) {
	views, err := p.Backends(ctx)
	if err != nil {
		return Status{}, err
	}
	p.gate.Lock()
	ready := !p.stopping
	p.gate.Unlock()
	return Status{
		Version: version(), Host: p.cfg.Host, InstanceID: p.holder.Instance, CatalogID: p.self, StartedAt: p.begun.UTC(), StateDir: p.cfg.StateDir, Ready: ready,
		Fills: p.flights.views(), Backends: views, Sources: p.Sources(),
	}, nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// sinceOrNil is how the report writes a time that may be the beginning.
func sinceOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}
