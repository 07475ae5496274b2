package api

import (
	"context"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/report"
)

// Service is what the server serves: ServiceOf makes it of a *plugin.Plugin.
type Service interface {
	Volumes
	Entries
	Overview
	Upkeep
	Events
	Stories
	Hosts
	Loans
	Queue
	Controls
}

// Hosts are the daemons on one catalog.
type Hosts interface {
	Hosts(ctx context.Context) ([]plugin.HostView, error)
	RemoveHost(ctx context.Context, id string) (plugin.HostView, error)
	// CatalogAway is since when the catalog's database does not answer; nil: it does. Nobody is asked.
	CatalogAway() *plugin.CatalogAway
}

// Loans are image-volumes that requesters make volumes of by themselves. One is asked for by CreateVolume, with
// plugin.Request.Lend.
type Loans interface {
	Loans(ctx context.Context) ([]plugin.LoanView, error)
	EndLoan(ctx context.Context, id plugin.LoanID, how backends.Return) error
	RenewLoan(ctx context.Context, id plugin.LoanID) error
	KeepLoan(ctx context.Context, id plugin.LoanID) error
	EndLoansAt(ctx context.Context, backend backends.Name, at backends.Place) (ended int, err error)
}

// Volumes is the requester's part.
type Volumes interface {
	CreateVolume(ctx context.Context, r plugin.Request) (plugin.Answer, error)
	ListVolumes(ctx context.Context, backend backends.Name) ([]plugin.VolumeView, error)
	DeleteVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error
	KeepVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error
	FlattenVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName, progress func(done, total int64)) (plugin.Flattened, error)
}

// Entries is the cache's content.
type Entries interface {
	Entries(ctx context.Context, f plugin.EntryFilter) ([]plugin.EntryView, error)
	Entry(ctx context.Context, id string) (plugin.EntryView, error)
	DeleteEntry(ctx context.Context, id string, force plugin.ForceDetach) (plugin.PruneResult, error)
	DeleteAllEntries(ctx context.Context, backend backends.Name, force plugin.ForceDetach) (plugin.PruneResult, error)
	DeleteSupersededEntries(ctx context.Context, backend backends.Name, force plugin.ForceDetach) (plugin.PruneResult, error)
	PlanDeletion(ctx context.Context, d plugin.Deletion) (plugin.PruneResult, error)
	SetPinned(ctx context.Context, id string, pin plugin.Pinning) (plugin.EntryView, error)
	Revalidate(ctx context.Context, id string) (plugin.Revalidated, error)
}

// Overview is what admins look at.
type Overview interface {
	Fills() []plugin.FillView
	AllFills(context.Context) ([]plugin.FillView, error)
	Report(ctx context.Context, backend backends.Name, since time.Time) (report.Report, error)
	Quota(ctx context.Context) (plugin.Quota, error)
	QuotaUse(ctx context.Context) (plugin.Quota, error)
	Backends(ctx context.Context) ([]plugin.BackendView, error)
	Status(ctx context.Context) (plugin.Status, error)
	Unavailable() []plugin.UnavailableView
	// Sources lists the image sources and how each is; nobody is asked.
	Sources() []plugin.SourceView
}

// Upkeep keeps the cache in order.
type Upkeep interface {
	Prune(ctx context.Context) (plugin.PruneResult, error)
	PlanPrune(ctx context.Context) (plugin.PruneResult, error)
	Clean(ctx context.Context) (plugin.CleanResult, error)
	Check(ctx context.Context, o plugin.CheckOptions) (plugin.CheckResult, error)
	Scrub(ctx context.Context, r plugin.ScrubRequest) (plugin.ScrubResult, error)
}

// Events is what happened.
type Events interface {
	Events(ctx context.Context, f plugin.EventFilter) ([]plugin.Event, error)
	FollowEvents(ctx context.Context, f plugin.EventFilter, take func(plugin.Event) error) error
}

// Stories tell what happened to one volume or entry.
type Stories interface {
	ExplainVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) (plugin.VolumeStory, error)
	EntryEvents(ctx context.Context, id string) ([]plugin.Event, error)
}

// ServiceOf is the service of a cache.
func ServiceOf(p *plugin.Plugin) Service {
	return served{p, p.Lending(), p.Queue(), p.Controls()}
}

type served struct {
	*plugin.Plugin
	plugin.Lending
	plugin.Queue
	plugin.Controls
}

// Queue is what is to be cached ahead of requests.
type Queue interface {
	Prefetch(ctx context.Context, p plugin.Prefetch) ([]plugin.QueuedView, error)
	Queued(ctx context.Context) ([]plugin.QueuedView, error)
	DeleteQueued(ctx context.Context, id string) (plugin.QueuedView, error)
	ClearQueue(ctx context.Context) (int64, error)
	RetryQueued(ctx context.Context, id string) (plugin.QueuedView, error)
	RetryQueue(ctx context.Context) (int64, error)
	Follows(ctx context.Context) ([]plugin.FollowView, error)
	Sweep(ctx context.Context) ([]plugin.FollowView, error)
}

// Controls put backends out of use and into use.
type Controls interface {
	DisableBackend(ctx context.Context, name backends.Name) error
	EnableBackend(ctx context.Context, name backends.Name) error
	DrainBackend(ctx context.Context, name backends.Name) error
	NoteAct(a plugin.Act)
	PlanClean(ctx context.Context) (plugin.CleanResult, error)
	ReportOf(ctx context.Context, q plugin.ReportQuery) (report.Report, error)
	Course(ctx context.Context, since, now time.Time) (report.Course, error)
}
