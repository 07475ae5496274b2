package plugin

// waitingSlots are the places for requests that wait for fills; nil bounds nothing. A caller that waits may
// hold a worker of its control plane, and that very control plane may have to make the image-volume: if
// all its workers waited, the fill would never end.
type waitingSlots chan struct{}

// enter takes a place if there is one, and never waits. The caller leaves it.
func (w waitingSlots) enter() (leave func(), ok bool) {
	if w == nil {
		return func() {}, true
	}
	select {
	case w <- struct{}{}:
		return func() { <-w }, true
	default:
		return nil, false
	}
}
