package api_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
)

// fakeService keeps volumes and entries in memory. A create func, where it is set, answers instead.
type fakeService struct {
	create func(context.Context, plugin.Request) (plugin.Answer, error)
	check  func(context.Context, plugin.CheckOptions) (plugin.CheckResult, error)

	catalogUp bool // else its database does not answer

	silent error // what a list of all volumes leaves out
	follow func(context.Context, plugin.EventFilter, func(plugin.Event) error) error

	mu         sync.Mutex
	events     plugin.EventFilter
	asked      []plugin.Request
	acts       []plugin.Act
	ended      []string // loans, and how
	volumes    map[backends.VolumeName]plugin.VolumeView
	entries    []plugin.EntryView
	fills      []plugin.FillView
	filter     plugin.EntryFilter
	since      time.Time
	until      time.Time
	by         report.By
	happened   []plugin.Event // what stories tell
	told       backends.VolumeName
	backend    backends.Name
	prefetched plugin.Prefetch
}

func newFake() *fakeService {
	return &fakeService{
		volumes: map[backends.VolumeName]plugin.VolumeView{},
		entries: []plugin.EntryView{
			{ID: "e1", Backend: "local", ImageIDs: []string{"lib:a"}, State: "ready"},
			{ID: "e2", Backend: "local", ImageIDs: []string{"lib:b"}, State: "ready", Clones: 2},
		},
	}
}

func (f *fakeService) CreateVolume(ctx context.Context, r plugin.Request) (plugin.Answer, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r)
	f.mu.Unlock()
	if f.create != nil {
		return f.create(ctx, r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	backend := r.Backend
	if backend == "" {
		backend = "local"
	}
	f.volumes[r.Volume] = plugin.VolumeView{Volume: r.Volume, Backend: backend, ImageID: r.Image, SizeBytes: r.SizeBytes, Complete: true}
	return plugin.Answer{Outcome: plugin.Filled, Reason: plugin.ReasonMiss, Backend: backend, ImageID: r.Image, Volume: r.Volume, SizeBytes: r.SizeBytes}, nil
}

func (f *fakeService) ListVolumes(_ context.Context, backend backends.Name) ([]plugin.VolumeView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []plugin.VolumeView
	for _, v := range f.volumes {
		if backend == "" || v.Backend == backend {
			list = append(list, v)
		}
	}
	if f.silent != nil && backend == "" {
		return list, f.silent
	}
	return list, nil
}

func (f *fakeService) DeleteVolume(_ context.Context, backend backends.Name, volume backends.VolumeName) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.volumes[volume]; !ok || backend != "" && v.Backend != backend {
		return fmt.Errorf("delete volume %s: /secret/path: %w", volume, backends.ErrNotExist)
	}
	delete(f.volumes, volume)
	return nil
}

func (f *fakeService) KeepVolume(_ context.Context, backend backends.Name, volume backends.VolumeName) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.volumes[volume]
	if !ok || backend != "" && v.Backend != backend {
		return fmt.Errorf("keep volume %s: %w", volume, backends.ErrNotExist)
	}
	v.Kept = ""
	f.volumes[volume] = v
	return nil
}

func (f *fakeService) FlattenVolume(_ context.Context, backend backends.Name, volume backends.VolumeName, progress func(done, total int64)) (plugin.Flattened, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.volumes[volume]; !ok {
		return plugin.Flattened{}, fmt.Errorf("flatten volume %s: %w", volume, backends.ErrNotExist)
	}
	if progress != nil {
		progress(5, 10)
	}
	return plugin.Flattened{Volume: volume, Backend: backend, Reaped: 1}, nil
}

func (f *fakeService) Entries(_ context.Context, filter plugin.EntryFilter) ([]plugin.EntryView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filter = filter
	return f.entries, nil
}

func (f *fakeService) Entry(_ context.Context, id string) (plugin.EntryView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.entries {
		if e.ID == id || len(id) >= catalog.MinPart && strings.HasPrefix(e.ID, id) {
			return e, nil
		}
	}
	return plugin.EntryView{}, fmt.Errorf("entry %q: %w", id, catalog.ErrNotFound)
}

func (f *fakeService) DeleteEntry(ctx context.Context, id string, force plugin.ForceDetach) (plugin.PruneResult, error) {
	e, err := f.Entry(ctx, id)
	if err != nil {
		return plugin.PruneResult{}, err
	}
	if e.Clones > 0 && !bool(force) {
		return plugin.PruneResult{}, fmt.Errorf("%w: %s has %d; repeat with force", plugin.ErrHasClones, id, e.Clones)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = slices.DeleteFunc(f.entries, func(x plugin.EntryView) bool { return x.ID == e.ID })
	return plugin.PruneResult{Removed: []plugin.EntryView{e}}, nil
}

func (f *fakeService) DeleteAllEntries(_ context.Context, backend backends.Name, _ plugin.ForceDetach) (plugin.PruneResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backend = backend
	removed := f.entries
	f.entries = nil
	return plugin.PruneResult{Removed: removed}, nil
}

func (f *fakeService) DeleteSupersededEntries(_ context.Context, backend backends.Name, _ plugin.ForceDetach) (plugin.PruneResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backend = backend
	removed := f.entries[:1]
	f.entries = f.entries[1:]
	return plugin.PruneResult{Removed: removed}, nil
}

func (f *fakeService) SetPinned(ctx context.Context, id string, pin plugin.Pinning) (plugin.EntryView, error) {
	e, err := f.Entry(ctx, id)
	e.Pinned = bool(pin)
	return e, err
}

func (f *fakeService) Revalidate(ctx context.Context, id string) (plugin.Revalidated, error) {
	e, err := f.Entry(ctx, id)
	return plugin.Revalidated{Entry: e, Valid: e.QuarantinedAt == nil}, err
}

func (f *fakeService) Fills() []plugin.FillView                            { return nil }
func (f *fakeService) AllFills(context.Context) ([]plugin.FillView, error) { return f.fills, nil }

func (f *fakeService) Report(_ context.Context, backend backends.Name, since time.Time) (report.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backend, f.since = backend, since
	return report.Build(report.Input{}), nil
}

func (f *fakeService) ReportOf(ctx context.Context, q plugin.ReportQuery) (report.Report, error) {
	f.mu.Lock()
	f.until, f.by = q.Until, q.By
	f.mu.Unlock()
	return f.Report(ctx, q.Backend, q.Since)
}

// Course is of one hit, and of a fill an hour later.
func (f *fakeService) Course(_ context.Context, since, now time.Time) (report.Course, error) {
	step := report.StepOf(since, now)
	return report.CourseOf([]catalog.SlotStat{
		{At: now.Add(-2 * time.Hour).Truncate(step), Outcome: "hit", Requests: 3, SavedBytes: 3 << 20},
		{At: now.Add(-time.Hour).Truncate(step), Outcome: "filled", Requests: 1},
	}, since, now, step), nil
}

func (f *fakeService) Quota(context.Context) (plugin.Quota, error) {
	return plugin.Quota{ProjectID: "p", Volumes: plugin.QuotaAmounts{Limit: 50, InUse: 2}}, nil
}

func (f *fakeService) QuotaUse(context.Context) (plugin.Quota, error) {
	return plugin.Quota{ProjectID: "used", Volumes: plugin.QuotaAmounts{Limit: 50, InUse: 2}}, nil
}

func (f *fakeService) Backends(context.Context) ([]plugin.BackendView, error) {
	var scrub plugin.ScrubView
	for _, e := range f.entries {
		if e.QuarantinedAt != nil {
			scrub.Quarantined++
		}
	}
	return []plugin.BackendView{{Name: "local", Kind: "file", Available: true, Entries: 2, HeldBytes: 300, MaxCount: 5, TotalBytes: 1000, FreeBytes: 700, Scrub: scrub}, {Name: "lvm", Kind: "cinder", Available: true}}, nil
}

func (f *fakeService) Status(context.Context) (plugin.Status, error) {
	return plugin.Status{Version: "v1", Ready: true}, nil
}

func (f *fakeService) Sources() []plugin.SourceView {
	return []plugin.SourceView{{Name: "library", State: "up"}, {Name: "web", State: "down", Error: "geheim", StaleAnswers: 3}, {Name: "new", State: "unknown"}}
}

func (f *fakeService) Unavailable() []plugin.UnavailableView {
	return []plugin.UnavailableView{{Name: "pool", Error: "open /secret/path: permission denied"}}
}

func (f *fakeService) Hosts(context.Context) ([]plugin.HostView, error) {
	return []plugin.HostView{{ID: "0b2d4c1e", Name: "controller-1", State: catalog.HostUp, Leases: []plugin.LeaseView{{Duty: catalog.DutyReap, Backend: "local"}}}}, nil
}

func (f *fakeService) RemoveHost(_ context.Context, id string) (plugin.HostView, error) {
	if id != "lost" {
		return plugin.HostView{}, fmt.Errorf("%w: %s", catalog.ErrHostUp, id)
	}
	return plugin.HostView{ID: "lost", State: catalog.HostLost, Leases: []plugin.LeaseView{}}, nil
}

func (f *fakeService) CatalogAway() *plugin.CatalogAway {
	if f.catalogUp {
		return nil
	}
	return &plugin.CatalogAway{Since: time.Unix(1, 0).UTC(), Error: "dial db.secret: refused"}
}

func (f *fakeService) PlanPrune(context.Context) (plugin.PruneResult, error) {
	return plugin.PruneResult{Planned: []plugin.PlannedRemoval{{Entry: plugin.EntryView{ID: "idle"}, Goes: true, Why: "idle"}}}, nil
}

func (f *fakeService) PlanDeletion(context.Context, plugin.Deletion) (plugin.PruneResult, error) {
	return plugin.PruneResult{Planned: []plugin.PlannedRemoval{{Entry: plugin.EntryView{ID: "pinned"}, Why: "it is pinned"}}}, nil
}

func (f *fakeService) Prune(context.Context) (plugin.PruneResult, error) {
	return plugin.PruneResult{FreedBytes: 7}, nil
}

func (f *fakeService) PlanClean(context.Context) (plugin.CleanResult, error) {
	return plugin.CleanResult{FailedEntries: 1, Planned: []plugin.PlannedCleaning{{Kind: "failed-fill", ID: "e1", Why: "its fill failed"}}}, nil
}

func (f *fakeService) Clean(context.Context) (plugin.CleanResult, error) {
	return plugin.CleanResult{Reaped: 3}, nil
}

func (f *fakeService) Check(ctx context.Context, o plugin.CheckOptions) (plugin.CheckResult, error) {
	if f.check != nil {
		return f.check(ctx, o)
	}
	return plugin.CheckResult{OK: true}, nil
}

func (f *fakeService) ExplainVolume(_ context.Context, b backends.Name, v backends.VolumeName) (plugin.VolumeStory, error) {
	if v == "none" {
		return plugin.VolumeStory{}, backends.ErrNotExist
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = v
	return plugin.VolumeStory{Backend: b, Volume: v, Requests: f.happened}, nil
}

func (f *fakeService) EntryEvents(_ context.Context, id string) ([]plugin.Event, error) {
	if f.happened != nil {
		return f.happened, nil
	}
	return []plugin.Event{{ID: 1, EntryID: id}}, nil
}

func (f *fakeService) Scrub(_ context.Context, r plugin.ScrubRequest) (plugin.ScrubResult, error) {
	if r.Progress != nil {
		r.Progress(1, 2)
	}
	return plugin.ScrubResult{Entries: 2, Unread: r.Share, Quarantined: []plugin.EntryView{}, Unavailable: []plugin.UnavailableView{}}, nil
}

func (f *fakeService) Events(_ context.Context, filter plugin.EventFilter) ([]plugin.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = filter
	if filter.After >= 2 {
		return nil, nil
	}
	return []plugin.Event{{ID: 2, Kind: plugin.EventEvicted, Backend: "local", Reason: "size", Bytes: 7}}, nil
}

func (f *fakeService) FollowEvents(ctx context.Context, filter plugin.EventFilter, take func(plugin.Event) error) error {
	if f.follow != nil {
		return f.follow(ctx, filter, take)
	}
	return plugin.ErrStopping
}

func (f *fakeService) DisableBackend(context.Context, backends.Name) error { return nil }
func (f *fakeService) EnableBackend(context.Context, backends.Name) error  { return nil }
func (f *fakeService) NoteAct(a plugin.Act) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, a)
}

func (f *fakeService) DrainBackend(context.Context, backends.Name) error { return nil }

func (f *fakeService) Prefetch(_ context.Context, p plugin.Prefetch) ([]plugin.QueuedView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prefetched = p
	return []plugin.QueuedView{{ID: "q1", ImageID: p.Images[0], State: "waiting", Position: 1, TotalBytes: -1}}, nil
}

func (f *fakeService) Queued(context.Context) ([]plugin.QueuedView, error) { return nil, nil }

func (f *fakeService) DeleteQueued(_ context.Context, id string) (plugin.QueuedView, error) {
	return plugin.QueuedView{}, fmt.Errorf("%w: %q", catalog.ErrNotQueued, id)
}

func (f *fakeService) ClearQueue(context.Context) (int64, error) { return 3, nil }

func (f *fakeService) RetryQueued(_ context.Context, id string) (plugin.QueuedView, error) {
	return plugin.QueuedView{ID: id}, nil
}

func (f *fakeService) Follows(context.Context) ([]plugin.FollowView, error) { return nil, nil }

func (f *fakeService) Sweep(context.Context) ([]plugin.FollowView, error) {
	return []plugin.FollowView{{Pattern: "*.raw"}}, nil
}

func (f *fakeService) RetryQueue(context.Context) (int64, error) { return 2, nil }

// lastAsked is the latest request that reached the service.
func (f *fakeService) lastAsked() plugin.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[len(f.asked)-1]
}

func (f *fakeService) Loans(context.Context) ([]plugin.LoanView, error) {
	return []plugin.LoanView{{ID: "l1", Backend: "lvm", Volume: "v1"}}, nil
}

func (f *fakeService) EndLoansAt(_ context.Context, backend backends.Name, at backends.Place) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, string(backend)+" "+string(at))
	return 2, nil
}

func (f *fakeService) RenewLoan(_ context.Context, id plugin.LoanID) error {
	if id != "l1" {
		return fmt.Errorf("renew loan %s: %w", id, catalog.ErrNoLoan)
	}
	return nil
}

func (f *fakeService) KeepLoan(_ context.Context, id plugin.LoanID) error {
	if id != "l1" {
		return fmt.Errorf("keep loan %s: %w", id, catalog.ErrNoLoan)
	}
	return nil
}

func (f *fakeService) EndLoan(_ context.Context, id plugin.LoanID, how backends.Return) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, string(id)+" "+string(how))
	return nil
}
