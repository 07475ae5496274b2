package plugin

import "sync"

// gate lets callers in until the plugin stops, and lets Close wait for those who are inside. Its zero value is open.
type gate struct {
	mu       sync.Mutex // guards stopping, and the growth of both groups
	stopping bool

	requests  sync.WaitGroup
	followers sync.WaitGroup // of events: they stay until the last event was written
}

// enter counts a request in, unless the plugin is stopping. Who is in calls leave.
func (g *gate) enter() (leave func(), ok bool) { return g.count(&g.requests) }

// follow counts a follower of events in, unless the plugin is stopping. Who is in calls leave.
func (g *gate) follow() (leave func(), ok bool) { return g.count(&g.followers) }

func (g *gate) count(group *sync.WaitGroup) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return nil, false
	}
	group.Add(1)
	return group.Done, true
}

// shut lets nobody in from now on, and tells whether this call did so.
func (g *gate) shut() (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first, g.stopping = !g.stopping, true
	return first
}

// wait returns when nobody is inside that the gate counted as a request.
func (g *gate) wait() { g.requests.Wait() }

// waitForFollowers returns when nobody follows events any more.
func (g *gate) waitForFollowers() { g.followers.Wait() }

// open tells whether somebody would be let in.
func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.stopping
}
