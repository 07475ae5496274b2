package cli

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/report"
)

// order is one way to sort a list, the least first.
type order[T any] struct {
	name    string
	compare func(a, b T) int
}

// by orders by what key says of an item.
func by[T any, K cmp.Ordered](name string, key func(T) K) order[T] {
	return order[T]{name, func(a, b T) int { return cmp.Compare(key(a), key(b)) }}
}

// sorting is the value of --sort: one of some orders, "-" before it turns it round. The zero value leaves a list
// as it is.
type sorting[T any] struct {
	orders []order[T]
	chosen string
}

func (s *sorting[T]) Set(text string) error {
	if _, ok := s.find(strings.TrimPrefix(text, "-")); !ok {
		return errors.New("use one of " + strings.Join(s.names(), ", ") + ", with - before it for the greatest first")
	}
	s.chosen = text
	return nil
}

func (s *sorting[T]) String() string { return s.chosen }
func (*sorting[T]) Type() string     { return "column" }

func (s *sorting[T]) names() []string {
	return each(s.orders, func(o order[T]) string { return o.name })
}

func (s *sorting[T]) find(name string) (order[T], bool) {
	for _, o := range s.orders {
		if o.name == name {
			return o, true
		}
	}
	return order[T]{}, false
}

// sort sorts items as was asked for; equal ones stay as they are.
func (s *sorting[T]) sort(items []T) {
	name, reverse := strings.CutPrefix(s.chosen, "-")
	o, ok := s.find(name)
	if !ok {
		return
	}
	slices.SortStableFunc(items, func(a, b T) int {
		if reverse {
			a, b = b, a
		}
		return o.compare(a, b)
	})
}

// flag gives a command --sort.
func (s *sorting[T]) flag(cmd *cobra.Command) {
	cmd.Flags().Var(s, "sort", "order: "+strings.Join(s.names(), ", ")+"; with - before it the greatest first")
	completes(cmd, "sort", fixed(s.names()...))
}

var entryOrders = []order[plugin.EntryView]{
	by("backend", func(e plugin.EntryView) string { return string(e.Backend) }),
	by("state", func(e plugin.EntryView) string { return e.State }),
	by("image", func(e plugin.EntryView) string { return few(e.ImageIDs) }),
	by("disk", func(e plugin.EntryView) int64 { return e.VirtualBytes }),
	by("held", func(e plugin.EntryView) int64 { return e.HeldBytes }),
	by("hits", func(e plugin.EntryView) int64 { return e.Hits }),
	by("clones", func(e plugin.EntryView) int { return e.Clones }),
	by("created", func(e plugin.EntryView) int64 { return e.CreatedAt.UnixNano() }),
	by("used", func(e plugin.EntryView) int64 { return e.LastUsedAt.UnixNano() }),
}

var volumeOrders = []order[plugin.VolumeView]{
	by("volume", func(v plugin.VolumeView) string { return string(v.Volume) }),
	by("backend", func(v plugin.VolumeView) string { return string(v.Backend) }),
	by("size", func(v plugin.VolumeView) int64 { return v.SizeBytes }),
	by("image", func(v plugin.VolumeView) string { return v.ImageID }),
}

var backendOrders = []order[plugin.BackendView]{
	by("backend", func(v plugin.BackendView) string { return string(v.Name) }),
	by("kind", func(v plugin.BackendView) string { return v.Kind }),
	by("entries", func(v plugin.BackendView) int { return v.Entries }),
	by("held", func(v plugin.BackendView) int64 { return v.HeldBytes }),
	by("free", func(v plugin.BackendView) int64 { return v.FreeBytes }),
}

// imageOrders are those of the report's images.
var imageOrders = []order[report.Image]{
	by("image", func(i report.Image) string { return i.ImageID }),
	by("requests", func(i report.Image) int64 { return i.Requests }),
	by("hits", func(i report.Image) int64 { return i.Hits }),
	by("misses", func(i report.Image) int64 { return i.Misses }),
	by("downloaded", func(i report.Image) int64 { return i.DownloadedBytes }),
	by("saved", func(i report.Image) int64 { return i.SavedBytes }),
}
