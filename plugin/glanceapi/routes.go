package glanceapi

import (
	"strings"

	"github.com/google/uuid"
)

// route is what a path means here.
type route int

const (
	othersRoute route = iota // Glance's own
	versionsRoute
	imageRoute       // /v2/images/ID
	fileRoute        // /v2/images/ID/file
	cacheRoute       // /v2/cache
	cachedImageRoute // /v2/cache/ID
	cleanRoute
	pruneRoute
	nodesRoute
	legacyCachedRoute // /v2/cached_images
	legacyCachedImageRoute
	legacyQueuedRoute // /v2/queued_images
	legacyQueuedImageRoute
)

// managed tells that it is one of the cache API.
func (r route) managed() bool { return r >= cacheRoute && r <= legacyQueuedImageRoute }

// fixedRoutes are the paths without an image's ID.
var fixedRoutes = map[string]route{
	"/":                 versionsRoute,
	"/versions":         versionsRoute,
	"/v2/cache":         cacheRoute,
	"/v2/cache/clean":   cleanRoute,
	"/v2/cache/prune":   pruneRoute,
	"/v2/cached_images": legacyCachedRoute,
	"/v2/queued_images": legacyQueuedRoute,
}

// routesWithID are what stands before an image's ID, the longer ones first.
var routesWithID = []struct {
	prefix string
	route  route
}{
	{"/v2/cache/nodes/", nodesRoute},
	{"/v2/cache/", cachedImageRoute},
	{"/v2/cached_images/", legacyCachedImageRoute},
	{"/v2/queued_images/", legacyQueuedImageRoute},
}

// asGlanceHas is an image's ID as Glance writes it, under which it is cached: a database of Glance's that does not tell upper from lower
// case finds the image by either.
func asGlanceHas(id string) string {
	if u, err := uuid.Parse(id); err == nil && strings.EqualFold(u.String(), id) {
		return u.String()
	}
	return id
}

// routeOf finds what a path means, and the image's ID in it.
func routeOf(path string) (route, string) {
	if r, ok := fixedRoutes[path]; ok {
		return r, ""
	}
	if id, ok := strings.CutPrefix(path, "/v2/images/"); ok {
		id, file := strings.CutSuffix(id, "/file")
		switch {
		case uuid.Validate(id) != nil:
		case file:
			return fileRoute, id
		default:
			return imageRoute, asGlanceHas(id)
		}
	}
	for _, p := range routesWithID {
		id, ok := strings.CutPrefix(path, p.prefix)
		if ok && id != "" && !strings.Contains(id, "/") {
			return p.route, asGlanceHas(id)
		}
	}
	return othersRoute, ""
}
