package imagesource

import "sync"

const maxSumsCached = 32

// sumsCache keeps the lists of digests that were read lately, each with what tells whether it is still
// valid. It may be used from several goroutines.
type sumsCache[V any] struct {
	mu    sync.Mutex
	lists map[string]cachedSums[V]
}

type cachedSums[V any] struct {
	sums  sums
	valid V
}

func newSumsCache[V any]() *sumsCache[V] {
	return &sumsCache[V]{lists: map[string]cachedSums[V]{}}
}

// get returns zero values where nothing is kept under name.
func (c *sumsCache[V]) get(name string) (sums, V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.lists[name]
	return kept.sums, kept.valid
}

// put keeps a list; where there are too many, all others are dropped, and read again when needed.
func (c *sumsCache[V]) put(name string, s sums, valid V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.lists[name]; !found && len(c.lists) >= maxSumsCached {
		clear(c.lists)
	}
	c.lists[name] = cachedSums[V]{s, valid}
}
