package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

type disableInput struct {
	Backend backends.Name `path:"backend" doc:"A backend or a file cache"`
	Drain   bool          `query:"drain" doc:"Answer once no fill goes on there in this daemon"`
}

func (s *Server) pauseRoutes() {
	const one = "/v1/backends/{backend}"
	route(s, post("disable-backend", one+"/disable", "Put a backend out of use: requests step aside, nothing is filled, and nothing goes by itself"), func(ctx context.Context, svc Service, in *disableInput) (*none, error) {
		err := svc.DisableBackend(ctx, in.Backend)
		if err == nil && in.Drain {
			err = svc.DrainBackend(ctx, in.Backend)
		}
		return s.paused(ctx, in.Backend, "backend disabled", err)
	})
	route(s, post("enable-backend", one+"/enable", "Put a backend into use again"), func(ctx context.Context, svc Service, in *backendInput) (*none, error) {
		return s.paused(ctx, in.Backend, "backend enabled", svc.EnableBackend(ctx, in.Backend))
	})
}

func (s *Server) paused(ctx context.Context, name backends.Name, what string, err error) (*none, error) {
	if err == nil {
		s.logFor(ctx).WithField("backend", name).Info(what)
	}
	return nil, err
}

// DisableBackend puts a backend, or a file cache, out of use; with drain it returns once no fill goes on there.
func (c *Client) DisableBackend(ctx context.Context, name backends.Name, drain plugin.Draining) error {
	query := url.Values{}
	setFlag(query, "drain", drain)
	_, err := fetch[struct{}](ctx, c, call{method: http.MethodPost, path: "/v1/backends/" + url.PathEscape(string(name)) + "/disable", query: query})
	return err
}

// EnableBackend puts it into use again.
func (c *Client) EnableBackend(ctx context.Context, name backends.Name) error {
	_, err := fetch[struct{}](ctx, c, call{method: http.MethodPost, path: "/v1/backends/" + url.PathEscape(string(name)) + "/enable"})
	return err
}
