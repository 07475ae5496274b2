package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
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
	return p.ladder.listVolumes(ctx, backend)
}

// listVolumes is ListVolumes.
func (l *ladder) listVolumes(ctx context.Context, backend backends.Name) ([]VolumeView, error) {
	stores, err := l.stock.backendsNamed(backend)
	if err != nil {
		return nil, err
	}
	views := []VolumeView{}
	var silent []UnavailableView
	for _, s := range stores {
		if err := l.volumesOf(ctx, s, &views); err != nil && (backend != "" || !l.stock.leaveOut(&silent, s, err)) {
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
// backends.ErrInUse. ErrConflict: there are several of that name.
func (p *Plugin) DeleteVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	return p.ladder.deleteVolume(ctx, backend, volume)
}

// deleteVolume is DeleteVolume.
func (l *ladder) deleteVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	s, err := l.stock.backendNamed(backend)
	if err != nil {
		return err
	}
	err = s.backend.DeleteVolume(ctx, backends.VolumeRef{Name: volume})
	if errors.Is(err, backends.ErrExist) {
		err = severalOfName(s, volume, err)
	}
	if err != nil {
		return err
	}
	l.forgetKept(s, volume)
	l.books.note(catalog.Event{Kind: EventVolumeDeleted, Backend: s.name, Volume: volume})
	l.books.writeNow(ctx)
	return nil
}

// backendsNamed is one backend, or all in the configuration's order.
func (ro *roster) backendsNamed(name backends.Name) ([]*store, error) {
	if name != "" {
		s, err := ro.backendNamed(name)
		return []*store{s}, err
	}
	set := ro.stores.Load()
	all := make([]*store, 0, len(set.backends))
	for _, n := range set.backends {
		all = append(all, set.byName[n])
	}
	return all, nil
}

// pinnedBy is whose an entry's pin is.
func pinnedBy(e catalog.Entry) string {
	switch {
	case !e.Pinned:
		return ""
	case e.PinnedByRule:
		return "rule"
	}
	return "person"
}

func (k *stock) entryView(e catalog.Entry) EntryView {
	v := EntryView{
		ID: string(e.ID), Backend: k.label(e.Store), StoreID: e.Store, Host: k.hostOf(e.Store), ImageIDs: e.ImageIDs, Content: e.Content,
		State: string(e.State), Form: string(e.Form), ImageVolume: string(e.ImageVolume),
		HeldBytes: e.CountedBytes(), Hits: e.Hits, Clones: e.Clones, Pinned: e.Pinned,
		CreatedAt: e.CreatedAt, LastUsedAt: e.LastUsedAt, Error: e.LastError, PinnedBy: pinnedBy(e),
	}
	v.SupersededBy, v.Generation = string(e.SupersededBy), max(e.Generation, 1)
	if !e.SupersededAt.IsZero() {
		v.SupersededAt = &e.SupersededAt
	}
	if !e.VerifiedAt.IsZero() {
		v.VerifiedAt = &e.VerifiedAt
	}
	if !e.QuarantinedAt.IsZero() {
		v.QuarantinedAt, v.Quarantine = &e.QuarantinedAt, e.Quarantine
	}
	v.Configured = v.Host != ""
	if s := k.storeOf(e.Store); s != nil {
		v.Configured = v.Configured || !s.isLeaving()
		v.Place, v.Volumes = s.lies(e.ImageVolume)
	}
	if e.State == catalog.Filling {
		v.ReadBytes = k.bytesRead(e.ID)
	}
	return v
}

// Entry returns one entry by its ID, or by a part of at least four characters that only one begins with
// or ends with. catalog.ErrNotFound, ErrBadRequest.
func (p *Plugin) Entry(ctx context.Context, id string) (EntryView, error) {
	return p.stock.show(ctx, id)
}

// show is Entry.
func (k *stock) show(ctx context.Context, id string) (EntryView, error) {
	if err := k.books.flushToRead(ctx); err != nil {
		return EntryView{}, err
	}
	e, err := k.entry(ctx, id)
	if err != nil {
		return EntryView{}, err
	}
	shown := []catalog.Entry{e}
	k.freshen(ctx, shown)
	return k.fullView(ctx, shown[0]), nil
}

// fullView is an entry with the volumes that depend on it, where the backend can tell.
func (k *stock) fullView(ctx context.Context, e catalog.Entry) EntryView {
	view := k.entryView(e)
	view.Dependents = []backends.VolumeName{}
	if s := k.storeOf(e.Store); s != nil && e.ImageVolume != "" {
		names, err := s.dependents(ctx, e.ImageVolume)
		if err != nil {
			k.log.WithField("entry", e.ID).WithError(err).Debug("volumes that depend on it not listed")
		}
		view.Dependents = append(view.Dependents, names...)
	}
	if view.QuarantinedAt != nil {
		made, err := k.madeFrom(ctx, e)
		if err != nil {
			k.log.WithField("entry", e.ID).WithError(err).Debug("volumes that were made from it not listed")
		}
		view.MadeFrom = made
	}
	return view
}

func (k *stock) entry(ctx context.Context, id string) (catalog.Entry, error) {
	e, err := k.catalog.Get(ctx, catalog.EntryID(id))
	if !errors.Is(err, catalog.ErrNotFound) || len(id) < catalog.MinPart {
		return e, err
	}
	matches, err := k.catalog.Match(ctx, id, candidates+1)
	if err != nil {
		return catalog.Entry{}, err
	}
	switch len(matches) {
	case 0:
		return catalog.Entry{}, fmt.Errorf("%w: %s", catalog.ErrNotFound, id)
	case 1:
		return k.catalog.Get(ctx, matches[0].ID)
	}
	return catalog.Entry{}, fmt.Errorf("%w: id: several entries begin or end with %s: %s; give more of it", ErrBadRequest, id, k.listed(matches))
}

// candidates is how many entries are named where an ID was not enough of one.
const candidates = 8

// listed names entries that an ID may have meant, with where each is.
func (k *stock) listed(matches []catalog.Entry) string {
	more := ""
	if len(matches) > candidates {
		matches, more = matches[:candidates], " and more"
	}
	names := make([]string, len(matches))
	for i, e := range matches {
		names[i] = fmt.Sprintf("%s (%s)", e.ID, k.label(e.Store))
	}
	return strings.Join(names, ", ") + more
}

// Fills are the images that are waited for here: fills of this process, and those of others that it waits for. It asks
// nobody; AllFills does.
func (p *Plugin) Fills() []FillView { return p.fills.here() }

// Backends lists backends and file caches.
func (p *Plugin) Backends(ctx context.Context) ([]BackendView, error) {
	return p.stock.views(ctx)
}

// views is Backends.
func (ro *roster) views(ctx context.Context) ([]BackendView, error) {
	held, err := ro.catalog.Held(ctx)
	if err != nil {
		return nil, err
	}
	readBack, err := ro.catalog.ReadBack(ctx, ro.scrubbedSince())
	if err != nil {
		return nil, err
	}
	configured := ro.configuredStores()
	views := make([]BackendView, 0, len(configured))
	for _, s := range configured {
		info, h := s.images.Info(), held[s.id()]
		v := BackendView{
			Name: s.name, StoreID: s.id(), Kind: info.Kind, Location: info.Location, CanClone: info.CanClone, CloneMethod: info.CloneMethod, NoClone: info.NoClone,
			Available: true, Disabled: s.outOfUse() != nil, Entries: h.Entries, HeldBytes: h.Bytes, DetachedBytes: h.DetachedBytes,
			MaxSizeBytes: s.limit().bounds.MaxBytes, MaxCount: s.limit().bounds.MaxCount, MaxPercent: s.limit().bounds.MaxPercent,
			Scrub: scrubView(readBack[s.id()]),
		}
		if s.fallback != nil {
			v.Fallback = s.fallback.name
		}
		capacity, err := s.images.Capacity(ctx)
		ro.reached(s, err)
		if err != nil {
			v.Available, v.Error = false, err.Error()
		}
		v.TotalBytes, v.FreeBytes = capacity.TotalBytes, capacity.FreeBytes
		views = append(views, v)
	}
	return views, nil
}

// scrubbedSince is since when each image-volume should have been read back.
func (ro *roster) scrubbedSince() time.Time {
	if ro.cfg.ScrubEvery < 0 {
		return time.Time{}
	}
	return ro.catalogTime().Add(-ro.cfg.ScrubEvery)
}

func scrubView(r catalog.ReadBack) ScrubView {
	v := ScrubView{Due: r.Due, Quarantined: r.Quarantined}
	if !r.Oldest.IsZero() {
		v.OldestAt = &r.Oldest
	}
	return v
}

// Unavailable lists the backends and file caches that did not answer when they were last asked. It asks none
// of them: each is asked at least once a minute.
func (p *Plugin) Unavailable() []UnavailableView {
	return p.stock.unavailable()
}

// unavailable is Unavailable.
func (ro *roster) unavailable() []UnavailableView {
	down := []UnavailableView{}
	for _, s := range ro.configuredStores() {
		if silence := s.silence.Load(); silence != nil {
			down = append(down, UnavailableView{Name: s.name, Since: silence.since, Error: silence.why})
		}
	}
	return down
}

// Status says how the plugin is.
func (p *Plugin) Status(ctx context.Context) (Status, error) {
	views, err := p.Backends(ctx)
	if err != nil {
		return Status{}, err
	}
	fills, err := p.AllFills(ctx)
	if err != nil {
		return Status{}, err
	}
	return Status{
		Version: version(), Host: p.cfg.Host, InstanceID: p.holder.Instance, CatalogID: p.self, StartedAt: p.begun.UTC(), StateDir: p.cfg.StateDir, Ready: p.gate.open(),
		Fills: fills, Backends: views, Sources: p.Sources(), Clean: p.reconciler.cleans().view(),
	}, nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
