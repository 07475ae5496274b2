package journal

import (
	"slices"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// maxPending bounds the answered requests in memory that the catalog has not taken: about 20 MB, and
// as much again where each has a long detail, or stands for several.
const maxPending = 1 << 16

// pending is what was answered and not yet taken by the catalog, in the order of Seq. While the catalog
// takes nothing it is kept within its bound by adding requests up, so that the report's sums stay right:
// at first those that differ in time alone; where that is not enough also those that differ in image and
// entry, whose hits, last use and project then go unnoticed. Requests that are added up are one event.
type pending struct {
	requests []catalog.Request
	max      int // 0: maxPending
}

func (p *pending) limit() int {
	if p.max > 0 {
		return p.max
	}
	return maxPending
}

// add keeps requests that are newer than all others.
func (p *pending) add(requests ...catalog.Request) {
	p.requests = append(p.requests, requests...)
	p.shrink()
}

// putBack keeps requests that are older than all others.
func (p *pending) putBack(requests []catalog.Request) {
	p.requests = slices.Concat(requests, p.requests)
	p.shrink()
}

// shrink keeps to the bound. It makes it half empty, so that what it costs is shared by many requests.
func (p *pending) shrink() {
	if len(p.requests) <= p.limit() {
		return
	}
	p.requests = summed(p.requests, sameSubject)
	if len(p.requests) > p.limit()/2 {
		p.requests = summed(p.requests, sameOutcome)
	}
}

// subject is what requests have in common that may be added up. Requests that downloaded are counted as
// such, so they stay apart.
type subject struct {
	backend, image, project, entry, outcome, reason string
	downloaded                                      bool
}

func sameSubject(r catalog.Request) subject {
	return subject{string(r.Backend), r.ImageID, r.Project, string(r.Entry), string(r.Outcome), string(r.Reason), r.DownloadedBytes > 0}
}

func sameOutcome(r catalog.Request) subject {
	s := sameSubject(r)
	s.image, s.project, s.entry = "", "", ""
	return s
}

// summed adds up the requests of each subject into one with the latest time and Seq.
func summed(requests []catalog.Request, of func(catalog.Request) subject) []catalog.Request {
	at := make(map[subject]int)
	var sums []catalog.Request
	for _, r := range requests {
		s := of(r)
		r.Times = max(r.Times, 1)
		i, known := at[s]
		if !known {
			at[s] = len(sums)
			r.ImageID, r.Project, r.Entry = s.image, s.project, catalog.EntryID(s.entry)
			sums = append(sums, r)
			continue
		}
		sums[i] = sum(sums[i], r)
	}
	slices.SortFunc(sums, func(a, b catalog.Request) int { return int(a.Seq - b.Seq) })
	return sums
}

// sum is two requests of one subject as one.
func sum(a, b catalog.Request) catalog.Request {
	a.Spread = catalog.SpreadOf(a, b)
	a.Times += b.Times
	a.Took += b.Took
	a.DownloadedBytes += b.DownloadedBytes
	a.SavedBytes += b.SavedBytes
	a.Clones += b.Clones
	a.Seq = max(a.Seq, b.Seq)
	if b.At.After(a.At) {
		a.At = b.At
	}
	a.Volume, a.Detail = "", "" // they are several
	return a
}
