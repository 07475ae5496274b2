package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

func (s *Server) explainRoutes() {
	const what = "The story of one volume: its requests, its fill, and what became of it"
	route(s, get("explain-volume", "/v1/backends/{backend}/volumes/{volume}/explain", what), func(ctx context.Context, svc Service, in *backendVolumeInput) (*output[plugin.VolumeStory], error) {
		return answer(svc.ExplainVolume(ctx, in.Backend, in.Volume))
	})
	route(s, get("explain-volume-anywhere", "/v1/volumes/{volume}/explain", what), func(ctx context.Context, svc Service, in *volumeInput) (*output[plugin.VolumeStory], error) {
		return answer(svc.ExplainVolume(ctx, "", in.Volume))
	})
	route(s, get("entry-events", "/v1/entries/{id}/events", "What happened to one entry, hits left out; it may be gone"), func(ctx context.Context, svc Service, in *entryInput) (*output[[]plugin.Event], error) {
		return listed(svc.EntryEvents(ctx, in.ID))
	})
}

// ExplainVolume tells the story of a volume; where there is only one backend, it needs no name.
func (c *Client) ExplainVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) (plugin.VolumeStory, error) {
	path := "/v1/volumes/" + url.PathEscape(string(volume)) + "/explain"
	if backend != "" {
		path = volumesPath(backend) + "/" + url.PathEscape(string(volume)) + "/explain"
	}
	return fetch[plugin.VolumeStory](ctx, c, call{method: http.MethodGet, path: path})
}

// EntryEvents are what happened to one entry, hits left out; it may be gone.
func (c *Client) EntryEvents(ctx context.Context, id string) ([]plugin.Event, error) {
	return fetch[[]plugin.Event](ctx, c, call{method: http.MethodGet, path: "/v1/entries/" + url.PathEscape(id) + "/events"})
}
