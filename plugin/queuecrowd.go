package plugin

import (
	"errors"
	"strings"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// errNoPlace: all places for fills into its store are taken.
var errNoPlace = errors.New("as many fills go into its backend as may")

// crowded are the sources and stores that have a worker for each of their own places, and the stores into which requests' fills
// wait for theirs. What is of these stays in the queue: a worker that waited for such a place would keep another image from its turn.
func (q *queue) crowded() (all catalog.LeaveQueued) {
	stores := q.stock.orderedStores()
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, workers := range q.reading {
		if most, bounded := q.fills.placesOf(name); bounded && workers >= most {
			all.Sources = append(all.Sources, name)
		}
	}
	for _, s := range stores {
		if id := s.id(); id != "" && q.noPlace(s) {
			all.Stores = append(all.Stores, id)
		}
	}
	return all
}

// noPlace tells whether a worker that began to fill a store would have to wait for its place, or keep a request from it; mu is held.
func (q *queue) noPlace(s *store) bool {
	most, crowded := q.fills.placesInto(s)
	return crowded || q.filling[s.id()] >= most
}

// enterAny counts a worker into the first store of these jobs into which it would get a place at once, and returns its job; false:
// there is none. What is for no store that is there needs no place.
func (q *queue) enterAny(jobs []*job) (j *job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		if s := q.stock.storeOf(j.row.Store); s == nil || !q.noPlace(s) {
			q.filling[j.row.Store]++
			return j, true
		}
	}
	return nil, false
}

// leaveStore counts the worker of a job out of its store.
func (q *queue) leaveStore(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.filling[j.row.Store]--; q.filling[j.row.Store] == 0 {
		delete(q.filling, j.row.Store)
	}
}

// reads notes that so many more workers read from the source of an image, be it bounded or not: that may change under them.
func (q *queue) reads(image string, more int) {
	name, _, _ := strings.Cut(image, ":")
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reading[name] += more; q.reading[name] == 0 {
		delete(q.reading, name)
	}
}
