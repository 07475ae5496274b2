package daemon

import (
	"context"
	"net"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// glanceFront is Glance's API as it is served; nil where it is not configured.
type glanceFront struct {
	server  *glanceapi.Server
	serving *glanceapi.Serving
}

// openGlanceFront begins to serve Glance's API, where that is configured: until the cache is ready all is Glance's.
func openGlanceFront(ctx context.Context, cfg config.Config, log logrus.FieldLogger) (*glanceFront, error) {
	if len(cfg.GlanceAPI.Listen) == 0 {
		return nil, nil //nolint:nilnil // it is not configured
	}
	server, err := newGlanceFront(cfg, log)
	if err != nil {
		return nil, err
	}
	listeners, err := listenForGlance(ctx, cfg.GlanceAPI)
	if err != nil {
		return nil, err
	}
	return &glanceFront{server, server.Serve(listeners)}, nil
}

func listenForGlance(ctx context.Context, g config.GlanceAPI) ([]net.Listener, error) {
	c := glanceapi.ListenConfig{CertFile: string(g.CertFile), KeyFile: string(g.KeyFile)}
	for _, l := range g.Listen {
		c.Addresses = append(c.Addresses, l.Address)
	}
	return glanceapi.Listen(ctx, c)
}

// newGlanceFront makes the API before the image source that the configuration names.
func newGlanceFront(cfg config.Config, log logrus.FieldLogger) (*glanceapi.Server, error) {
	c := glanceapi.Config{
		Source: cfg.GlanceAPI.Source, Backends: words[backends.Name](cfg.GlanceAPI.Backends),
		FileCache: backends.Name(cfg.GlanceAPI.FileCache),
		Roles:     cfg.GlanceAPI.Roles, Log: log.WithField("source", cfg.GlanceAPI.Source),
	}
	for _, s := range cfg.ImageSources {
		service, is := kinds.OfSource(s).(kinds.ImageService)
		if !is || s.Name != cfg.GlanceAPI.Source {
			continue
		}
		behind, tokens, err := service.Service(s.Name, cfg.GlanceAPI.AuthURL)
		if err != nil {
			return nil, err
		}
		c.Glance, c.Keystone = behind, tokens
		if cfg.GlanceAPI.AnonymousPublic {
			c.Publics = behind
		}
	}
	return glanceapi.New(c)
}

// ready lets the API use the cache.
func (g *glanceFront) ready(p *plugin.Plugin) {
	if g != nil {
		g.server.Ready(p, plugin.BytesOf(p))
	}
}

// close ends the API; those who are served have until ctx ends. It may be repeated.
func (g *glanceFront) close(ctx context.Context) error {
	if g == nil {
		return nil
	}
	return g.serving.Shutdown(ctx)
}
