package glanceapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Keystone tells whose tokens are; keystone.Tokens is it. It may be used from several goroutines.
type Keystone interface {
	// Validate is keystone.Tokens'. keystone.ErrToken: the token is nobody's; else Keystone does not answer.
	Validate(ctx context.Context, token string) (keystone.Bearer, error)
	// URL is where tokens come from; "": it is not known.
	URL() string
}

// Glance is the one that stands behind. It may be used from several goroutines.
type Glance interface {
	// Upstream says where it is, and how it is reached.
	Upstream(ctx context.Context) (*url.URL, http.RoundTripper, error)
}

// Publics tells which images are everybody's; glance.Source is it. It may be used from several goroutines.
type Publics interface {
	// Public is glance.Source's: an image whose data is everybody's, and the account's token. imagesource.ErrNotFound.
	Public(ctx context.Context, id string) (imagesource.Image, imagesource.Token, error)
}

// Cache is what is cached, and how that is changed; *plugin.Plugin is it.
type Cache interface {
	Entries(ctx context.Context, f plugin.EntryFilter) ([]plugin.EntryView, error)
	DeleteEntry(ctx context.Context, id string, force plugin.ForceDetach) (plugin.PruneResult, error)
	Prune(ctx context.Context) (plugin.PruneResult, error)
	Clean(ctx context.Context) (plugin.CleanResult, error)
	Queue() plugin.Queue
	Fills() []plugin.FillView
}

// Config makes a Server. Zero fields have the documented defaults.
type Config struct {
	Source   string // the image source's name, as in SOURCE:ID; required
	Keystone Keystone
	Glance   Glance
	// Backends are where PUT /v2/cache/ID caches an image. Default: every backend.
	Backends []backends.Name
	// FileCache keeps the data of images that are downloaded. "": none is kept.
	FileCache backends.Name
	// Publics are the images whose data is given to who brings no token, by the account's right. nil: none are.
	Publics Publics
	// Roles may use the cache API. Default: admin.
	Roles []string
	// Patience is how long a client may take for each MiB of an image's data, and for the next bytes of what it sends.
	// Default: 15 min.
	Patience time.Duration
	Log      logrus.FieldLogger // default: discards
	Now      func() time.Time   // default: time.Now
}

// Server is the API. It serves from the beginning: until Ready there is no cache, and all is Glance's.
type Server struct {
	config Config
	log    logrus.FieldLogger
	auth   *keystone.Bearers
	cache  atomic.Pointer[opened]
	hop    string // by which a request that comes back is known
}

// New checks config and asks nobody anything.
func New(config Config) (*Server, error) {
	if config.Source == "" || config.Keystone == nil || config.Glance == nil {
		return nil, errors.New("glance api: a source, a Keystone and a Glance are needed")
	}
	if len(config.Roles) == 0 {
		config.Roles = []string{"admin"}
	}
	if config.Patience == 0 {
		config.Patience = patience
	}
	if config.Log == nil {
		silent := logrus.New()
		silent.SetOutput(discard{})
		config.Log = silent
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Server{
		config: config, log: config.Log, auth: keystone.NewBearers(config.Keystone, config.Now),
		hop: "clonecache-" + uuid.NewString(),
	}, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// opened is a cache that is there.
type opened struct {
	Cache
	bytes plugin.Bytes
}

// Ready lets the server use the cache from now on.
func (s *Server) Ready(c Cache, b plugin.Bytes) { s.cache.Store(&opened{c, b}) }

// current is the cache; nil: there is none yet.
func (s *Server) current() *opened { return s.cache.Load() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = bodyOf(r, w, s.config.Patience)
	route, id := routeOf(r.URL.Path)
	switch {
	case s.cameBack(r):
		refuse(w, r, http.StatusLoopDetected, "Glance's address leads back here. Give the [[image_source]] an endpoint that is Glance's own.")
	case route.managed():
		s.manage(w, r, route, id)
	case route == fileRoute && s.config.Publics != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) && nobodys(r):
		s.downloadPublic(w, r, id)
	case route == fileRoute && r.Method == http.MethodGet:
		s.download(w, r, id)
	case route == imageRoute && r.Method == http.MethodDelete:
		s.deleteImage(w, r, id)
	case route == versionsRoute && r.Method == http.MethodGet:
		s.versions(w, r)
	default:
		s.passOn(w, r)
	}
}

// cameBack tells that a request has been here already: the Glance behind is this server.
func (s *Server) cameBack(r *http.Request) bool {
	for _, via := range r.Header.Values("Via") {
		if strings.Contains(via, s.hop) {
			return true
		}
	}
	return false
}
