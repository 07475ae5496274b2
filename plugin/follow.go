package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// FollowConfig names images that are to be cached always. It has an Image, a URL, or a Match.
type FollowConfig struct {
	Source string // of Image and Match
	Image  string // one image's ID
	URL    string // one image's, below an http source
	Match  imagesource.Match
	// Keep is how many of those that match stay, the newest; of one image, how many of its contents. 0: all that match, and
	// of one image the newest content.
	Keep  int
	Every time.Duration // how often it is looked. Default: 300 s
	// Backends or Group say where, as of a Prefetch. Neither: every backend.
	Backends []backends.Name
	Group    string
	Pin      Pinning
}

// FollowView is a rule, and what it came to.
type FollowView struct {
	Source   string         `json:"source,omitempty" doc:"The image source"`
	Image    string         `json:"image,omitempty" doc:"One image's ID"`
	URL      string         `json:"url,omitempty" doc:"One image's URL"`
	Pattern  string         `json:"pattern,omitempty"`
	Tag      string         `json:"tag,omitempty"`
	Property string         `json:"property,omitempty"`
	Owner    string         `json:"owner,omitempty"`
	Keep     int            `json:"keep" doc:"How many stay, the newest; 0: all that match"`
	Every    int64          `json:"every_seconds" doc:"How often it is looked"`
	Group    string         `json:"group,omitempty"`
	Backends []string       `json:"backends" doc:"Where; empty with a group"`
	Pin      bool           `json:"pin" doc:"Entries are pinned while they are among the newest"`
	LookedAt *time.Time     `json:"looked_at" doc:"When it was last looked; null before that"`
	NextAt   *time.Time     `json:"next_at" doc:"When it is looked next"`
	Error    string         `json:"last_error" doc:"Why the last look came to nothing, or to part; empty where it did not"`
	Images   []FollowedView `json:"images" doc:"The images that are to be there, on each backend, the newest first"`
	Removed  int            `json:"removed" doc:"Entries that the last look removed: superseded, beyond keep and unused"`
}

// FollowedView is an image that is followed, on one backend.
type FollowedView struct {
	ImageID string        `json:"image_id" doc:"SOURCE:ID"`
	Backend backends.Name `json:"backend"`
	State   string        `json:"state" enum:"ready,queued,failed,evicted,unknown" doc:"ready: the next request is a hit; queued: it is in the queue; failed: the queue gave it up, and it is tried again once it has changed or the failure is forgotten; evicted: a bound took it; unknown: its source did not tell"`
	EntryID string        `json:"entry_id,omitempty" doc:"The entry that has it"`
	Detail  string        `json:"detail,omitempty" doc:"Why it is not there"`
}

// defaultFollowEvery is how often a rule is looked at.
const defaultFollowEvery = 300 * time.Second

// followTick is how often it is looked which rules are due.
const followTick = time.Second

// keeper has the images cached that the configuration names, before anybody asks for them: it asks the sources what
// there is, and queues what is not there yet. What is not among the newest any more it marks superseded, and removes
// once unused. Each source has a turn of its own: one that does not answer holds nobody else's rules.
//
// It fills nothing itself, and keeps nothing but what it saw last: a crash loses nothing. Of several daemons each looks for
// itself; the queue has an image once. Where a source does not answer, nothing is removed.
type keeper struct {
	*house
	books   *books
	stock   *stock
	fills   *fills
	sources *sources
	queue   *queue

	going sync.WaitGroup // looks that nobody waits for; begun by lookDue alone

	mu    sync.Mutex // guards what follows
	rules []*rule
	turns map[string]turnstile // one look at a time, of the rules of one source
	poked chan struct{}        // rules have changed
}

// rule is one of the configuration, and what was seen of it.
type rule struct {
	FollowConfig
	from  string               // the name of the source, be it said by a URL
	asks  *imagesource.Watched // the source, when the rule was made
	on    []*store             // where images were to be then
	next  time.Time
	begun time.Time // the last look
	view  FollowView
	// seen is what was found of an image on a store, and asked its revision when it was last queued there.
	seen  map[place]sighting
	asked map[place]string
	gone  map[string]time.Time // images that were marked superseded, and when
	// newest are the images that are to be there, as of the last look at which the source told; nil: it has not told yet.
	newest map[string]bool
}

// place is an image, by its reference, on a store.
type place struct {
	image string
	store backends.Name
}

// sighting is an entry that had an image while the source's list called it so.
type sighting struct {
	stamp string
	entry string
}

func newKeeper(h *house, b *books, k *stock, fl *fills, from *sources, q *queue) *keeper {
	return &keeper{house: h, books: b, stock: k, fills: fl, sources: from, queue: q, turns: make(map[string]turnstile), poked: make(chan struct{}, 1)}
}

// checkAll refuses rules of which one is wrong. ErrBadRequest.
func (f *keeper) checkAll(all []FollowConfig) error {
	_, err := f.made(all)
	return err
}

func (f *keeper) made(all []FollowConfig) ([]*rule, error) {
	made := make([]*rule, 0, len(all))
	for i, c := range all {
		if err := f.check(&c); err != nil {
			return nil, fmt.Errorf("%w: follow[%d]: %w", ErrBadRequest, i, err)
		}
		r := newRule(c)
		r.from = f.sourceOf(c)
		r.asks = f.sources.called(r.from)
		r.on = f.storesOf(c)
		made = append(made, r)
	}
	return made, nil
}

// set makes rules those of now; one that was there before is not looked at before its time. ErrBadRequest.
func (f *keeper) set(all []FollowConfig) error {
	next, err := f.made(all)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range next {
		at := slices.IndexFunc(f.rules, func(o *rule) bool { return o.same(r) })
		if at >= 0 {
			next[i] = f.rules[at]
		}
	}
	f.rules = next
	f.poke()
	return nil
}

func newRule(c FollowConfig) *rule {
	r := &rule{FollowConfig: c, seen: make(map[place]sighting), asked: make(map[place]string), gone: make(map[string]time.Time)}
	r.view = FollowView{
		Source: c.Source, Image: c.Image, URL: c.URL, Pattern: c.Match.Pattern, Tag: c.Match.Tag, Property: c.Match.Property, Owner: c.Match.Owner,
		Keep: c.Keep, Every: int64(c.Every / time.Second), Group: c.Group, Backends: []string{}, Pin: bool(c.Pin), Images: []FollowedView{},
	}
	for _, b := range c.Backends {
		r.view.Backends = append(r.view.Backends, string(b))
	}
	return r
}

// same tells whether two rules say the same, of one source and the same stores: what was seen of others is no news of these.
func (r *rule) same(o *rule) bool {
	return r.asks == o.asks && r.Source == o.Source && r.Image == o.Image && r.URL == o.URL && r.Match == o.Match && r.Keep == o.Keep && r.Every == o.Every &&
		r.Group == o.Group && r.Pin == o.Pin && slices.Equal(r.Backends, o.Backends) && slices.Equal(r.on, o.on)
}

// storesOf are where a rule that was checked wants its images.
func (f *keeper) storesOf(c FollowConfig) []*store {
	names, err := f.queue.namesOf(c.where())
	if err != nil {
		return nil
	}
	on := make([]*store, 0, len(names))
	for _, name := range names {
		on = append(on, f.stock.named(name))
	}
	return on
}

// single tells whether the rule is about one image.
func (r *rule) single() bool { return r.Image != "" || r.URL != "" }

// check refuses a rule that means nothing, and fills in its defaults.
func (f *keeper) check(c *FollowConfig) error {
	setDefault(&c.Every, defaultFollowEvery)
	named := 0
	for _, is := range []bool{c.Image != "", c.URL != "", c.Match != (imagesource.Match{})} {
		if is {
			named++
		}
	}
	switch {
	case named != 1:
		return errors.New("give an image, a url, or pattern, tag, property and owner")
	case c.URL == "" && c.Source == "":
		return errors.New("a source is needed")
	case c.Keep < 0 || c.Every < time.Second:
		return errors.New("keep is negative, or every is shorter than a second")
	case len(c.Backends) > 0 && c.Group != "":
		return errors.New("backends and group exclude each other")
	}
	if err := f.checkSource(*c); err != nil {
		return err
	}
	names, err := f.queue.namesOf(c.where())
	for _, name := range names {
		if !f.stock.isConfigured(name) {
			err = errors.Join(err, fmt.Errorf("there is no backend or file cache %q", name))
		}
	}
	return err
}

func (f *keeper) checkSource(c FollowConfig) error {
	if strings.Contains(c.URL, "?") {
		return errors.New("url has a query, which may be a credential and is not kept; give a URL without one")
	}
	if c.URL != "" {
		_, _, err := f.sources.Resolve(f.base, c.URL)
		return err
	}
	w := f.sources.called(c.Source)
	switch {
	case w == nil:
		return fmt.Errorf("%w: %q", imagesource.ErrNoSource, c.Source)
	case c.Image != "":
		return f.checkImage(c)
	}
	lister, can := imagesource.Underlying(w).(imagesource.Lister)
	if !can {
		return fmt.Errorf("image source %s has no list of its images; name one by image or url", c.Source)
	}
	return lister.CheckMatch(c.Match)
}

// checkImage refuses an image that only a secret completes: a rule is shown and logged.
func (f *keeper) checkImage(c FollowConfig) error {
	var w wanted
	if err := w.resolve(f.base, f.sources, c.Source+":"+c.Image); err != nil {
		return err
	}
	if w.image.ID != w.id {
		return fmt.Errorf("image %s has a query, which may be a credential and is not kept; give it without one", w.image.Ref())
	}
	return nil
}

// where is where a rule's images are to be.
func (c FollowConfig) where() Prefetch {
	return Prefetch{Backends: c.Backends, Group: c.Group, All: len(c.Backends) == 0 && c.Group == ""}
}

func (f *keeper) poke() {
	select {
	case f.poked <- struct{}{}:
	default:
	}
}

// due tells when rules have changed.
func (f *keeper) due() <-chan struct{} { return f.poked }

// Follows lists the rules by which images are followed, in the order of the configuration, and what each came to in this
// daemon.
func (o Queue) Follows(context.Context) ([]FollowView, error) { return o.q.following().views(), nil }

func (f *keeper) views() []FollowView {
	f.mu.Lock()
	defer f.mu.Unlock()
	views := make([]FollowView, 0, len(f.rules))
	for _, r := range f.rules {
		v := r.view
		v.NextAt = orNull(r.next.UTC())
		if r.next.IsZero() {
			v.NextAt = nil
		}
		v.Images = slices.Clone(v.Images)
		views = append(views, v)
	}
	return views
}

// note keeps what a look came to.
func (f *keeper) note(r *rule, images []FollowedView, removed int, err error) {
	log := f.log.WithField("rule", r.name())
	if was := f.keep(r, images, removed, err); err != nil && shortened(err) != was {
		log.WithField("error", shortened(err)).Warn("followed images not looked at; trying again")
	}
	if removed > 0 {
		log.WithField("entries", removed).Info("entries removed that newer versions have superseded")
	}
}

// wants notes which images a rule has found to be there always.
func (f *keeper) wants(r *rule, newest []match) {
	refs := make(map[string]bool, len(newest))
	for _, m := range newest {
		refs[m.ref] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.newest = refs
}

// keep is note without the log; it returns what went wrong before.
func (f *keeper) keep(r *rule, images []FollowedView, removed int, err error) (was string) {
	at := f.now().UTC()
	f.mu.Lock()
	defer f.mu.Unlock()
	was = r.view.Error
	r.view.LookedAt, r.view.Removed, r.view.Error = &at, removed, ""
	if err != nil {
		r.view.Error = shortened(err)
	}
	if images != nil {
		r.view.Images = images
	}
	return was
}

// name is what a rule is called in logs.
func (r *rule) name() string {
	m := r.Match
	return cmp.Or(r.URL, r.Source+":"+cmp.Or(r.Image, m.Pattern, m.Tag, m.Property, m.Owner))
}
