package plugin

import (
	"context"
	"os"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/report"
)

// FileCache is a plain file cache; backends/filecache is one.
type FileCache interface {
	backends.Store
	// OpenImage opens a committed image for reading. ErrNotExist.
	OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error)
}

// Plugin is the open cache. Its methods may be called from several goroutines.
type Plugin struct{}

// Open locks StateDir, opens catalog and journal, settles what an earlier process left in flight, and
// is ready to serve. ErrLocked; catalog.ErrDamaged.
func Open(ctx context.Context, cfg Config) (*Plugin, error) { panic("contract") }

// Close stops taking requests, lets fills end within ctx, undoes those that do not, flushes, and closes
// what Open opened, not the backends.
func (p *Plugin) Close(ctx context.Context) error { panic("contract") }

func (p *Plugin) CreateVolume(ctx context.Context, r Request) (Answer, error) { panic("contract") }

func (p *Plugin) ListVolumes(ctx context.Context, backend backends.Name) ([]VolumeView, error) {
	panic("contract")
}
func (p *Plugin) DeleteVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	panic("contract")
}
func (p *Plugin) Entries(ctx context.Context, f EntryFilter) ([]EntryView, error) { panic("contract") }
func (p *Plugin) Entry(ctx context.Context, id string) (EntryView, error)         { panic("contract") }

// id may be a unique prefix of at least 4 characters in Entry, DeleteEntry and SetPinned.
func (p *Plugin) DeleteEntry(ctx context.Context, id string, force ForceDetach) (PruneResult, error) {
	panic("contract")
}
func (p *Plugin) DeleteAllEntries(ctx context.Context, backend backends.Name, force ForceDetach) (PruneResult, error) {
	panic("contract")
}
func (p *Plugin) SetPinned(ctx context.Context, id string, pin Pinning) (EntryView, error) {
	panic("contract")
}
func (p *Plugin) Fills() []FillView { panic("contract") }
func (p *Plugin) Report(ctx context.Context, backend backends.Name, since time.Time) (report.Report, error) {
	panic("contract")
}
func (p *Plugin) Quota(ctx context.Context) (Quota, error)            { panic("contract") }
func (p *Plugin) Backends(ctx context.Context) ([]BackendView, error) { panic("contract") }
func (p *Plugin) Prune(ctx context.Context) (PruneResult, error)      { panic("contract") }
func (p *Plugin) Clean(ctx context.Context) (CleanResult, error)      { panic("contract") }
func (p *Plugin) Check(ctx context.Context, o CheckOptions) (CheckResult, error) {
	panic("contract")
}
func (p *Plugin) Status(ctx context.Context) (Status, error) { panic("contract") }

// ForceDetach says whether an entry with live clones is detached rather than refused.
type ForceDetach bool

// Pinning says whether an entry is kept from eviction.
type Pinning bool
