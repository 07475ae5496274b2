package api

import (
	"context"
	"net/http"

	"github.com/clonecache/clonecache/plugin"
)

func (s *Server) followRoutes() {
	route(s, get("list-follow", "/v1/follow", "The rules by which images are followed, and what each came to in this daemon"),
		func(ctx context.Context, svc Service, _ *none) (*output[[]plugin.FollowView], error) {
			return listed(svc.Follows(ctx))
		})
	route(s, post("sweep-follow", "/v1/follow/sweep", "Look at all that is followed now; what is not there is queued"),
		func(ctx context.Context, svc Service, _ *none) (*output[[]plugin.FollowView], error) {
			views, err := svc.Sweep(ctx)
			if err == nil {
				s.logFor(ctx).WithField("rules", len(views)).Info("followed images looked at")
			}
			return listed(views, err)
		})
}

// Follows lists the rules by which images are followed.
func (c *Client) Follows(ctx context.Context) ([]plugin.FollowView, error) {
	return fetch[[]plugin.FollowView](ctx, c, call{method: http.MethodGet, path: "/v1/follow"})
}

// Sweep has the daemon look at all that is followed now.
func (c *Client) Sweep(ctx context.Context) ([]plugin.FollowView, error) {
	return fetch[[]plugin.FollowView](ctx, c, call{method: http.MethodPost, path: "/v1/follow/sweep"})
}
