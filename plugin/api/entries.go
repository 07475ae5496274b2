package api

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

type entriesInput struct {
	Backend backends.Name `query:"backend" doc:"The backend or file cache that holds them. Default: all"`
	State   string        `query:"state" enum:"filling,ready,evicting,detached,failed" doc:"Default: all but failed"`
	Image   string        `query:"image" maxLength:"4096" doc:"SOURCE:ID of an image that they serve"`
	// Contains is searched for in all entries.
	Contains string           `query:"contains" maxLength:"4096" doc:"A part of the entry's ID, or of the SOURCE:ID of one of its images"`
	Sort     plugin.EntrySort `query:"sort" enum:"age,held,hits,used,clones" doc:"Default: age, the oldest first. Else the greatest come first, and of equal ones the youngest"`
	After    string           `query:"after" maxLength:"300" doc:"For the next page: the id of the last entry of the one before; of another order than by age its list_place"`
	Limit    int              `query:"limit" minimum:"0" maximum:"10000" doc:"At most so many. Default: no limit"`
}

type entryInput struct {
	ID string `path:"id" maxLength:"255" doc:"The entry's ID, or a unique prefix of at least 4 characters"`
}

type deleteEntryInput struct {
	ID    string             `path:"id" maxLength:"255" doc:"The entry's ID, or a unique prefix of at least 4 characters"`
	Force plugin.ForceDetach `query:"force" doc:"Detach it where it has live clones"`
}

type deleteAllInput struct {
	Backend backends.Name      `query:"backend" doc:"The backend or file cache that holds them. Default: all"`
	Force   plugin.ForceDetach `query:"force" doc:"Detach those that have live clones"`
	// Superseded ones alone, or all.
	Superseded bool `query:"superseded" doc:"Only those whose image has other content by now, is gone from its source, or is beyond keep of what is followed"`
	DryRun     bool `query:"dry_run" doc:"Remove nothing: planned says what would go and what would stay, and why"`
}

func (s *Server) entryRoutes() {
	const all, one = "/v1/entries", "/v1/entries/{id}"
	route(s, get("list-entries", all, "Cache entries, by age or in another order"), func(ctx context.Context, svc Service, in *entriesInput) (*output[[]plugin.EntryView], error) {
		return listed(svc.Entries(ctx, plugin.EntryFilter{Backend: in.Backend, State: in.State, ImageID: in.Image, Contains: in.Contains, Sort: in.Sort, After: in.After, Limit: in.Limit}))
	})
	route(s, get("show-entry", one, "One cache entry"), func(ctx context.Context, svc Service, in *entryInput) (*output[plugin.EntryView], error) {
		return answer(svc.Entry(ctx, in.ID))
	})
	route(s, del("delete-entry", one, "Evict one entry"), func(ctx context.Context, svc Service, in *deleteEntryInput) (*output[plugin.PruneResult], error) {
		return s.pruned(ctx, "entry deleted")(svc.DeleteEntry(ctx, in.ID, in.Force))
	})
	route(s, del("delete-entries", all, "Evict all entries"), func(ctx context.Context, svc Service, in *deleteAllInput) (*output[plugin.PruneResult], error) {
		if in.DryRun {
			return answer(svc.PlanDeletion(ctx, plugin.Deletion{Backend: in.Backend, Superseded: in.Superseded, Force: in.Force}))
		}
		if in.Superseded {
			return s.pruned(ctx, "superseded entries deleted")(svc.DeleteSupersededEntries(ctx, in.Backend, in.Force))
		}
		return s.pruned(ctx, "all entries deleted")(svc.DeleteAllEntries(ctx, in.Backend, in.Force))
	})
	route(s, post("pin-entry", one+"/pin", "Keep an entry from eviction"), func(ctx context.Context, svc Service, in *entryInput) (*output[plugin.EntryView], error) {
		return s.pin(ctx, svc, in.ID, true)
	})
	route(s, post("unpin-entry", one+"/unpin", "Let an entry be evicted again"), func(ctx context.Context, svc Service, in *entryInput) (*output[plugin.EntryView], error) {
		return s.pin(ctx, svc, in.ID, false)
	})
	route(s, post("revalidate-entry", one+"/revalidate", "Read and inspect an entry's bytes again; one that does not pass is dropped"), func(ctx context.Context, svc Service, in *entryInput) (*output[plugin.Revalidated], error) {
		result, err := svc.Revalidate(ctx, in.ID)
		if err == nil {
			s.logFor(ctx).WithFields(logrus.Fields{"entry": result.Entry.ID, "backend": result.Entry.Backend, "valid": result.Valid}).Info("entry revalidated")
		}
		return answer(result, err)
	})
}

func (s *Server) pin(ctx context.Context, svc Service, id string, pin plugin.Pinning) (*output[plugin.EntryView], error) {
	entry, err := svc.SetPinned(ctx, id, pin)
	if err == nil {
		s.logFor(ctx).WithFields(logrus.Fields{"entry": entry.ID, "backend": entry.Backend, "pinned": bool(pin)}).Info("entry's pin set")
	}
	return answer(entry, err)
}

// pruned answers a removal of entries, and logs it as what.
func (s *Server) pruned(ctx context.Context, what string) func(plugin.PruneResult, error) (*output[plugin.PruneResult], error) {
	return func(result plugin.PruneResult, err error) (*output[plugin.PruneResult], error) {
		if err != nil {
			return nil, err
		}
		result.Removed, result.Planned, result.Unavailable = notNull(result.Removed), notNull(result.Planned), notNull(result.Unavailable)
		s.logFor(ctx).WithFields(logrus.Fields{"entries": len(result.Removed), "bytes": result.FreedBytes, "detached": result.Detached}).Info(what)
		return &output[plugin.PruneResult]{Body: result}, nil
	}
}
