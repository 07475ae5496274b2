package plugin

import (
	"cmp"
	"context"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// finding is a Problem and how to mend it; fix is nil where that is for a human to decide.
type finding struct {
	Problem
	fix func(context.Context) error
	// noted: mending it notes an event of its own.
	noted bool
	// waits: it cannot be mended before somebody has changed the configuration, as far as that shows.
	waits bool
	// frees: mending it gives back what is charged to the internal tenant, or is a step towards that.
	frees bool
	// adopts is the entry that mending it takes into the catalog, which the internal tenant is charged for.
	adopts   EntryID
	detached bool // and it serves no request there
	// observed is all that fix would note, where it does nothing else: there may be many of these, and
	// they can be noted together.
	observed *catalog.Observation
}

// incomplete tells that something could not be compared, and is to be once it can.
func (f finding) incomplete() bool {
	return f.Kind == quotaDown || f.Kind == backendDown || f.Kind == unreadable
}

// inOrder puts what frees quota before what needs it, and what serves requests before what only keeps clones alive: else
// an image-volume would go for want of a quota that is charged for nothing.
func inOrder(all []finding) []finding {
	slices.SortStableFunc(all, func(a, b finding) int { return cmp.Compare(a.turn(), b.turn()) })
	return all
}

func (f finding) turn() int {
	switch {
	case f.frees:
		return 0
	case f.adopts != "" && !f.detached:
		return 1
	}
	return 2
}

// adopting are the entries that findings take into the catalog.
func adopting(all []finding) map[EntryID]bool {
	entries := map[EntryID]bool{}
	for _, f := range all {
		if f.adopts != "" {
			entries[f.adopts] = true
		}
	}
	return entries
}

// findings are the image-volumes that could not be read.
func (l listing) findings(s *store) []finding {
	var all []finding
	for kind, of := range map[string]map[backends.ImageVolumeID]error{"damaged-image-volume": l.damaged, unreadable: l.unread} {
		for id, err := range of {
			all = append(all, finding{Problem: Problem{
				Kind: kind, Backend: s.name, ID: string(id), Detail: err.Error(),
				Remedy: "look at it with the backend's own tools; if no entry has it and nobody needs it, remove it by hand; if an image-volume is lost, delete its entry",
			}})
		}
	}
	return all
}

// unreadable is the kind of problem that keeps an image-volume from being compared.
const unreadable = "unreadable-image-volume"

// backendDown is the kind of problem that keeps a store from being compared.
const backendDown = "backend-unavailable"

func unavailable(s *store, err error) finding {
	return finding{Problem: Problem{
		Kind: backendDown, Backend: s.name, ID: string(s.name), Detail: err.Error(),
		Remedy: "make the backend available and run the check again",
	}}
}
