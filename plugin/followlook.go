package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// unusedFor is how long nobody must have asked for an image that is beyond keep, and was used since it was superseded,
// before it is superseded again.
const unusedFor = time.Hour

// match is an image that a rule is about.
type match struct {
	ref   string
	stamp string // as its source's list calls it; "": it does not
}

// look finds out what a rule's images are, queues what is not there, and drops what is beyond keep. Where nothing matches
// nothing is dropped: a filesystem that is not mounted looks so.
func (f *keeper) look(ctx context.Context, r *rule) {
	stores, err := f.queue.meant(ctx, r.where())
	if err != nil {
		f.note(r, nil, 0, err)
		return
	}
	newest, older, err := f.matches(ctx, r)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errLongLook) {
		err = cause
	}
	if err != nil {
		f.note(r, nil, 0, err)
		return
	}
	f.wants(r, newest)
	var images []FollowedView
	var problems []error
	removed := 0
	for _, s := range stores {
		here, err := f.ensureOn(ctx, r, s, newest)
		images = append(images, here...)
		if err == nil && len(newest) > 0 && !slices.ContainsFunc(here, func(v FollowedView) bool { return v.State != "ready" }) {
			var n int
			n, err = f.drop(ctx, r, s, newest, older)
			removed += n
		}
		problems = append(problems, err)
	}
	if cause := context.Cause(ctx); errors.Is(cause, errLongLook) {
		problems = []error{cause}
	}
	f.note(r, append([]FollowedView{}, images...), removed, errors.Join(problems...))
}

// matches are a rule's images, the newest first: those that are to be there, and those beyond keep.
func (f *keeper) matches(ctx context.Context, r *rule) (newest, older []match, err error) {
	if r.URL != "" {
		return []match{{ref: r.URL}}, nil, nil
	}
	if r.Image != "" {
		return []match{{ref: r.Source + ":" + r.Image}}, nil, nil
	}
	source, _, err := f.sources.Resolve(ctx, r.Source+":list")
	if err != nil {
		return nil, nil, err
	}
	lister, can := imagesource.Underlying(source).(imagesource.Lister)
	if !can {
		return nil, nil, fmt.Errorf("image source %s has no list of its images", r.Source)
	}
	listed, err := lister.List(ctx, r.Match)
	if err != nil {
		return nil, nil, err
	}
	listed = slices.DeleteFunc(listed, func(l imagesource.Listed) bool { return !mayFollow(source, l.ID) })
	for i, l := range listed {
		m := match{r.Source + ":" + l.ID, l.Stamp}
		if r.Keep == 0 || i < r.Keep {
			newest = append(newest, m)
		} else {
			older = append(older, m)
		}
	}
	return newest, older, nil
}

// ensureOn queues what of a rule's images is not on a store. What it has found before ctx ended is queued too: a look that takes
// too long would come to nothing each time.
func (f *keeper) ensureOn(ctx context.Context, r *rule, s *store, images []match) ([]FollowedView, error) {
	var views []FollowedView
	var missing []catalog.QueueSpec
	var problems []error
	rows, err := f.rowsOn(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, m := range images {
		v, err := f.find(ctx, r, s, m, rows)
		if row, is := rows[v.ImageID]; v.State == "queued" && (!is || row.ended()) {
			missing = append(missing, catalog.QueueSpec{Store: s.id(), Image: v.ImageID, Pin: bool(r.Pin), PinByRule: bool(r.Pin)})
		}
		views, problems = append(views, v), append(problems, err)
		if ctx.Err() != nil {
			problems = append(problems, ctx.Err())
			break
		}
	}
	if len(missing) > 0 {
		queueing, cancel := f.cleanup(ctx)
		defer cancel()
		_, err := f.catalog.Enqueue(queueing, missing)
		problems = append(problems, err)
		f.queue.poke()
	}
	return views, errors.Join(problems...)
}

// queuedRow is a row of the queue.
type queuedRow struct{ catalog.Queued }

// ended tells whether nobody will work on it any more.
func (r queuedRow) ended() bool {
	return r.State == catalog.QueueFailed || r.State == catalog.QueueDone
}

// rowsOn are the queue's rows of a store that are for volumes, by their images.
func (f *keeper) rowsOn(ctx context.Context, s *store) (map[string]queuedRow, error) {
	all, err := f.catalog.Queue(ctx)
	rows := make(map[string]queuedRow)
	for _, row := range all {
		if row.Store == s.id() && row.Form == backends.Decoded {
			rows[row.Image] = queuedRow{row}
		}
	}
	return rows, err
}

// find tells how an image is on a store: "queued" is what is not there, and should be.
func (f *keeper) find(ctx context.Context, r *rule, s *store, m match, rows map[string]queuedRow) (FollowedView, error) {
	at := place{m.ref, s.name}
	v := FollowedView{ImageID: m.ref, Backend: s.name, State: "unknown"}
	if known := r.seen[at]; m.stamp != "" && known.stamp == m.stamp && f.stillThere(ctx, known) {
		v.State, v.EntryID = "ready", known.entry
		return v, nil
	}
	want := wanted{sharing: s.sharing()}
	on, err := f.queue.target(ctx, s)
	if err == nil {
		err = want.resolve(ctx, f.sources, m.ref)
	}
	if err == nil {
		err = f.fills.authorise(imagesource.Anew(ctx), &want)
	}
	if err == nil && !want.image.StaleSince.IsZero() {
		err = fmt.Errorf("%w: %s does not answer", imagesource.ErrUnavailable, want.image.Source)
	}
	if err != nil {
		v.Detail = shortened(err)
		return v, err
	}
	v.ImageID = want.image.Ref()
	if e, ready := on.find(&want); ready && !outdated(e) {
		r.seen[at] = sighting{m.stamp, string(e.ID)}
		v.State, v.EntryID = "ready", string(e.ID)
		return v, f.pin(ctx, r, e)
	}
	if row, is := rows[v.ImageID]; is && !row.ended() {
		v.State = "queued"
		return v, nil
	}
	return f.missing(ctx, r, on, v, at, &want, rows[v.ImageID])
}

// stillThere tells whether an entry that was seen may still be cloned, and is what its image is.
func (f *keeper) stillThere(ctx context.Context, known sighting) bool {
	e, err := f.catalog.Get(ctx, catalog.EntryID(known.entry))
	return err == nil && e.Serves() && e.SupersededAt.IsZero() && !outdated(e)
}

// missing tells whether what is not there is to be queued: not what a bound took, nor what failed and has not changed.
func (f *keeper) missing(ctx context.Context, r *rule, on *store, v FollowedView, at place, want *wanted, row queuedRow) (FollowedView, error) {
	revision := want.image.Revision + " " + want.promised.String()
	if row.State == catalog.QueueFailed && cmp.Or(r.asked[at], revision) == revision {
		v.State, v.Detail = "failed", row.LastError
		return v, nil
	}
	if !r.Pin {
		why, cause, err := f.catalog.WhyAbsent(ctx, on.id(), want.image.Domain, v.ImageID)
		if err != nil {
			return v, err
		}
		if why == MissEvicted && tookByBound(cause) {
			v.State, v.Detail = "evicted", fmt.Sprintf("a bound took it (%s); pin it, or raise the bound and prefetch it", cause)
			return v, nil
		}
	}
	r.asked[at] = revision
	v.State = "queued"
	return v, nil
}

// tookByBound tells whether a bound was why an entry went: filling it again would only take another one.
func tookByBound(cause catalog.EvictCause) bool {
	switch cause {
	case catalog.CauseSize, catalog.CauseCount, catalog.CausePercent, catalog.CauseQuota, catalog.CauseFull, catalog.CausePrune:
		return true
	}
	return false
}

// pin pins an entry where the rule wants that.
func (f *keeper) pin(ctx context.Context, r *rule, e catalog.Entry) error {
	if !r.Pin {
		return nil
	}
	return f.stock.pinByRule(ctx, e.ID)
}

// drop marks what is beyond keep on a store as superseded, and removes what was superseded and is unused, but what is in
// quarantine, which a person is to look at. It is called once all that is to be there is.
func (f *keeper) drop(ctx context.Context, r *rule, s *store, newest, older []match) (removed int, err error) {
	on, err := f.queue.target(ctx, s)
	if err != nil {
		return 0, err
	}
	entries, err := f.catalog.List(ctx, catalog.Filter{Store: on.id(), States: []catalog.State{catalog.Ready}})
	if err != nil {
		return 0, err
	}
	old := f.beyondKeep(ctx, r, entries, newest, older)
	if err := f.markGone(ctx, r, entries, old); err != nil {
		return 0, err
	}
	mine := make(map[string]bool)
	for _, m := range newest {
		mine[f.refOf(m)] = true
	}
	for _, ref := range old {
		mine[ref] = true
	}
	if err := f.books.flush(ctx); err != nil { // last-used decides
		return 0, err
	}
	if entries, err = f.catalog.List(ctx, catalog.Filter{Store: on.id(), States: []catalog.State{catalog.Ready}}); err != nil {
		return 0, err
	}
	entries = slices.DeleteFunc(entries, func(e catalog.Entry) bool {
		return e.SupersededAt.IsZero() || !e.Serves() || !slices.ContainsFunc(e.ImageIDs, func(ref string) bool { return mine[ref] })
	})
	slices.SortFunc(entries, func(a, b catalog.Entry) int { return b.SupersededAt.Compare(a.SupersededAt) })
	if r.single() && r.Keep > 1 {
		entries = entries[min(len(entries), r.Keep-1):]
	}
	for _, e := range entries {
		gone, err := f.removeUnused(ctx, on, e)
		if err != nil {
			return removed, err
		}
		if gone {
			removed++
		}
	}
	return removed, nil
}

// refOf is a match as entries have it.
func (f *keeper) refOf(m match) string {
	var want wanted
	if err := want.resolve(f.base, f.sources, m.ref); err != nil {
		return m.ref
	}
	return want.image.Ref()
}

// beyondKeep are the images that match a rule and are not among its newest, nor any other rule's: those that the source
// lists, and those that it lists no more, as far as their names tell.
func (f *keeper) beyondKeep(ctx context.Context, r *rule, entries []catalog.Entry, newest, older []match) []string {
	if r.single() {
		return nil
	}
	kept, known := f.keptByOthers(r)
	if !known {
		return nil
	}
	for _, m := range newest {
		kept[m.ref] = true
	}
	var old []string
	add := func(ref string) {
		if !kept[ref] && !slices.Contains(old, ref) {
			old = append(old, ref)
		}
	}
	for _, m := range older {
		add(m.ref)
	}
	if !f.namesAreIDs(r) {
		return old
	}
	for _, e := range entries {
		for _, ref := range e.ImageIDs {
			id, ours := strings.CutPrefix(ref, r.Source+":")
			if is, err := path.Match(r.Match.Pattern, id); ours && err == nil && is && f.isGone(ctx, ref) {
				add(ref)
			}
		}
	}
	return old
}

// keptByOthers are the images that other rules want. They are not known as long as a rule about the same source, which was just
// started with or reloaded, has not learnt yet which these are: nothing is beyond keep then.
func (f *keeper) keptByOthers(r *rule) (kept map[string]bool, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept = make(map[string]bool)
	for _, o := range f.rules {
		switch {
		case o == r:
		case o.Image != "":
			kept[o.Source+":"+o.Image] = true
		case o.URL != "":
			kept[f.refOf(match{ref: o.URL})] = true
		case o.newest == nil && o.Source == r.Source:
			return nil, false
		default:
			maps.Copy(kept, o.newest)
		}
	}
	return kept, true
}

// markGone marks images as superseded, once, and again where they were used since but not for a while.
func (f *keeper) markGone(ctx context.Context, r *rule, entries []catalog.Entry, old []string) error {
	for _, e := range entries {
		if !e.SupersededAt.IsZero() {
			continue
		}
		for _, ref := range e.ImageIDs {
			marked, before := r.gone[ref]
			if !slices.Contains(old, ref) || before && (f.now().Sub(e.LastUsedAt) < unusedFor || f.now().Sub(marked) < unusedFor) {
				continue
			}
			if err := f.catalog.ImageGone(ctx, ref); err != nil {
				return err
			}
			r.gone[ref] = f.now()
		}
	}
	return nil
}

// removeUnused removes a superseded entry that no clone depends on, that no person has pinned, and that nobody has used since.
func (f *keeper) removeUnused(ctx context.Context, s *store, e catalog.Entry) (bool, error) {
	if e.LastUsedAt.After(e.SupersededAt) || e.Pinned && !e.PinnedByRule || f.stock.isLent(ctx, s, e) {
		return false, nil
	}
	if !s.images.Info().IndependentClones && s.backend != nil {
		iv, err := findImageVolume(ctx, s, e.ImageVolume)
		if err != nil || iv.Clones > 0 {
			return false, ignoreAbsent(err)
		}
	}
	if e.Pinned {
		if free, err := f.stock.unpinByRule(ctx, e.ID); err != nil || !free {
			return false, err
		}
	}
	free, err := s.enterRoom(ctx)
	if err != nil {
		return false, err
	}
	defer free()
	_, err = f.stock.evict(ctx, s, e.ID, catalog.CauseStale)
	if isGone(err) || errors.Is(err, catalog.ErrPinned) {
		return false, nil
	}
	return err == nil, err
}

// ignoreAbsent is nil for an image-volume that is not there: what is looked for again notices it.
func ignoreAbsent(err error) error {
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}
