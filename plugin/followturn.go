package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// longestLook bounds one look at one rule. What it has not come to is looked at the next time.
	longestLook = 5 * time.Minute
	// maxRuleError bounds what is told of a look that went wrong, in bytes: a rule may be about thousands of images, each
	// with a sentence of its own.
	maxRuleError = 4096
)

// errLongLook: a look took longestLook.
var errLongLook = fmt.Errorf("the look took longer than %v and was ended; the next one goes on", longestLook)

// lookDue begins to look at the rules whose time has come, and does not wait for it. Those of a source at whose rules it is
// looked stay due.
func (f *keeper) lookDue(ctx context.Context) {
	now := f.now()
	for from, rules := range f.bySource(func(r *rule) bool { return !now.Before(r.next) }) {
		select {
		case f.turnOf(from) <- struct{}{}:
		default:
			continue
		}
		f.going.Go(func() {
			f.lookAll(ctx, rules)
			<-f.turnOf(from)
			f.poke() // some may have become due meanwhile
		})
	}
}

// wait returns when no look goes on that lookDue began. It is called once that is not called any more.
func (f *keeper) wait() { f.going.Wait() }

// Sweep looks at all rules now, those of several sources at one time, and returns what they came to; what is not there is
// queued. Each look ends after a few minutes. The error is ctx's. ErrStopping: the daemon stops.
func (o Queue) Sweep(ctx context.Context) ([]FollowView, error) {
	f := o.q.following()
	if err := f.sweep(ctx); err != nil {
		return nil, err
	}
	return f.views(), nil
}

// sweep is Sweep without the views.
func (f *keeper) sweep(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.base, func() { cancel(ErrStopping) })()
	var looks sync.WaitGroup
	for from, rules := range f.bySource(func(*rule) bool { return true }) {
		looks.Go(func() {
			unlock, err := f.turnOf(from).lock(ctx)
			if err != nil {
				return
			}
			defer unlock()
			f.lookAll(ctx, rules)
		})
	}
	looks.Wait()
	return context.Cause(ctx)
}

// bySource are the rules that which picks, by their source.
func (f *keeper) bySource(which func(*rule) bool) map[string][]*rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	groups := make(map[string][]*rule)
	for _, r := range f.rules {
		if which(r) {
			groups[r.from] = append(groups[r.from], r)
		}
	}
	return groups
}

// turnOf lets one at a time look at the rules of a source.
func (f *keeper) turnOf(from string) turnstile {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, is := f.turns[from]
	if !is {
		t = make(turnstile, 1)
		f.turns[from] = t
	}
	return t
}

// lookAll looks at rules of one source, one after the other, in its turn.
func (f *keeper) lookAll(ctx context.Context, rules []*rule) {
	for _, r := range rules {
		if ctx.Err() != nil {
			return
		}
		if !f.begin(r) {
			continue
		}
		bounded, cancel := context.WithTimeoutCause(ctx, longestLook, errLongLook)
		f.look(bounded, r)
		cancel()
	}
}

// begin says when a rule is looked at again, and tells whether it is still one of the configuration's.
func (f *keeper) begin(r *rule) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.rules, r) {
		return false
	}
	r.begun = f.now()
	r.next = r.begun.Add(r.Every)
	return true
}

// sourceOf is the name of a rule's source.
func (f *keeper) sourceOf(c FollowConfig) string {
	if c.URL == "" {
		return c.Source
	}
	source, _, err := f.sources.Resolve(f.base, c.URL)
	if err != nil {
		return c.Source // a check has refused it
	}
	return source.Name()
}

// shortened is an error's text within maxRuleError.
func shortened(err error) string {
	text := err.Error()
	if len(text) <= maxRuleError {
		return text
	}
	const more = "\n… and more"
	return strings.ToValidUTF8(text[:maxRuleError-len(more)], "") + more
}
