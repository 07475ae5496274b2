package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/clonecache/clonecache/plugin"
)

// ErrConfiguration: the configuration that was read again is wrong; the error says what, and nothing has changed.
var ErrConfiguration = errors.New("the configuration is not usable")

// Reloaded is what reading the configuration again came to.
type Reloaded struct {
	Changed      []string `json:"changed" doc:"Keys whose values have changed, and are in effect"`
	NeedsRestart []string `json:"needs_restart" doc:"Keys and tables whose values have changed in the file, and take effect at the next start"`
	// NotOpen are what of the configuration does not answer, now or since an earlier reload or the start.
	NotOpen []NotOpen `json:"not_open" doc:"Backends and file caches that do not answer, also those that came earlier: they are tried again, and serve as soon as they answer"`
}

// NotOpen is a backend or a file cache that is configured, and could not be opened or does not answer.
type NotOpen struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Reloader is a Service that can read its configuration again.
type Reloader interface {
	// Reload lets what may change while requests are served take effect, or changes nothing. ErrConfiguration.
	Reload(ctx context.Context) (Reloaded, error)
}

func (s *Server) reloadRoutes() {
	route(s, post("reload", "/v1/reload", "Read the configuration again: limits, backends, image sources, groups and log level take effect; a file that is wrong changes nothing"),
		func(ctx context.Context, svc Service, _ *none) (*output[Reloaded], error) {
			r, can := svc.(Reloader)
			if !can {
				return nil, fmt.Errorf("%w: this program has no configuration to read again", plugin.ErrBadRequest)
			}
			result, err := r.Reload(ctx)
			if err == nil {
				s.logFor(ctx).WithField("changed", result.Changed).WithField("needs_restart", result.NeedsRestart).Info("configuration reloaded")
			}
			return answer(result, err)
		})
}

// Reload has the daemon read its configuration again.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return fetch[Reloaded](ctx, c, call{method: http.MethodPost, path: "/v1/reload"})
}
