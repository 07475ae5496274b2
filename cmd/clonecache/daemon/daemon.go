// Package daemon is "clonecache serve": it opens what the configuration names, top to bottom, serves
// the plugin over HTTP, and closes everything in the reverse order. It decides nothing itself.
//
// A daemon that is killed leaves what its parts say they leave; the next one settles it before it
// serves.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// Options are what Run needs beside the configuration.
type Options struct {
	Version string
	Log     logrus.FieldLogger
	// AtOnce, once closed, ends a graceful stop: what has not ended is undone.
	AtOnce <-chan struct{}
	// Hangups asks for the configuration to be read again; nil: nobody asks.
	Hangups <-chan os.Signal
	// Reload reads the configuration again, whole. Its error says what is wrong with it. Nil: there is no file.
	Reload func() (config.Config, error)
	// SetLevel lets Log say more or less from now on. Nil: it cannot.
	SetLevel func(logrus.Level)
	// Notify tells the service manager a state, such as "READY=1". Default: nobody.
	Notify func(state string)
	// Watchdog is how often Notify is told that the daemon lives; 0: never.
	Watchdog time.Duration
}

// Run serves until ctx ends, then stops gracefully within the configured stop_timeout and returns nil.
// It locks state_dir before it makes or touches anything else (plugin.ErrLocked: another daemon has it), and
// it listens before it opens the cache, so that /healthz answers and /readyz says "starting" while an
// earlier process's leftovers are settled.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	if o.Notify == nil {
		o.Notify = func(string) {}
	}
	lock, err := plugin.LockState(string(cfg.StateDir))
	if err != nil {
		return err
	}
	err = serve(ctx, cfg, o, lock)
	return errors.Join(err, lock.Unlock())
}

// serve is Run while state_dir is its own.
func serve(ctx context.Context, cfg config.Config, o Options, lock *plugin.StateLock) error {
	registry := newRegistry()
	server, err := api.NewServer(api.ServerConfig{Version: o.Version, Log: o.Log, Registry: registry})
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners) }()
	for _, l := range listeners {
		o.Log.WithField("address", l.URL).Info("listening")
	}
	d := &running{Options: o, cfg: cfg, effective: cfg, lock: lock, server: server, served: served}
	if d.front, err = openGlanceFront(ctx, cfg, o.Log); err != nil {
		return errors.Join(err, d.shutdown())
	}
	return d.run(ctx, metrics(cfg, registry))
}

// listen listens for requests, and for those who read metrics alone.
func listen(ctx context.Context, cfg config.Config) ([]*api.Listener, error) {
	all, err := api.Listen(ctx, addresses(cfg.Listen), listenConfig(cfg))
	if err != nil {
		return nil, err
	}
	more, err := api.ListenMetrics(ctx, addresses(cfg.MetricsListen), listenConfig(cfg))
	if err != nil {
		for _, l := range all {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	return append(all, more...), nil
}

// metrics are those of what is configured, all there from the start.
func metrics(cfg config.Config, registry *prometheus.Registry) *api.Metrics {
	m := api.NewMetrics(registry)
	for _, b := range cfg.Backends {
		m.Expect(backends.Name(b.Name), api.Volumed)
	}
	for _, f := range cfg.FileCaches {
		m.Expect(backends.Name(f.Name), api.FileCached)
	}
	return m
}

// running is a daemon that listens.
type running struct {
	Options
	cfg    config.Config
	lock   *plugin.StateLock
	server *api.Server
	served chan error // one value, once the server has ended
	front  *glanceFront

	stores    *stores
	metrics   *api.Metrics
	reloading sync.Mutex    // guards effective and sources, and is held by who reloads
	effective config.Config // cfg, with what was reloaded since
	sources   openedSources // those of effective
	ears      ears          // what is heard of them
}

// run opens the cache, serves it until ctx ends or the server fails, and closes everything.
func (d *running) run(ctx context.Context, metrics *api.Metrics) error {
	began := time.Now()
	stores, err := openStores(ctx, d.cfg, d.Log)
	if err != nil {
		return errors.Join(err, d.shutdown())
	}
	d.stores, d.metrics = stores, metrics
	d.trySources(ctx)
	p, err := d.openPatiently(ctx, stores, metrics)
	if errors.Is(err, errStopped) {
		err = nil
	}
	if p == nil {
		return errors.Join(err, d.shutdown(), stores.close())
	}
	out, err := d.send(p)
	if err != nil {
		return errors.Join(err, d.stop(p), d.shutdown(), stores.close())
	}
	if err := d.ears.turn(d.cfg, d.Log, p.Queue().LookSoon); err != nil {
		out.stop()
		return errors.Join(err, d.stop(p), d.shutdown(), stores.close())
	}
	d.server.Ready(service{Service: api.ServiceOf(p), sending: out, version: d.Version, reload: func() (api.Reloaded, error) { return d.reload(ctx, p) }})
	d.front.ready(p)
	d.Notify("READY=1")
	d.Log.WithFields(logrus.Fields{"version": d.Version, "took": time.Since(began).Round(time.Millisecond)}).Info("ready")

	err = d.wait(ctx, p)
	d.ears.close()
	out.stop() // what is not sent yet is after the next start
	return errors.Join(err, d.stop(p), d.shutdown(), stores.close())
}

func (d *running) open(ctx context.Context, s *stores, metrics plugin.Observer) (*plugin.Plugin, error) {
	sources, err := openedSources{}.open(d.cfg, d.Log)
	if err != nil {
		return nil, err
	}
	d.sources = sources
	all := (&arrivals{all: s.open}).limits(d.cfg)
	return plugin.Open(ctx, plugin.Config{
		StateDir:            string(d.cfg.StateDir),
		Lock:                d.lock,
		Catalog:             catalogAccess(d.cfg),
		Version:             d.Version,
		Backends:            all.Backends,
		FileCaches:          all.FileCaches,
		Groups:              groups(d.cfg),
		Follows:             follows(d.cfg),
		FreshFor:            freshFor(d.cfg),
		SourceLimits:        sourceLimits(d.cfg),
		Sources:             sources.all,
		ScratchDir:          string(d.cfg.ScratchDir),
		ScratchMaxBytes:     int64(d.cfg.ScratchMaxSize),
		AcceptFormats:       words[diskimage.Format](d.cfg.AcceptFormats),
		AcceptCompression:   words[diskimage.Compression](d.cfg.AcceptCompression),
		MaxCompressionRatio: d.cfg.MaxCompressionRatio,
		FillLimit:           d.cfg.FillLimit,
		ProjectFillLimit:    d.cfg.MaxFillsPerProject,
		ReportRetention:     time.Duration(d.cfg.ReportRetention),
		KeepFailed:          time.Duration(d.cfg.KeepFailed),
		CleanEvery:          orNever(d.cfg.CleanEvery),
		ScrubEvery:          orNever(d.cfg.ScrubEvery),
		ScrubShare:          d.cfg.ScrubShare,
		EventsMax:           eventsMax(d.cfg),
		Log:                 d.Log,
		Observer:            metrics,
		NewOwner: func(ledger internaltenant.Ledger) (internaltenant.Owner, error) {
			return kinds.OfTenant(d.cfg.InternalTenant).Open(ctx, d.cfg, ledger, d.Log)
		},
	})
}

// words are a list of the configuration's in the plugin's type; an empty one is not left to the default.
func words[T ~string](list []string) []T {
	out := make([]T, 0, len(list))
	for _, w := range list {
		out = append(out, T(w))
	}
	return out
}

// trySources logs which images' directories cannot be read now, as "config check" says it. Images in them are
// not found until they can: that keeps nobody from the others. Other hosts are not waited for.
func (d *running) trySources(ctx context.Context) {
	for i, s := range d.cfg.ImageSources {
		if of := kinds.OfSource(s); !of.Remote() {
			t := newTrial(d.cfg)
			of.Try(ctx, t.Part(fmt.Sprintf("image_source[%d]", i), s.Name))
			for _, p := range t.Problems {
				d.Log.WithFields(logrus.Fields{"source": s.Name, "remedy": p.Remedy}).Error("image source cannot be read now: " + p.What)
			}
		}
	}
}

// eventsMax is events_max in the plugin's words, where 0 is the default.
func eventsMax(cfg config.Config) int {
	if cfg.EventsMax == 0 {
		return -1
	}
	return cfg.EventsMax
}

// orNever is a span in the plugin's words, where 0 is the default.
func orNever(d config.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return time.Duration(d)
}

// wait returns once ctx ends, or with the error of a server that failed.
func (d *running) wait(ctx context.Context, p *plugin.Plugin) error {
	if err := d.liveUntil(ctx, p); err != nil {
		return err
	}
	d.Log.WithField("within", d.cfg.StopTimeout).Info("stopping; a second signal stops at once")
	return nil
}

// liveUntil is wait, and says to the service manager that the daemon lives. p is nil before there is a cache;
// who asks for a reload then gets it once there is.
func (d *running) liveUntil(ctx context.Context, p *plugin.Plugin) error {
	var tick <-chan time.Time
	if d.Watchdog > 0 {
		ticker := time.NewTicker(d.Watchdog)
		defer ticker.Stop()
		tick = ticker.C
	}
	hangups := d.Hangups
	if p == nil {
		hangups = nil
	}
	reloaded := make(chan struct{}, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.served:
			d.served <- nil // shutdown waits for it too
			return fmt.Errorf("serve: %w", err)
		case <-hangups:
			hangups = nil // one at a time
			go func() {   // reading a file can take for ever: a pipe, a filesystem that hangs
				d.reloaded(ctx, p)
				reloaded <- struct{}{}
			}()
		case <-reloaded:
			hangups = d.Hangups
		case <-tick:
			d.Notify("WATCHDOG=1")
		}
	}
}

// stop lets requests and fills end within stop_timeout, or until AtOnce, and undoes the others.
func (d *running) stop(p *plugin.Plugin) error {
	d.Notify("STOPPING=1")
	d.server.Stopping()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(d.cfg.StopTimeout))
	defer cancel()
	closed := make(chan struct{})
	defer close(closed)
	go func() {
		select {
		case <-d.AtOnce:
			cancel()
		case <-closed:
		}
	}()
	front := make(chan error, 1)
	go func() { front <- d.front.close(ctx) }()
	if err := p.Close(ctx); err != nil {
		return errors.Join(fmt.Errorf("close the cache: %w", err), <-front)
	}
	return <-front
}

// shutdown ends the server once its answers are delivered.
func (d *running) shutdown() error {
	const delivery = 5 * time.Second // answers are ready, and short
	ctx, cancel := context.WithTimeout(context.Background(), delivery)
	defer cancel()
	front := d.front.close(ctx)
	err := d.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		d.Log.Warn("some clients did not take their answers; their connections were cut")
		err = nil
	}
	err = errors.Join(err, front, <-d.served)
	d.Log.Info("stopped")
	return err
}

// service is the cache under the version that this program goes by.
type service struct {
	api.Service
	*sending
	version string
	reload  func() (api.Reloaded, error)
}

// Status implements api.Service.
func (s service) Status(ctx context.Context) (plugin.Status, error) {
	status, err := s.Service.Status(ctx)
	status.Version = s.version
	return status, err
}

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

func addresses(listen []config.Listen) []string {
	var urls []string
	for _, l := range listen {
		urls = append(urls, l.String())
	}
	return urls
}

func listenConfig(cfg config.Config) api.ListenConfig {
	roles := api.Roles()
	var tokens []api.TokenAccess
	for _, t := range cfg.Tokens {
		tokens = append(tokens, api.TokenAccess{File: string(t.File), Name: t.Name, Role: roles[t.Role]})
	}
	var certificates []api.CertificateAccess
	for _, c := range cfg.Certificates {
		certificates = append(certificates, api.CertificateAccess{Name: c.Name, Role: roles[c.Role]})
	}
	return api.ListenConfig{
		Tokens:           tokens,
		ClientCAFile:     string(cfg.TLS.ClientCAFile),
		Certificates:     certificates,
		Guests:           keystoneGuests(cfg.API.Keystone),
		SocketMode:       fs.FileMode(cfg.SocketMode),
		SocketGroup:      cfg.SocketGroup,
		TLSCert:          string(cfg.TLS.CertFile),
		TLSKey:           string(cfg.TLS.KeyFile),
		TokenFile:        string(cfg.TokenFile),
		MetricsTokenFile: string(cfg.MetricsTokenFile),
		InsecureLoopback: cfg.InsecureLoopback,
	}
}
