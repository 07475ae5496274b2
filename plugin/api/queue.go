package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// PrefetchRequest asks for images to be cached ahead of their first request.
type PrefetchRequest struct {
	Images   []string        `json:"images" minItems:"1" maxItems:"10000" doc:"As in a volume's request: SOURCE:ID, an ID that one source holds, or a URL below an http source"`
	Backends []backends.Name `json:"backends,omitempty" maxItems:"1000" doc:"Where: backends or file caches. Default: the only backend"`
	Group    string          `json:"group,omitempty" maxLength:"255" doc:"Where: the backends of this [[group]]"`
	All      bool            `json:"all,omitempty" doc:"Where: every backend"`
	Pin      plugin.Pinning  `json:"pin,omitempty" doc:"Pin their entries once they are there"`
	Priority int             `json:"priority,omitempty" minimum:"-1000" maximum:"1000" doc:"The greatest goes first"`
}

// QueueCount is how many images in the queue something was done to.
type QueueCount struct {
	Images int64 `json:"images" doc:"How many images it was done to"`
}

// prefetchPath is where images are asked for ahead.
const prefetchPath = "/v1/prefetch"

type prefetchInput struct {
	Body PrefetchRequest
}

type queuedInput struct {
	ID string `path:"id" maxLength:"255" doc:"The ID of an image in the queue, or 4 characters or more that begin or end no other"`
}

func (s *Server) queueRoutes() {
	const all, one = "/v1/queue", "/v1/queue/{id}"
	route(s, post("prefetch", prefetchPath, "Cache images ahead of their first request: at once where there is a place among the fills, else they wait in the queue"),
		func(ctx context.Context, svc Service, in *prefetchInput) (*output[[]plugin.QueuedView], error) {
			b := in.Body
			views, err := svc.Prefetch(ctx, plugin.Prefetch{Images: b.Images, Backends: b.Backends, Group: b.Group, All: b.All, Pin: b.Pin, Priority: b.Priority})
			if err == nil {
				s.logFor(ctx).WithField("images", len(views)).Info("images are to be cached")
			}
			return listed(views, err)
		})
	route(s, get("list-queue", all, "Images in the queue: those being filled, those that wait, in their order, those that failed, and those done in the last hour"),
		func(ctx context.Context, svc Service, _ *none) (*output[[]plugin.QueuedView], error) {
			return listed(svc.Queued(ctx))
		})
	route(s, del("clear-queue", all, "Empty the queue; fills that only it waits for end"), func(ctx context.Context, svc Service, _ *none) (*output[QueueCount], error) {
		return s.queueCount(ctx, "queue cleared")(svc.ClearQueue(ctx))
	})
	route(s, del("delete-queued", one, "Take one image out of the queue; a fill that only it waits for ends"), func(ctx context.Context, svc Service, in *queuedInput) (*output[plugin.QueuedView], error) {
		return s.queuedOne(ctx, "image taken out of the queue")(svc.DeleteQueued(ctx, in.ID))
	})
	route(s, post("retry-queue", all+"/retry", "Let all images that failed, or wait for their next try, be tried at once"), func(ctx context.Context, svc Service, _ *none) (*output[QueueCount], error) {
		return s.queueCount(ctx, "queue is tried again")(svc.RetryQueue(ctx))
	})
	route(s, post("retry-queued", one+"/retry", "Let one image that failed, or waits for its next try, be tried at once"), func(ctx context.Context, svc Service, in *queuedInput) (*output[plugin.QueuedView], error) {
		return s.queuedOne(ctx, "image in the queue is tried again")(svc.RetryQueued(ctx, in.ID))
	})
}

// queueCount answers how many images something was done to, and logs it as what.
func (s *Server) queueCount(ctx context.Context, what string) func(int64, error) (*output[QueueCount], error) {
	return func(n int64, err error) (*output[QueueCount], error) {
		if err == nil {
			s.logFor(ctx).WithField("images", n).Info(what)
		}
		return answer(QueueCount{n}, err)
	}
}

// queuedOne answers which image something was done to, and logs it as what.
func (s *Server) queuedOne(ctx context.Context, what string) func(plugin.QueuedView, error) (*output[plugin.QueuedView], error) {
	return func(v plugin.QueuedView, err error) (*output[plugin.QueuedView], error) {
		if err == nil {
			s.logFor(ctx).WithFields(logrus.Fields{"image": v.ImageID, "backend": v.Backend}).Info(what)
		}
		return answer(v, err)
	}
}

// Prefetch asks for images to be cached ahead of their first request, and returns their rows of the queue.
func (c *Client) Prefetch(ctx context.Context, r PrefetchRequest) ([]plugin.QueuedView, error) {
	return fetch[[]plugin.QueuedView](ctx, c, call{method: http.MethodPost, path: prefetchPath, body: r})
}

// Queue lists the images in the queue.
func (c *Client) Queue(ctx context.Context) ([]plugin.QueuedView, error) {
	return fetch[[]plugin.QueuedView](ctx, c, call{method: http.MethodGet, path: "/v1/queue"})
}

// ClearQueue empties the queue.
func (c *Client) ClearQueue(ctx context.Context) (QueueCount, error) {
	return fetch[QueueCount](ctx, c, call{method: http.MethodDelete, path: "/v1/queue"})
}

// DeleteQueued takes an image out of the queue, and returns it as it was.
func (c *Client) DeleteQueued(ctx context.Context, id string) (plugin.QueuedView, error) {
	return fetch[plugin.QueuedView](ctx, c, call{method: http.MethodDelete, path: queuedPath(id)})
}

// RetryQueue lets all images that failed, or wait for their next try, be tried at once.
func (c *Client) RetryQueue(ctx context.Context) (QueueCount, error) {
	return fetch[QueueCount](ctx, c, call{method: http.MethodPost, path: "/v1/queue/retry"})
}

// RetryQueued lets one such image be tried at once, and returns it as it was.
func (c *Client) RetryQueued(ctx context.Context, id string) (plugin.QueuedView, error) {
	return fetch[plugin.QueuedView](ctx, c, call{method: http.MethodPost, path: queuedPath(id) + "/retry"})
}

func queuedPath(id string) string { return "/v1/queue/" + url.PathEscape(id) }
