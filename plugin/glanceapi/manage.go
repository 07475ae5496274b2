package glanceapi

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// The actions of the cache API, as Glance's policy calls them.
const (
	cacheList   = "cache_list"
	cacheImage  = "cache_image"
	cacheDelete = "cache_delete"
	cacheClean  = "cache_clean"
	cachePrune  = "cache_prune"
	cacheNodes  = "list_cached_nodes"
	manageCache = "manage_image_cache" // of the older paths
)

// call is one request to the cache API by somebody whose token is valid.
type call struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	cache  *opened
	id     string // of the image; "" where the path has none
	bearer keystone.Bearer
}

// operation is what one method of a route does.
type operation struct {
	method string
	do     func(*call)
}

// operations are what the routes of the cache API have, in the order of their header Allow.
var operations = map[route][]operation{
	cacheRoute:             {{http.MethodGet, (*call).list}, {http.MethodDelete, (*call).clear}},
	cachedImageRoute:       {{http.MethodDelete, (*call).remove}, {http.MethodPut, (*call).enqueue}},
	cleanRoute:             {{http.MethodPost, (*call).clean}},
	pruneRoute:             {{http.MethodPost, (*call).prune}},
	nodesRoute:             {{http.MethodGet, (*call).nodes}},
	legacyCachedRoute:      {{http.MethodGet, (*call).legacyCached}, {http.MethodDelete, (*call).legacyClearCached}},
	legacyCachedImageRoute: {{http.MethodDelete, (*call).legacyRemoveCached}},
	legacyQueuedRoute:      {{http.MethodGet, (*call).legacyQueued}, {http.MethodDelete, (*call).legacyClearQueued}},
	legacyQueuedImageRoute: {{http.MethodPut, (*call).legacyEnqueue}, {http.MethodDelete, (*call).legacyRemoveQueued}},
}

// manage serves the cache API.
func (s *Server) manage(w http.ResponseWriter, r *http.Request, route route, id string) {
	bearer, ok := s.authenticated(w, r)
	if !ok {
		return
	}
	w.Header().Set("X-Openstack-Request-Id", "req-"+uuid.NewString())
	c := &call{s: s, w: w, r: r, cache: s.current(), id: id, bearer: bearer}
	var allowed []string
	for _, o := range operations[route] {
		if o.method == r.Method {
			c.run(o.do)
			return
		}
		allowed = append(allowed, o.method)
	}
	if route >= legacyCachedRoute { // as Glance: there is no such path for that method
		refuse(w, r, http.StatusNotFound, "The resource could not be found.")
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	refuse(w, r, http.StatusMethodNotAllowed, "The method "+r.Method+" is not allowed for this resource.")
}

func (c *call) run(do func(*call)) {
	if c.cache == nil {
		c.w.Header().Set("Retry-After", "5")
		refuse(c.w, c.r, http.StatusServiceUnavailable, "The cache is starting. Repeat the request in a few seconds.")
		return
	}
	do(c)
}

// may tells whether the caller's roles in a project allow an action; where they do not, the request is answered. Roles in a
// domain or in the whole system are others': who has a domain to administer is no administrator of images, and Glance itself
// takes tokens of projects alone since 2023.1.
func (c *call) may(action string) bool {
	if c.manages() {
		return true
	}
	refuse(c.w, c.r, http.StatusForbidden, "You are not authorized to complete "+action+" action.")
	return false
}

// manages tells whether the caller may use the cache API.
func (c *call) manages() bool { return c.bearer.ProjectID != "" && c.bearer.Has(c.s.config.Roles...) }

// hasBody refuses a request that brings a body where there is nothing to say.
func (c *call) hasBody() bool {
	if c.r.ContentLength == 0 {
		return false
	}
	refuse(c.w, c.r, http.StatusBadRequest, "A body is not expected with this request.")
	return true
}

// failed answers where the cache could not do what was asked.
func (c *call) failed(err error) {
	if c.r.Context().Err() != nil {
		return // the caller has gone
	}
	status, text := explain(err)
	c.s.log.WithField("path", c.r.URL.Path).WithError(err).Warn("request to the cache API not served")
	refuse(c.w, c.r, status, text)
}
