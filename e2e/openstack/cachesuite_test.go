//go:build openstack

package openstack

import (
	"net/http"
	"slices"
	"testing"
)

// What Glance's own functional tests of its cache expect (glance/tests/functional/v2/test_cache_api.py and
// test_cache_api_policy.py, by their names), of our port.
func TestGlancesOwnTestsOfItsCache(t *testing.T) {
	w, ours := beginFront(t)
	defer w.end(t)
	s := suite{w, ours}
	for _, test := range []struct {
		name string
		run  func(suite, *testing.T)
	}{
		{"test_cache_queue, test_cache_delete", suite.queueAndDelete}, {"test_cache_clear", suite.clear},
		{"test_cache_api_negative_scenarios", suite.negative}, {"test_cache_api_not_allowed", suite.notAllowed},
		{"test_cache_image_cache_delete", suite.deletedImage}, {"test_queued_images, test_get_cached_images, test_delete_cached_images", suite.older},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.admin.must(t, call{"DELETE", ours.url + "/v2/cache", nil}, nil)
			s.want(t, "at the begin")
			test.run(s, t)
		})
	}
}

type suite struct {
	w    *world
	port front
}

// answers checks the status of a call by the administrator.
func (s suite) answers(t *testing.T, want int, method, path string) {
	t.Helper()
	s.answersTo(t, s.w.admin, want, method, path)
}

func (s suite) answersTo(t *testing.T, who *cloud, want int, method, path string) {
	t.Helper()
	if status, refusal, _ := who.try(t, call{method, s.port.url + path, nil}, nil); status != want {
		t.Errorf("%s %s: %d %s, want %d", method, path, status, refusal, want)
	}
}

// want checks that these are cached, and nothing is queued.
func (s suite) want(t *testing.T, when string, images ...string) {
	t.Helper()
	state := s.port.state(t, s.w.admin.token)
	if len(state.Queued) != 0 || len(state.Cached) != len(images) || slices.ContainsFunc(images, func(id string) bool { return !state.has(id) }) {
		t.Errorf("%s: cached %+v and queued %q, want %q and none", when, state.Cached, state.Queued, images)
	}
}

// image makes one, of content of its own.
func (s suite) image(t *testing.T, seed uint64, visibility string) string {
	t.Helper()
	return s.w.upload(t, newDisk(t, seed, mib, mib).path, "raw", object{"visibility": visibility})
}

func (s suite) cached(t *testing.T, path string, images ...string) {
	t.Helper()
	for _, id := range images {
		s.w.admin.must(t, call{"PUT", s.port.url + path + id, nil}, nil)
	}
	s.port.cachedThere(t, s.w.admin.token, images...)
}

func (s suite) queueAndDelete(t *testing.T) {
	id := s.image(t, 41, "community")
	s.cached(t, "/v2/cache/", id)
	s.want(t, "once it was queued", id)
	s.answers(t, http.StatusNoContent, "DELETE", "/v2/cache/"+id)
	s.want(t, "once it was deleted")
}

func (s suite) clear(t *testing.T) {
	a, b := s.image(t, 42, "community"), s.image(t, 43, "private")
	s.cached(t, "/v2/cache/", a, b)
	s.want(t, "once both were queued", a, b)
	s.answers(t, http.StatusNoContent, "DELETE", "/v2/cache")
	s.want(t, "once it was cleared")
}

func (s suite) negative(t *testing.T) {
	var queued struct{ ID string }
	s.w.demo.must(t, call{"POST", glanceURL(""), object{"name": t.Name(), "disk_format": "raw", "container_format": "bare"}}, &queued)
	s.w.images = append(s.w.images, queued.ID)
	s.answers(t, http.StatusNotFound, "PUT", "/v2/cache/non-existing-image-id")
	s.answers(t, http.StatusBadRequest, "PUT", "/v2/cache/"+queued.ID)
	s.answers(t, http.StatusNotFound, "DELETE", "/v2/cache/non-existing-image-id")
}

func (s suite) notAllowed(t *testing.T) {
	id := s.image(t, 44, "community")
	for _, c := range [][2]string{{"GET", "/v2/cache"}, {"PUT", "/v2/cache/" + id}, {"DELETE", "/v2/cache/" + id}, {"DELETE", "/v2/cache"},
		{"GET", "/v2/cached_images"}, {"GET", "/v2/queued_images"}, {"PUT", "/v2/queued_images/" + id}, {"DELETE", "/v2/cached_images"}, {"DELETE", "/v2/queued_images"}} {
		s.answersTo(t, s.w.demo, http.StatusForbidden, c[0], c[1])
	}
}

// An image that is deleted in Glance leaves the cache with that.
func (s suite) deletedImage(t *testing.T) {
	id := s.image(t, 45, "community")
	s.cached(t, "/v2/cache/", id)
	s.answersTo(t, s.w.demo, http.StatusNoContent, "DELETE", "/v2/images/"+id)
	s.want(t, "once the image was deleted")
}

func (s suite) older(t *testing.T) {
	a, b := s.image(t, 46, "community"), s.image(t, 47, "community")
	s.cached(t, "/v2/queued_images/", a, b)
	var list cacheState
	s.w.admin.must(t, call{"GET", s.port.url + "/v2/cached_images", nil}, &list)
	if len(list.Cached) != 2 {
		t.Errorf("cached: got %+v, want both", list.Cached)
	}
	s.answers(t, http.StatusOK, "DELETE", "/v2/cached_images/"+a)
	s.want(t, "once the first was deleted", b)
	var gone struct {
		Deleted int `json:"num_deleted"`
	}
	s.w.admin.must(t, call{"DELETE", s.port.url + "/v2/cached_images", nil}, &gone)
	if gone.Deleted != 1 {
		t.Errorf("deleted: got %d, want 1", gone.Deleted)
	}
	s.want(t, "once all were deleted")
}
