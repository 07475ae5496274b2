package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// KindUnconfigured is the kind of a store that the figures still name and the configuration does not.
const KindUnconfigured = "unconfigured"

// Store is a backend or a file cache as it stands now.
type Store struct {
	Name          backends.Name
	Kind          string // "file", "rbd", "filecache"
	Entries       int
	HeldBytes     int64
	DetachedBytes int64
	MaxSizeBytes  int64 // 0: unbounded
	MaxCount      int   // 0: unbounded
}

// Input is what a report is made from. The sums go back to Since.
type Input struct {
	Since     *time.Time // nil: the beginning
	Until     *time.Time // nil: no end
	Stores    []Store    // in the order in which the report names them
	Requests  []catalog.RequestStat
	Evictions []catalog.EvictionStat
	Fills     []catalog.FillStat
	Latencies []catalog.LatencyStat
	By        By                 // whose shares are told of beside the backends'
	Work      []catalog.WorkStat // where By is not ByBackend
	HostNames map[catalog.InstanceID]string
}

// Build computes the report: one row for each store, in Stores' order, then one for each further store
// that the figures name, by name; and the total, which is the sum of the rows. A bound of the total is
// 0 where one of the rows is unbounded. Images are sorted by requests, most first. in is not changed.
func Build(in Input) Report {
	b := newBooks(in.Stores)
	for _, r := range in.Requests {
		b.of(r.Backend).request(r)
		b.total.request(r)
	}
	for _, e := range in.Evictions {
		b.of(e.Store).eviction(e)
		b.total.eviction(e)
	}
	for _, f := range in.Fills {
		b.of(f.Store).fill(f)
		b.total.fill(f)
	}
	for _, l := range in.Latencies {
		b.of(l.Backend).latency(l)
		b.total.latency(l)
	}
	r := Report{Since: in.Since, Until: in.Until, Total: b.total.figures(), Backends: b.rows(), Hosts: []Share{}, Projects: []Share{}}
	switch in.By {
	case ByHost:
		r.Hosts = shares(r.Total, in.Work, in.ofHost)
	case ByProject:
		r.Projects = shares(r.Total, in.Work, ofProject)
	case ByBackend, ByImage, "": // they are there always
	}
	return r
}

// books are one tally for each store, and one for all.
type books struct {
	total   *tally
	names   []backends.Name // in the report's order
	kinds   map[backends.Name]string
	tallies map[backends.Name]*tally
}

func newBooks(stores []Store) *books {
	b := &books{total: newTally(), kinds: map[backends.Name]string{}, tallies: map[backends.Name]*tally{}}
	b.total.MaxSizeBytes, b.total.MaxCount = sumBounds(stores)
	for _, s := range stores {
		b.kinds[s.Name] = s.Kind
		t := b.of(s.Name)
		t.MaxSizeBytes, t.MaxCount = s.MaxSizeBytes, s.MaxCount
		t.stand(s)
		b.total.stand(s)
	}
	return b
}

func (b *books) of(name backends.Name) *tally {
	if t, ok := b.tallies[name]; ok {
		return t
	}
	t := newTally()
	b.tallies[name] = t
	b.names = append(b.names, name)
	return t
}

func (b *books) rows() []Backend {
	slices.Sort(b.names[len(b.kinds):])
	rows := make([]Backend, 0, len(b.names))
	for _, name := range b.names {
		kind, ok := b.kinds[name]
		if !ok {
			kind = KindUnconfigured
		}
		rows = append(rows, Backend{Name: string(name), Kind: kind, Figures: b.tallies[name].figures()})
	}
	return rows
}

// sumBounds adds the bounds up; a sum with an unbounded store is unbounded.
func sumBounds(stores []Store) (size int64, count int) {
	sizeBounded, countBounded := true, true
	for _, s := range stores {
		size += s.MaxSizeBytes
		count += s.MaxCount
		sizeBounded = sizeBounded && s.MaxSizeBytes > 0
		countBounded = countBounded && s.MaxCount > 0
	}
	if !sizeBounded {
		size = 0
	}
	if !countBounded {
		count = 0
	}
	return size, count
}

// sortImages puts the most requested first.
func sortImages(images []Image) {
	slices.SortFunc(images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), strings.Compare(a.ImageID, b.ImageID))
	})
}
