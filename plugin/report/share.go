package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// By is what a report tells the figures of, beside the total.
type By string

// The ways to divide a report. Backends and images are in each; "" is ByBackend.
const (
	ByBackend By = "backend"
	ByImage   By = "image"
	ByHost    By = "host"
	ByProject By = "project"
)

// The names of shares that are nobody's.
const (
	// Unnoted is what nobody noted whose it was: daemons of an earlier version did it, or, of projects, it was answered in the
	// moments before a crash, or before the image's source had said whose it is.
	Unnoted = "(not noted)"
	// NoProject are images that belong to no project alone: public ones, and those of sources that know no projects.
	NoProject = "(everybody's)"
)

// Share is one daemon's part of the total, or one project's. The shares add up to the total.
type Share struct {
	ID              string           `json:"id" doc:"A daemon's, as in the list of hosts, or a project's, as the image's source says whose the image is; * for images of no project alone; empty for what was not noted"`
	Name            string           `json:"name" doc:"What the host is called now, or the project's ID"`
	Requests        int64            `json:"requests"`
	Hits            int64            `json:"hits"`
	Misses          int64            `json:"misses"`
	HitRatio        *float64         `json:"hit_ratio" doc:"As of a backend; null where there were no hits and misses"`
	Outcomes        map[string]int64 `json:"outcomes" doc:"Requests by outcome"`
	DownloadedBytes int64            `json:"downloaded_bytes" doc:"What its fills have read from image sources"`
	SavedBytes      int64            `json:"saved_bytes" doc:"What would have been downloaded without the cache"`
	Fills           int64            `json:"fills" doc:"Fills that ended, failed ones too"`
	FailedFills     int64            `json:"failed_fills"`
	MeanMS          float64          `json:"mean_ms" doc:"How long a request took on average; of what was not noted: 0"`
}

// shareTally is a share being summed.
type shareTally struct {
	Share
	took time.Duration
}

// shares sums the work by whose it is, the most requests first; what the total has more than that was not noted.
func shares(total Figures, work []catalog.WorkStat, of func(catalog.WorkStat) (id, name string)) []Share {
	tallies := make(map[string]*shareTally)
	for _, w := range work {
		id, name := of(w)
		if tallies[id] == nil {
			tallies[id] = &shareTally{Share: Share{ID: id, Name: name, Outcomes: map[string]int64{}}}
		}
		tallies[id].add(w)
	}
	rest := remainder(total, tallies)
	all := make([]Share, 0, len(tallies)+1)
	for id, t := range tallies {
		if id != "" {
			all = append(all, t.share())
		}
	}
	slices.SortFunc(all, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	if rest.Requests > 0 || rest.Fills > 0 || rest.SavedBytes > 0 || rest.DownloadedBytes > 0 {
		all = append(all, rest)
	}
	return all
}

// remainder is what the total has more than the shares that are somebody's.
func remainder(total Figures, tallies map[string]*shareTally) Share {
	rest := shareTally{Share: Share{Name: Unnoted, Outcomes: map[string]int64{}, Hits: total.Hits, Misses: total.Misses,
		DownloadedBytes: total.DownloadedBytes, SavedBytes: total.SavedBytes, Fills: total.Fills, FailedFills: total.FailedFills}}
	for outcome, n := range total.Outcomes {
		rest.Outcomes[outcome] = n
		rest.Requests += n
	}
	for id, t := range tallies {
		if id == "" {
			continue
		}
		rest.Requests -= t.Requests
		rest.Hits -= t.Hits
		rest.Misses -= t.Misses
		rest.DownloadedBytes -= t.DownloadedBytes
		rest.SavedBytes -= t.SavedBytes
		rest.Fills -= t.Fills
		rest.FailedFills -= t.FailedFills
		for outcome, n := range t.Outcomes {
			if rest.Outcomes[outcome] -= n; rest.Outcomes[outcome] == 0 {
				delete(rest.Outcomes, outcome)
			}
		}
	}
	return rest.share()
}

func (t *shareTally) add(w catalog.WorkStat) {
	hits, misses := served(catalog.RequestStat{Outcome: w.Outcome, Requests: w.Requests, Downloads: w.Downloads})
	t.Hits += hits
	t.Misses += misses
	t.Requests += w.Requests
	if w.Requests != 0 {
		t.Outcomes[string(w.Outcome)] += w.Requests
	}
	t.SavedBytes += w.SavedBytes
	t.DownloadedBytes += w.SourceBytes
	t.Fills += w.Fills
	t.FailedFills += w.Failed
	t.took += w.Took
}

func (t *shareTally) share() Share {
	s := t.Share
	if counted := s.Hits + s.Misses; counted > 0 {
		ratio := float64(s.Hits) / float64(counted)
		s.HitRatio = &ratio
	}
	s.MeanMS = meanMS(t.took, s.Requests)
	return s
}

// ofHost is the daemon that did it. One that is not known any more goes by its ID.
func (in Input) ofHost(w catalog.WorkStat) (id, name string) {
	return string(w.Host), cmp.Or(in.HostNames[w.Host], string(w.Host))
}

// ofProject is the project that the image belongs to.
func ofProject(w catalog.WorkStat) (id, name string) {
	if w.Project == catalog.Everybody {
		return w.Project, NoProject
	}
	return w.Project, w.Project
}
