package plugin

import (
	"slices"
	"sync"
)

// gate lets callers in until the plugin stops, and lets Close wait for those who are inside. Its zero value is open.
type gate struct {
	mu       sync.Mutex // guards stopping, requests, and the growth of all groups
	stopping bool

	// requests are those inside, by when they came: passed begins another group. The last one is the one that grows.
	requests  []*sync.WaitGroup
	followers sync.WaitGroup // of events: they stay until the last event was written
}

// enter counts a request in, unless the plugin is stopping. Who is in calls leave.
func (g *gate) enter() (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return nil, false
	}
	if len(g.requests) == 0 {
		g.requests = append(g.requests, &sync.WaitGroup{})
	}
	group := g.requests[len(g.requests)-1]
	group.Add(1)
	return group.Done, true
}

// follow counts a follower of events in, unless the plugin is stopping. Who is in calls leave.
func (g *gate) follow() (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return nil, false
	}
	g.followers.Add(1)
	return g.followers.Done, true
}

// shut lets nobody in from now on, and tells whether this call did so.
func (g *gate) shut() (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first, g.stopping = !g.stopping, true
	return first
}

// wait returns when nobody is inside that the gate counted as a request. It is shut.
func (g *gate) wait() { g.passed() }

// passed returns when all have left who were inside as requests when it was called; others come and go meanwhile.
func (g *gate) passed() {
	g.mu.Lock()
	inside := slices.Clone(g.requests)
	g.requests = append(g.requests, &sync.WaitGroup{})
	g.mu.Unlock()
	for _, group := range inside {
		group.Wait()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests = slices.DeleteFunc(g.requests, func(group *sync.WaitGroup) bool { return slices.Contains(inside, group) })
}

// waitForFollowers returns when nobody follows events any more.
func (g *gate) waitForFollowers() { g.followers.Wait() }

// open tells whether somebody would be let in.
func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.stopping
}
