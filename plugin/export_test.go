package plugin

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// AdoptAfter mends the finding that no row names an image-volume, after somebody has added the row that it
// says it is, changed by row.
func AdoptAfter(ctx context.Context, p *Plugin, on backends.Name, id backends.ImageVolumeID, row func(*catalog.Entry)) error {
	s := p.stock.named(on)
	iv, err := findImageVolume(ctx, s, id)
	if err != nil {
		return err
	}
	e := entryOf(s, iv)
	row(&e)
	if err := p.catalog.Adopt(ctx, e, ""); err != nil {
		return err
	}
	return p.reconciler.surveyor.mender.adopt(ctx, s, iv, true)
}

// Tidy does what is done every minute.
func (p *Plugin) Tidy(ctx context.Context) { p.doChores(ctx) }

// FillSpecOf is what a fill for the request would begin with.
func FillSpecOf(ctx context.Context, p *Plugin, r Request) (catalog.FillSpec, error) {
	q, err := p.ladder.admit(r)
	if err == nil {
		err = p.ladder.lookUp(ctx, q)
	}
	if err != nil {
		return catalog.FillSpec{}, err
	}
	return p.fills.fillSpec(q.store, &q.wanted), nil
}

// Fill caches an image, for no volume.
func Fill(ctx context.Context, p *Plugin, on backends.Name, image string) (EntryView, Outcome, error) {
	s, err := p.stock.backendNamed(on)
	if err != nil {
		return EntryView{}, "", err
	}
	want := wanted{sharing: s.sharing()}
	if err = want.resolve(ctx, p.ladder.sources, image); err == nil {
		err = p.fills.authorise(ctx, &want)
	}
	if err != nil {
		return EntryView{}, "", err
	}
	f, err := p.fills.fillShared(ctx, want, s, &waiter{})
	if err != nil {
		return EntryView{}, "", err
	}
	return p.stock.entryView(f.entry), f.role, nil
}

// Kill ends the plugin as a kill of its process would, as far as its catalog goes: nothing is written to it any more.
func Kill(p *Plugin) error {
	p.gate.shut()
	err := p.catalog.Close()
	p.end()
	p.gate.wait()
	p.fills.wait()
	p.chores.wait()
	return errors.Join(err, p.books.close(), p.lock.Unlock())
}

// Beat says that the plugin's daemon lives, and looks at the others.
func Beat(ctx context.Context, p *Plugin) { p.attendance.beat(ctx) }

// LoseCatalog lets the plugin know that its catalog's database does not answer.
func LoseCatalog(p *Plugin) { p.noteCatalog(catalog.ErrUnavailable) }

// KeepWithin does what is done every few minutes.
func KeepWithin(ctx context.Context, p *Plugin) { p.remover.keepWithin(ctx) }

// NewSharedDownload is the download of one image for several fills, and what its owner closes it by.
func NewSharedDownload(from imagesource.Source, scratch diskimage.Scratch) (imagesource.Source, func()) {
	d := (&sharedDownload{scratch: scratch}).of(from)
	return d, d.close
}

// Slots are places for fills.
type Slots struct{ p *slot }

// NewSlots has so many.
func NewSlots(most int) Slots { return Slots{new(line).slot(most)} }

// Beside are others, which a fill may need as well.
func (s Slots) Beside(most int) Slots { return Slots{s.p.line.slot(most)} }

// Resize is theirs.
func (s Slots) Resize(most int) { s.p.resize(most) }

// Turn is a fill's.
type Turn struct{ t *fillTurn }

// TurnFor is one that needs one of each.
func TurnFor(all ...Slots) Turn {
	t := &fillTurn{line: all[0].p.line}
	for _, s := range all {
		t.own = append(t.own, bounded{s.p, BoundBackend})
	}
	return Turn{t}
}

// Take, Leave, Has, Idle and Waits are its.
func (t Turn) Take(ctx context.Context) error { return t.t.take(ctx) }
func (t Turn) Leave()                         { t.t.leave() }
func (t Turn) Has() bool                      { return t.t.has() }
func (t Turn) Idle() bool                     { return t.t.idle() }
func (t Turn) Waits() bool                    { return t.t.waitsFor() != "" }

// LookAtQueue begins what is next.
func LookAtQueue(ctx context.Context, p *Plugin) { p.queue.dispatch(ctx) }

// Sweep does what is done every few minutes about images that nobody uses.
func Sweep(ctx context.Context, p *Plugin) {
	p.queue.sweeper().sweep(ctx)
}

// Pace is how fast something is read.
type Pace struct{ p pace }

// Note, Hear and ETA are its own.
func (p *Pace) Note(now time.Time, read int64)                  { p.p.note(now, read) }
func (p *Pace) Hear(now time.Time, read int64)                  { p.p.hear(now, read) }
func (p *Pace) ETA(now time.Time, read, total int64) *time.Time { return p.p.eta(now, read, total) }

// ScrubDue reads back what is due.
func ScrubDue(ctx context.Context, p *Plugin) { p.reconciler.scrubs().run(ctx) }

// CleanDue looks for orphans, if that is due.
func CleanDue(ctx context.Context, p *Plugin) { p.reconciler.cleans().run(ctx) }

// Unhurried is how long so many looks at image-volumes take, at the least.
func Unhurried(ctx context.Context, looks int) error {
	pace := unhurried{each: time.Second / looksPerSecond}
	for range looks {
		if err := pace.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// HearOfQuarantine does what other daemons do every few seconds.
func HearOfQuarantine(ctx context.Context, p *Plugin) { p.stock.lookForQuarantined(ctx) }

// SlowReader reads image-volumes in a share of the time, in percent, as long as still says nothing else.
func SlowReader(r backends.ImageVolumeReader, share int, still func(context.Context) error) backends.ImageVolumeReader {
	return &slowReader{ImageVolumeReader: r, share: share, still: still}
}

// BePatient is how long the plugin waits for image-volumes that are read in place of their source.
func BePatient(p *Plugin, with time.Duration) { p.fills.patience = with }

// KeptFile is a kept image whose bytes are in a file.
func KeptFile(f *os.File) *KeptImage { return &KeptImage{file: f} }

// Leaving are the stores that are not configured any more, but in use yet.
func Leaving(p *Plugin) (names []backends.Name) {
	for _, s := range p.stock.storesNow().leaving {
		names = append(names, s.name)
	}
	return names
}

// DetachOnly does of an attempt's end what comes before its row does.
func DetachOnly(ctx context.Context, p *Plugin, on backends.Name, id backends.ImageVolumeID) error {
	rows, err := p.catalog.List(ctx, catalog.Filter{States: []catalog.State{catalog.Filling}})
	for _, e := range rows {
		if err == nil && e.ImageVolume == id {
			_, err = p.stock.retireAttempt(ctx, p.stock.named(on), id, e.Claim)
		}
	}
	return err
}

// WantedBy are the tokens with which the fill of an image may act, and how often it is wanted for its projects.
func WantedBy(p *Plugin, image string) (tokens []imagesource.Token, wanted int) {
	fl := &p.fills.flights
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, f := range fl.byKey {
		if f.imageID != image {
			continue
		}
		for _, c := range f.callers {
			tokens = append(tokens, c.token)
		}
		f.project.places.mu.Lock()
		defer f.project.places.mu.Unlock()
		wanted = len(f.project.wanted)
	}
	return tokens, wanted
}

// Quarantine puts an entry into quarantine, whatever its content is.
func Quarantine(ctx context.Context, p *Plugin, id string) error {
	e, err := p.stock.catalog.Get(ctx, EntryID(id))
	if err == nil {
		_, err = p.stock.quarantine(ctx, p.stock.storeOf(e.Store), e, "a test says so")
	}
	return err
}
