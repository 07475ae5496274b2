package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

const (
	defaultScratchBytes    = 20 << 30
	defaultLease           = 30 * time.Second
	defaultFlush           = time.Second
	defaultFills           = 4
	defaultReportRetention = 90 * 24 * time.Hour
	defaultEvents          = 10_000
	defaultKeepFailed      = 24 * time.Hour
)

// Plugin is the open cache. Its methods may be called from several goroutines.
type Plugin struct {
	*house
	lock  *StateLock // nil: the caller's
	begun time.Time
	gate  gate

	books      *books
	chores     chores
	reconciler *reconciler

	scratch diskimage.Scratch
	sources *imagesource.Resolver

	stores   map[backends.Name]*store // backends and file caches
	labels   labels
	placing  sync.Mutex      // held by the store that takes its place among the others
	backends []backends.Name // backends alone, as configured

	running   sync.WaitGroup         // fills
	watched   []*imagesource.Watched // the sources, in the order of the configuration
	flights   flights
	fillSlots chan struct{}
	quotaTurn chan struct{}      // held by the one for whose claim entries go
	renewing  singleflight.Group // entries that are inspected again
	open      openIntents
	names     names // whose turn it is to make a volume
}

// Open locks StateDir, opens catalog and journal, settles what an earlier process left in flight,
// reconciles catalog, backends and quota, and is ready to serve.
//
// A catalog that is lost or damaged is rebuilt from what the image-volumes say of themselves; a damaged
// one is kept beside it. A backend that does not answer does not keep the others from being served.
// ErrLocked: another process has this StateDir open. ErrBadRequest: the configuration is wrong.
func Open(ctx context.Context, cfg Config) (*Plugin, error) {
	p, err := newPlugin(cfg)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		p.end()
		return nil, errors.Join(err, p.release())
	}
	return p, nil
}

// newPlugin checks the configuration and fills in its defaults. It touches nothing.
func newPlugin(cfg Config) (*Plugin, error) {
	if cfg.StateDir == "" {
		return nil, fmt.Errorf("%w: StateDir is needed", ErrBadRequest)
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	stores, err := newStores(cfg)
	if err != nil {
		return nil, err
	}
	h := newHouse(cfg)
	p := &Plugin{
		house: h, begun: cfg.Now(), chores: chores{house: h}, stores: stores,
		flights:   flights{byKey: make(map[flightKey]*flight)},
		names:     names{busy: make(map[volumeKey]*turn)},
		fillSlots: make(chan struct{}, cfg.FillLimit), quotaTurn: make(chan struct{}, 1),
	}
	p.books = newBooks(h, p.label)
	p.reconciler = newReconciler(p)
	for _, b := range cfg.Backends {
		p.backends = append(p.backends, b.Name)
	}
	if p.sources, err = imagesource.NewResolver(p.watch(cfg.Sources)); err != nil {
		h.end()
		return nil, err
	}
	return p, nil
}

func (c *Config) setDefaults() error {
	if c.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of this host: %w", err)
		}
		c.Host = host
	}
	if c.ScratchDir == "" {
		c.ScratchDir = filepath.Join(c.StateDir, "scratch")
	}
	setDefault(&c.ScratchMaxBytes, defaultScratchBytes)
	setDefault(&c.LeaseFor, defaultLease)
	setDefault(&c.FlushEvery, defaultFlush)
	setDefault(&c.FillLimit, defaultFills)
	setDefault(&c.ReportRetention, defaultReportRetention)
	setDefault(&c.EventsMax, defaultEvents)
	setDefault(&c.KeepFailed, defaultKeepFailed)
	if c.NewOwner == nil {
		c.NewOwner = func(l internaltenant.Ledger) (internaltenant.Owner, error) {
			return internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "clonecache", UserID: "clonecache"}, l)
		}
	}
	if c.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		c.Log = silent
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observer == nil {
		c.Observer = noObserver{}
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// start is Open after the configuration was found good.
func (p *Plugin) start(ctx context.Context) error {
	if err := p.lockState(); err != nil {
		return err
	}
	scratch, err := diskimage.NewDirScratch(p.cfg.ScratchDir, p.cfg.ScratchMaxBytes)
	if err != nil {
		return err
	}
	p.scratch = scratch
	if p.holder.Instance, err = InstanceOf(p.cfg.StateDir); err != nil {
		return err
	}
	if err := p.openCatalog(ctx); err != nil {
		return err
	}
	if err := p.identify(ctx); err != nil {
		return err
	}
	if err := p.catalog.TrimEvents(ctx); err != nil {
		return err
	}
	if err := p.catalog.RetryFailed(ctx); err != nil { // rules, formats and sources may be other ones now
		return err
	}
	if p.owner, err = p.cfg.NewOwner(p.catalog.Ledger()); err != nil {
		return err
	}
	if err := p.meetTenant(ctx); err != nil {
		return err
	}
	if err := p.reconciler.recover(ctx); err != nil {
		return err
	}
	p.chores.every(p.cfg.FlushEvery, p.books.events.kick, p.books.flushLater)
	p.chores.every(choresEvery, nil, p.doChores)
	return nil
}

// meetTenant asks who the internal tenant is. One that does not answer, or is not there yet, does not keep
// the daemon from starting: until it is, requests are served without image-volumes.
func (p *Plugin) meetTenant(ctx context.Context) error {
	var err error
	p.tenant, err = p.owner.Usage(ctx)
	if errors.Is(err, internaltenant.ErrUnavailable) || errors.Is(err, internaltenant.ErrNoTenant) {
		p.log.WithError(err).Error("internal tenant cannot be used now; images are not cached on backends until it can")
		return nil
	}
	return err
}

// lockState makes StateDir this process's own, unless the caller has done so.
func (p *Plugin) lockState() (err error) {
	if p.cfg.Lock == nil {
		p.lock, err = LockState(p.cfg.StateDir)
	}
	return err
}

// openCatalog opens the catalog and reads all of it. One that cannot be read is put aside: reconciling
// rebuilds it.
func (p *Plugin) openCatalog(ctx context.Context) error {
	path := filepath.Join(p.cfg.StateDir, "catalog.db")
	damage, err := p.openWhole(ctx, path)
	if damage == nil || err != nil {
		return err
	}
	aside := fmt.Sprintf("%s.damaged-%s", path, p.now().UTC().Format("20060102T150405.000"))
	p.log.WithError(damage).WithField("kept_as", aside).Error("catalog cannot be read; it is rebuilt from the backends; of the report, requests that are still in the journal come back, earlier fills and evictions do not")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("put the damaged catalog aside: %w", err)
		}
	}
	p.catalog, err = catalog.Open(ctx, p.catalogConfig(path))
	return err
}

func (p *Plugin) catalogConfig(path string) catalog.Config {
	return catalog.Config{Path: path, MaxEvents: max(p.cfg.EventsMax, 0)}
}

// openWhole opens the catalog if all of it can be read; damage says that it cannot.
func (p *Plugin) openWhole(ctx context.Context, path string) (damage, err error) {
	c, err := catalog.Open(ctx, p.catalogConfig(path))
	if err == nil {
		if err = c.Check(ctx); err == nil {
			p.catalog = c
			return nil, nil
		}
		err = errors.Join(err, c.Close())
	}
	if errors.Is(err, catalog.ErrDamaged) {
		return err, nil
	}
	return nil, err
}

// Close stops taking requests, lets those and their fills end until ctx is done, then undoes what has not
// ended, counts what was answered, and closes what Open opened. The backends are the caller's to close.
func (p *Plugin) Close(ctx context.Context) error {
	if !p.gate.shut() {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		p.gate.wait()
		p.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		p.log.WithField("fills", len(p.flights.views())).Warn("time to stop is over; fills in flight are undone")
	}
	p.end()
	<-ended
	flush, cancel := p.cleanup(ctx)
	defer cancel()
	p.books.note(catalog.Event{Kind: EventStopped, Detail: "host " + p.cfg.Host})
	p.books.lastEvent(flush)
	p.chores.wait()
	p.gate.waitForFollowers()
	return errors.Join(p.books.flush(flush), p.release())
}

// release closes what start opened, in the reverse order.
func (p *Plugin) release() error {
	var problems []error
	for _, w := range p.watched {
		w.Close()
	}
	problems = append(problems, p.books.close())
	if p.catalog != nil {
		problems = append(problems, p.catalog.Close())
	}
	if p.lock != nil {
		problems = append(problems, p.lock.Unlock())
	}
	return errors.Join(problems...)
}

// unknownLabel stands for every backend that is not configured: what callers invent is no label of a metric.
const unknownLabel backends.Name = "unknown"

// labelOf is the configured backend that a request names, for metrics.
func (p *Plugin) labelOf(name backends.Name) backends.Name {
	s, err := p.backendNamed(name)
	if err != nil {
		return unknownLabel
	}
	return s.name
}

// noObserver hears nothing.
type noObserver struct{}

func (noObserver) Request(backends.Name, Outcome, Reason, time.Duration) {}
func (noObserver) RequestError(backends.Name, error)                     {}
func (noObserver) FillStarted(backends.Name)                             {}
func (noObserver) FillEnded(backends.Name, time.Duration, error)         {}
func (noObserver) Downloaded(backends.Name, int64)                       {}
func (noObserver) Saved(backends.Name, int64)                            {}
func (noObserver) Evicted(backends.Name, string, int64)                  {}
