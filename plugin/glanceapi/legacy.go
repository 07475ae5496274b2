package glanceapi

import "net/http"

// The older paths, which Glance has with cachemanagement in its pipeline: whoever may manage the cache may use them, no
// image is looked for in Glance, and answers are JSON.

func (c *call) legacyCached() {
	c.legacyState(func(s cacheState) any { return map[string]any{"cached_images": s.Cached} })
}
func (c *call) legacyQueued() {
	c.legacyState(func(s cacheState) any { return map[string]any{"queued_images": s.Queued} })
}

func (c *call) legacyState(of func(cacheState) any) {
	if !c.may(manageCache) {
		return
	}
	state, err := c.state()
	c.legacyAnswer(of(state), err)
}

// legacyAnswer answers with a value, or with the error.
func (c *call) legacyAnswer(value any, err error) {
	if err != nil {
		c.failed(err)
		return
	}
	writeJSON(c.w, http.StatusOK, value)
}

func (c *call) legacyEnqueue() {
	if c.may(manageCache) {
		c.legacyAnswer(nil, c.prefetch())
	}
}

func (c *call) legacyClearCached() {
	if c.may(manageCache) {
		n, err := c.clearCache()
		c.legacyAnswer(map[string]int{"num_deleted": n}, err)
	}
}

func (c *call) legacyClearQueued() {
	if c.may(manageCache) {
		n, err := c.clearQueue()
		c.legacyAnswer(map[string]int{"num_deleted": n}, err)
	}
}

func (c *call) legacyRemoveCached() {
	if !c.may(manageCache) {
		return
	}
	entries, _, err := c.held()
	if err == nil {
		err = c.deleteAll(entries)
	}
	c.legacyAnswer(nil, err)
}

func (c *call) legacyRemoveQueued() {
	if !c.may(manageCache) {
		return
	}
	_, queued, err := c.held()
	if err == nil {
		err = c.dequeue(queued)
	}
	c.legacyAnswer(nil, err)
}
