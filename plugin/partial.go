package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// PartialError says which stores an answer about all of them leaves out, since they do not answer. It comes beside
// what the others answered, and is backends.ErrUnavailable.
type PartialError struct {
	Unavailable []UnavailableView // at least one
}

func (e *PartialError) Error() string {
	all := make([]string, len(e.Unavailable))
	for i, u := range e.Unavailable {
		all[i] = fmt.Sprintf("%s: %s", u.Name, u.Error)
	}
	return "left out: " + strings.Join(all, "; ")
}

// Unwrap gives backends.ErrUnavailable.
func (e *PartialError) Unwrap() error { return backends.ErrUnavailable }

// leaveOut adds a store to those that an answer about all of them leaves out, and tells whether its error is
// that it does not answer; any other one is not for the others to bear.
func (ro *roster) leaveOut(list *[]UnavailableView, s *store, err error) bool {
	if !errors.Is(err, backends.ErrUnavailable) {
		return false
	}
	ro.reached(s, err)
	if slices.ContainsFunc(*list, func(u UnavailableView) bool { return u.Name == s.name }) {
		return true
	}
	since := ro.now().UTC()
	if silence := s.silence.Load(); silence != nil {
		since = silence.since
	}
	*list = append(*list, UnavailableView{Name: s.name, Since: since, Error: err.Error()})
	return true
}

// removable asks the store of an entry whether it answers, so that nothing begins that could not be ended: an
// entry whose eviction has begun serves nobody any more. backends.ErrUnavailable.
func (rm *remover) removable(ctx context.Context, e catalog.Entry) error {
	return rm.allRemovable()(ctx, e)
}

// allRemovable is removable for many entries: each store is asked once.
func (rm *remover) allRemovable() func(context.Context, catalog.Entry) error {
	asked := make(map[backends.Name]error)
	return func(ctx context.Context, e catalog.Entry) error {
		s := rm.stock.storeOf(e.Store)
		if s == nil || e.State == catalog.Failed { // only the row goes
			return nil
		}
		err, known := asked[s.name]
		if !known {
			_, err = s.images.Capacity(ctx)
			asked[s.name] = err
		}
		return err
	}
}

// volumesOf adds a backend's volumes to views. What was listed before a failure stays in them.
func (l *ladder) volumesOf(ctx context.Context, s *store, views *[]VolumeView) error {
	kept := l.keptOn(s)
	for v, err := range s.backend.ListVolumes(ctx) {
		if err != nil {
			return err
		}
		*views = append(*views, VolumeView{
			Volume: v.Name, VolumeID: v.ID, Backend: s.name, ImageID: v.Origin.ImageID, EntryID: string(v.Origin.EntryID),
			SizeBytes: v.SizeBytes, Path: v.Path, Complete: v.Complete, DependsOn: v.DependsOn, Kept: kept[v.Name],
		})
	}
	return nil
}
