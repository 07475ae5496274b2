package api

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
)

// ServerConfig makes a Server. Zero fields have the documented defaults.
type ServerConfig struct {
	Version  string               // for the OpenAPI description
	Log      logrus.FieldLogger   // default: discards
	Registry *prometheus.Registry // served at /metrics. Default: an empty one
	Now      func() time.Time     // default: time.Now

	// MaxBodyBytes bounds a request's body; that of a prefetch may have 8 MiB in any case, and mostValues. Default: 64 KiB.
	MaxBodyBytes int64
	// BodyTimeout bounds how long a body may take to arrive. Default: 10 s.
	BodyTimeout time.Duration
	// HeaderTimeout bounds how long a header may take to arrive. Default: 10 s.
	HeaderTimeout time.Duration
	// GuestsEvery is how often it is asked whether a guest who follows events still may. Default: 15 s.
	GuestsEvery time.Duration
}

// Server is the HTTP server of a Service. It answers before there is one: /readyz and all of /v1 say
// "starting" until Ready, and /readyz "stopping" after Stopping.
type Server struct {
	cfg     ServerConfig
	log     logrus.FieldLogger
	mux     *doors
	api     huma.API
	spec    spec
	service atomic.Pointer[Service]
	delayed atomic.Pointer[Error] // why there is no service yet; nil: it starts
	ending  atomic.Bool

	sessions *sessions // of people in browsers

	mu      sync.Mutex
	servers []*http.Server // being served, for Shutdown
	closed  bool
}

// NewServer makes a server that is starting. It fails where a setting is out of bounds.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, sessions: newSessions(cfg.Now)}
	s.mux = &doors{ServeMux: http.NewServeMux(), server: s, least: leastRole()}
	s.api = humago.New(s.mux, describe(cfg.Version))
	s.api.UseMiddleware(refineErrors)
	s.volumeRoutes()
	s.flattenRoutes()
	s.keepRoutes()
	s.explainRoutes()
	s.loanRoutes()
	s.entryRoutes()
	s.overviewRoutes()
	s.upkeepRoutes()
	s.eventRoutes()
	s.hostRoutes()
	s.queueRoutes()
	s.followRoutes()
	s.reloadRoutes()
	s.pauseRoutes()
	s.sinkRoutes()
	describePlain(s.api.OpenAPI())
	if s.spec, err = finishSpec(s.api.OpenAPI()); err != nil {
		return nil, err
	}
	if err := cfg.Registry.Register(buildInfo(cfg.Version)); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	s.plainRoutes()
	s.pageRoutes()
	return s, s.mux.complete()
}

func (cfg ServerConfig) withDefaults() (ServerConfig, error) {
	const (
		bodyBytes = 64 << 10
		patience  = 10 * time.Second
	)
	if cfg.MaxBodyBytes < 0 || cfg.BodyTimeout < 0 || cfg.HeaderTimeout < 0 || cfg.GuestsEvery < 0 {
		return cfg, fmt.Errorf("server limits must not be negative: MaxBodyBytes %d, BodyTimeout %v, HeaderTimeout %v, GuestsEvery %v",
			cfg.MaxBodyBytes, cfg.BodyTimeout, cfg.HeaderTimeout, cfg.GuestsEvery)
	}
	cfg.MaxBodyBytes = orDefault(cfg.MaxBodyBytes, bodyBytes)
	cfg.BodyTimeout = orDefault(cfg.BodyTimeout, patience)
	cfg.HeaderTimeout = orDefault(cfg.HeaderTimeout, patience)
	cfg.GuestsEvery = orDefault(cfg.GuestsEvery, 15*time.Second)
	if cfg.Log == nil {
		silent := logrus.New()
		silent.SetOutput(discard{})
		cfg.Log = silent
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg, nil
}

func orDefault[T int64 | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Ready lets the server serve requests with svc.
func (s *Server) Ready(svc Service) {
	s.service.Store(&svc)
	gauges := []prometheus.Collector{
		&storeGauges{backends: svc.Backends, fills: svc.Fills, sources: svc.Sources, loans: svc.Loans, away: svc.CatalogAway},
		&sharedGauges{queued: svc.Queued, hosts: svc.Hosts, away: svc.CatalogAway},
		&quotaGauges{use: svc.QuotaUse, now: s.cfg.Now},
	}
	if out, sends := svc.(Outlets); sends {
		gauges = append(gauges, sinkGauges{out})
	}
	for _, g := range gauges {
		if err := s.cfg.Registry.Register(g); err != nil {
			s.log.WithError(err).Error("metrics are not all there")
		}
	}
}

// Stopping makes /readyz say so, for whoever sends requests here. Requests are still served; the
// Service decides what it takes.
func (s *Server) Stopping() { s.ending.Store(true) }

// current is the Service, or the answer that there is none yet.
func (s *Server) current() (Service, error) {
	if svc := s.service.Load(); svc != nil {
		return *svc, nil
	}
	if why := s.delayed.Load(); why != nil {
		return nil, why
	}
	return nil, starting.answer("")
}

// Delayed says why there is no Service yet, though one is tried again and again: /readyz and all of /v1 answer that until
// Ready, rather than "starting".
func (s *Server) Delayed(why error) { s.delayed.Store(Explain(why)) }

func (s *Server) plainRoutes() {
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, statusBody{"ok"}) })
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /v1/openapi.json", s.spec.serveJSON)
	s.mux.HandleFunc("GET /v1/openapi.yaml", s.spec.serveYAML)
	s.mux.HandleFunc("GET "+metricsPath, promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP)
	s.mux.HandleFunc("/", s.noRoute)
}

type statusBody struct {
	Status string `json:"status"`
}

// readyBody is what /readyz answers where requests are served. A backend that is down keeps nobody from the
// others, and does not make the daemon unready.
type readyBody struct {
	Status      string                   `json:"status" enum:"ready"`
	Unavailable []plugin.UnavailableView `json:"unavailable" doc:"Backends and file caches that do not answer; their errors are told to those alone who may use the API"`
	Catalog     *plugin.CatalogAway      `json:"catalog_unavailable,omitempty" doc:"Only while the catalog's database does not answer: since when. Hits go on, images that are not cached are bypassed"`
	Sources     []plugin.SourceView      `json:"sources" doc:"Image sources and how each is; their errors are told to those alone who may use the API"`
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.ending.Load() {
		s.refuse(w, r, Explain(plugin.ErrStopping))
		return
	}
	svc, err := s.current()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	ready := readyBody{Status: "ready", Unavailable: svc.Unavailable(), Sources: notNull(svc.Sources()), Catalog: svc.CatalogAway()}
	if !isTrusted(r) {
		for i := range ready.Unavailable { // reasons name paths and hosts
			ready.Unavailable[i].Error = ""
		}
		if ready.Catalog != nil {
			ready.Catalog = &plugin.CatalogAway{Since: ready.Catalog.Since}
		}
		for i := range ready.Sources {
			ready.Sources[i].Error = ""
		}
	}
	writeJSON(w, http.StatusOK, ready)
}
