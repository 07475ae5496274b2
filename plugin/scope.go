package plugin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// scope is what a survey is about: the stores, and the claims, that no other host surveys and mends at the time.
type scope struct {
	stores []*store
	claims bool
	// whole: what is not in it was not left out, since another host has compared it a moment ago.
	whole bool
}

// everything is the scope of who only looks, or has waited for all others.
func (v *surveyor) everything() scope {
	return scope{stores: v.stock.orderedStores(), claims: true, whole: true}
}

// part is one store, or the claims, of what may be surveyed.
type part struct{ of *store }

func (p part) duty(every time.Duration) dutyWanted {
	d := dutyWanted{duty: catalog.DutyReconcile, every: every}
	if p.of != nil {
		d.store = p.of.id()
	}
	return d
}

// unknown tells that it has not turned out yet which store it is: nobody mends anything there.
func (p part) unknown() bool { return p.of != nil && p.of.id() == "" }

func (p part) in(s scope) scope {
	if p.of == nil {
		s.claims = true
		return s
	}
	s.stores = append(slices.Clip(s.stores), p.of)
	return s
}

// parts are all stores, and the claims last: what is mended of the stores shows in them.
func (rec *reconciler) parts() []part {
	var all []part
	for _, s := range rec.stock.orderedStores() {
		all = append(all, part{of: s})
	}
	return append(all, part{})
}

// alone surveys and mends what nobody else does at the time, in this process or on another host, and was not done within
// every. A finding is then not mended twice, nor one that another one's mending has made. What is served goes on.
func (rec *reconciler) alone(ctx context.Context, every time.Duration, do func(context.Context, scope) error) error {
	unlock, err := rec.turn.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return rec.within(ctx, scope{whole: true}, rec.parts(), every, do)
}

// within takes the duty of each part that is left, then does what is to be done.
func (rec *reconciler) within(ctx context.Context, in scope, left []part, every time.Duration, do func(context.Context, scope) error) error {
	if len(left) == 0 {
		return do(ctx, in)
	}
	first, left := left[0], left[1:]
	if first.unknown() {
		return rec.within(ctx, first.in(in), left, every, do)
	}
	start, err := rec.onDuty(ctx, first.duty(every), func(ctx context.Context) error {
		return rec.within(ctx, first.in(in), left, every, do)
	})
	if err != nil || start == catalog.OnDuty {
		return err
	}
	in.whole = in.whole && start == catalog.Rests
	return rec.within(ctx, in, left, every, do)
}

// aloneWithAll is alone, once nobody else surveys and mends anything. What is done then is not all that a reconcile does:
// one that is asked for still comes.
func (rec *reconciler) aloneWithAll(ctx context.Context, do func(context.Context) error) error {
	unlock, err := rec.turn.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	parts := rec.parts()
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(a.duty(0).store, b.duty(0).store) })
	return rec.withAll(ctx, parts, do)
}

// withAll waits for the duty of each part. All hosts do so in the order of the stores' IDs, whatever their configurations'
// is: none waits for one that waits for it.
func (rec *reconciler) withAll(ctx context.Context, left []part, do func(context.Context) error) error {
	if len(left) == 0 {
		return do(ctx)
	}
	first, left := left[0], left[1:]
	if first.unknown() {
		return rec.withAll(ctx, left, do)
	}
	alone := first.duty(0)
	alone.apart = true
	return rec.awaitDuty(ctx, alone, func(ctx context.Context) error { return rec.withAll(ctx, left, do) })
}
