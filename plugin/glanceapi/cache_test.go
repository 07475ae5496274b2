package glanceapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// The answers are those that Glance 25.1 gave to the same requests, those of the older paths with cachemanagement in
// its pipeline, and of clean and prune as Glance's source has them.
func TestAnswersAreGlances(t *testing.T) {
	f := newFront(t)
	const denied = "You are not authorized to complete "
	for _, tt := range []struct {
		name, who, method, path string
		headers                 []header
		status                  int
		body                    string // part of it
		allow                   string
	}{
		{"no token", "", "GET", "/v2/cache", nil, 401, "could not verify that you are authorized", ""},
		{"a token that is not valid", "bad", "GET", "/v2/cache", []header{"Accept: */*"}, 401, "<h1>401 Unauthorized</h1>", ""},
		{"no token for a method that there is not", "", "POST", "/v2/cache", nil, 401, "", ""},
		{"not an administrator lists", "demo", "GET", "/v2/cache", []header{"Accept: */*"}, 403, denied + "cache_list action.<br /><br />\n\n\n\n </body>", ""},
		{"list", "admin", "GET", "/v2/cache", nil, 200, `{"cached_images":[],"queued_images":[]}`, ""},
		{"a slash at the end is Glance's", "admin", "GET", "/v2/cache/", nil, 418, "", ""},
		{"queue an unknown image", "admin", "PUT", "/v2/cache/" + absentImage, nil, 404, "Image " + absentImage + " not found.", ""},
		{"queue what is no ID", "admin", "PUT", "/v2/cache/nonsense", nil, 404, "Image nonsense not found.", ""},
		{"queue an unknown image as JSON", "admin", "PUT", "/v2/cache/x", []header{"Accept: application/json"}, 404, `"code":"404 Not Found","message":"Image x not found.`, ""},
		{"queue an unknown image as text", "admin", "PUT", "/v2/cache/x", []header{"Accept: text/plain"}, 404, "404 Not Found\n\nImage x not found.\n\n   ", ""},
		{"queue what would be HTML", "admin", "PUT", "/v2/cache/%3Cb%3E", nil, 404, "404 Not Found\n\nImage  not found.\n\n   ", ""},
		{"queue one without data", "admin", "PUT", "/v2/cache/" + queuedImage, nil, 400, "Only images with status active can be targeted for queueing", ""},
		{"queue a deactivated one", "admin", "PUT", "/v2/cache/" + deactivatedImage, nil, 400, "Only images with status active", ""},
		{"not an administrator queues", "demo", "PUT", "/v2/cache/" + plainImage, nil, 403, denied + "cache_image action.", ""},
		{"not an administrator queues an unknown one", "demo", "PUT", "/v2/cache/" + absentImage, nil, 404, "", ""},
		{"no token queues", "", "PUT", "/v2/cache/" + plainImage, nil, 401, "", ""},
		{"delete an unknown image", "admin", "DELETE", "/v2/cache/" + absentImage, nil, 404, "Image " + absentImage + " not found.", ""},
		{"delete one that is not cached", "admin", "DELETE", "/v2/cache/" + plainImage, nil, 204, "", ""},
		{"not an administrator deletes", "demo", "DELETE", "/v2/cache/" + plainImage, nil, 403, denied + "cache_delete action.", ""},
		{"not an administrator clears", "demo", "DELETE", "/v2/cache", nil, 403, denied + "cache_delete action.", ""},
		{"clear", "admin", "DELETE", "/v2/cache", nil, 204, "", ""},
		{"clear the cache", "admin", "DELETE", "/v2/cache", []header{"x-image-cache-clear-target: cache"}, 204, "", ""},
		{"clear the queue", "admin", "DELETE", "/v2/cache", []header{"x-image-cache-clear-target: Queue"}, 204, "", ""},
		{"clear something else", "admin", "DELETE", "/v2/cache", []header{"x-image-cache-clear-target: foo", "Accept: */*"}, 400, "must be &#x27;cache&#x27;, &#x27;queue&#x27; or empty string.", ""},
		{"a method that there is not", "admin", "POST", "/v2/cache", nil, 405, "The method POST is not allowed for this resource.", "GET, DELETE"},
		{"a method that an image has not", "admin", "GET", "/v2/cache/" + plainImage, nil, 405, "The method GET is not allowed", "DELETE, PUT"},
		{"HEAD", "admin", "HEAD", "/v2/cache", nil, 405, "", "GET, DELETE"},
		{"clean", "admin", "POST", "/v2/cache/clean", nil, 200, "", ""},
		{"prune", "admin", "POST", "/v2/cache/prune", nil, 200, `{"total_bytes_pruned":0,"total_files_pruned":0}`, ""},
		{"not an administrator prunes", "demo", "POST", "/v2/cache/prune", nil, 403, denied + "cache_prune action.", ""},
		{"GET of clean", "admin", "GET", "/v2/cache/clean", nil, 405, "", "POST"},
		{"nodes of an unknown image", "admin", "GET", "/v2/cache/nodes/" + absentImage, nil, 404, "Image " + absentImage + " not found.", ""},
		{"nodes of one that is not cached", "admin", "GET", "/v2/cache/nodes/" + plainImage, nil, 200, `[]`, ""},
		{"older list", "admin", "GET", "/v2/cached_images", nil, 200, `{"cached_images":[]}`, ""},
		{"older queue", "admin", "GET", "/v2/queued_images", nil, 200, `{"queued_images":[]}`, ""},
		{"older delete", "admin", "DELETE", "/v2/cached_images/" + plainImage, nil, 200, `null`, ""},
		{"older delete from the queue", "admin", "DELETE", "/v2/queued_images/" + plainImage, nil, 200, `null`, ""},
		{"older clear", "admin", "DELETE", "/v2/cached_images", nil, 200, `{"num_deleted":0}`, ""},
		{"older clear of the queue", "admin", "DELETE", "/v2/queued_images", nil, 200, `{"num_deleted":0}`, ""},
		{"not an administrator, older", "demo", "GET", "/v2/cached_images", nil, 403, denied + "manage_image_cache action.", ""},
		{"older method that there is not", "admin", "PUT", "/v2/cached_images", nil, 404, "The resource could not be found.", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, body := f.send(t, tt.who, tt.method, tt.path, tt.headers...)
			if answer.StatusCode != tt.status || !strings.Contains(body, tt.body) || answer.Header.Get("Allow") != tt.allow {
				t.Errorf("got %d, Allow %q: %s", answer.StatusCode, answer.Header.Get("Allow"), body)
			}
			if kind := answer.Header.Get("Content-Type"); body == "" && strings.Contains(kind, "json") {
				t.Errorf("nothing is called %s: clients would read it as that", kind)
			}
			if got := answer.Header.Get("Www-Authenticate"); (tt.status == 401) != (got == `Keystone uri="http://keystone/v3"`) {
				t.Errorf("Www-Authenticate: %q", got)
			}
		})
	}
}

func TestAListTakesNoBody(t *testing.T) {
	f := newFront(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/v2/cache", strings.NewReader("{}"))
	must(t, err)
	r.Header.Set("X-Auth-Token", "demo")
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	if want := "400 Bad Request\n\nA body is not expected with this request.\n\n   "; answer.StatusCode != 400 || string(body) != want {
		t.Errorf("got %d %q, want %q", answer.StatusCode, body, want)
	}
}

// listed is the state of the cache.
func (f *front) listed(t *testing.T) (cached []string, queued []string, raw string) {
	t.Helper()
	_, body := f.send(t, "admin", "GET", "/v2/cache")
	var state struct {
		Cached []struct {
			ID           string  `json:"image_id"`
			Hits         *int64  `json:"hits"`
			Size         int64   `json:"size"`
			LastModified float64 `json:"last_modified"`
			LastAccessed float64 `json:"last_accessed"`
		} `json:"cached_images"`
		Queued []string `json:"queued_images"`
	}
	must(t, json.Unmarshal([]byte(body), &state))
	for _, c := range state.Cached {
		if c.Hits == nil || c.LastModified < 1 || c.LastAccessed < 1 || c.Size != int64(len(f.glance.images[c.ID].data)) {
			t.Errorf("listed as %+v", c)
		}
		cached = append(cached, c.ID)
	}
	return cached, state.Queued, body
}

// until waits for what the queue is about to bring about.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	harness.Until(t, what, done)
}

func TestImagesAreQueuedListedAndDeleted(t *testing.T) {
	f := newFront(t, func(c *glanceapi.Config, _ *plugin.Config) { c.Backends = []backends.Name{"files"} })
	for _, path := range []string{"/v2/cache/" + plainImage, "/v2/queued_images/" + otherImage} {
		if answer, body := f.send(t, "admin", "PUT", path); answer.StatusCode/100 != 2 {
			t.Fatalf("PUT %s: %d %s", path, answer.StatusCode, body)
		}
	}
	until(t, "both images are cached", func() bool { cached, queued, _ := f.listed(t); return len(cached) == 2 && len(queued) == 0 })
	if _, body := f.send(t, "admin", "GET", "/v2/cache/nodes/"+plainImage); body != `["`+f.URL+`"]` {
		t.Errorf("nodes: %s", body)
	}
	f.glance.set(func() { delete(f.glance.images, otherImage) }) // what is cached can be deleted after its image
	if answer, body := f.send(t, "admin", "DELETE", "/v2/cache/"+otherImage); answer.StatusCode != 204 {
		t.Errorf("delete: %d %s", answer.StatusCode, body)
	}
	if cached, _, raw := f.listed(t); !slices.Equal(cached, []string{plainImage}) {
		t.Errorf("after the deletion: %s", raw)
	}
	if answer, _ := f.send(t, "admin", "DELETE", "/v2/cache"); answer.StatusCode != 204 {
		t.Errorf("clear: %d", answer.StatusCode)
	}
	if cached, _, raw := f.listed(t); len(cached) != 0 {
		t.Errorf("after it was cleared: %s", raw)
	}
}

// Who may manage nothing learns nothing of what he may not see by being refused: neither that it is there, nor that it is cached.
func TestARefusalTellsOfNoImage(t *testing.T) {
	f := newFront(t, keeping)
	f.keep(t, "demo", privateImage)
	for _, path := range []string{"/v2/cache/", "/v2/queued_images/", "/v2/cached_images/", "/v2/cache/nodes/"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			got, told := f.send(t, "other", method, path+privateImage)
			want, absent := f.send(t, "other", method, path+absentImage)
			if got.StatusCode != want.StatusCode || strings.ReplaceAll(told, privateImage, absentImage) != absent {
				t.Errorf("%s %s: %d %s of one that is cached, %d %s of one that is not there", method, path, got.StatusCode, told, want.StatusCode, absent)
			}
		}
	}
	if answer, _ := f.send(t, "demo", "DELETE", "/v2/cache/"+privateImage); answer.StatusCode != 403 {
		t.Errorf("who may see it: %d, want 403", answer.StatusCode)
	}
}

func TestOtherRolesMayManageByConfiguration(t *testing.T) {
	f := newFront(t, func(c *glanceapi.Config, _ *plugin.Config) { c.Roles = []string{"cache_operator"} })
	for who, want := range map[string]int{"operator": 200, "admin": 403} {
		if answer, _ := f.send(t, who, "GET", "/v2/cache"); answer.StatusCode != want {
			t.Errorf("%s: %d, want %d", who, answer.StatusCode, want)
		}
	}
}

// Roles are of projects, in whatever case; those of a domain or of the whole system manage nothing here.
func TestWhoseRolesManageTheCache(t *testing.T) {
	f := newFront(t)
	for who, want := range map[string]int{"admin": 200, "shouting": 200, "demo": 403, "domain": 403, "system": 403} {
		for _, path := range []string{"/v2/cache", "/v2/cached_images"} {
			if answer, _ := f.send(t, who, "GET", path); answer.StatusCode != want {
				t.Errorf("%s: GET %s: %d, want %d", who, path, answer.StatusCode, want)
			}
		}
	}
}

func TestVersionsTellOfTheCache(t *testing.T) {
	f := newFront(t)
	for path, want := range map[string]int{"/versions": 200, "/": 300} {
		answer, body := f.send(t, "", "GET", path)
		var got struct {
			Versions []struct {
				ID, Status string
				Links      []struct{ Href string }
			}
		}
		must(t, json.Unmarshal([]byte(body), &got))
		var ids []string
		for _, v := range got.Versions {
			ids = append(ids, v.ID+" "+v.Status)
			if v.Links[0].Href != f.URL+"/v2/" {
				t.Errorf("%s leads to %s", v.ID, v.Links[0].Href)
			}
		}
		if answer.StatusCode != want || !slices.Equal(ids, []string{"v2.15 CURRENT", "v2.14 SUPPORTED", "v2.9 SUPPORTED"}) {
			t.Errorf("%s: %d %v", path, answer.StatusCode, ids)
		}
	}
	f.glance.Close()
	if answer, body := f.send(t, "", "GET", "/versions"); answer.StatusCode != 200 || !strings.Contains(body, `"v2.14"`) {
		t.Errorf("without Glance: %d %s", answer.StatusCode, body)
	}
}

func TestEverythingElseIsGlances(t *testing.T) {
	f := newFront(t)
	for _, tt := range [][2]string{{"GET", "/v2/images?limit=2&sort=name%3Aasc"}, {"PATCH", "/v2/images/" + plainImage}, {"GET", "/v2/schemas/image"}, {"GET", "/v3/odd%2Fpath?x=%20y"},
		{"GET", "/v2/images?owner=demo;x&name=100%"}} {
		answer, _ := f.send(t, "demo", tt[0], tt[1])
		if got, want := answer.Header.Get("X-Seen"), tt[0]+" "+tt[1]+" demo"; answer.StatusCode != http.StatusTeapot || got != want {
			t.Errorf("%v: %d, Glance saw %q", tt, answer.StatusCode, got)
		}
	}
	f.glance.Close()
	if answer, _ := f.send(t, "demo", "GET", "/v2/images"); answer.StatusCode != 503 {
		t.Errorf("without Glance: %d", answer.StatusCode)
	}
}

func TestAnAddressThatLeadsBackIsNoticed(t *testing.T) {
	f := newFront(t)
	f.glance.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := r.Clone(r.Context())
		request.RequestURI = ""
		request.URL.Scheme, request.URL.Host = "http", strings.TrimPrefix(f.URL, "http://")
		answer, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
	})
	if answer, _ := f.send(t, "demo", "GET", "/v2/images"); answer.StatusCode != http.StatusLoopDetected {
		t.Errorf("got %d", answer.StatusCode)
	}
}

// Without a cache yet, what is Glance's works, and the cache API says that it starts.
func TestBeforeThereIsACache(t *testing.T) {
	g, k := newFakeGlance(t), &fakeKeystone{}
	server, err := glanceapi.New(glanceapi.Config{Source: "glance", Keystone: k, Glance: g})
	must(t, err)
	f := &front{glance: g, keystone: k, Server: httptest.NewServer(server)}
	t.Cleanup(f.Close)
	if answer, body := f.send(t, "demo", "GET", "/v2/images/"+plainImage+"/file"); answer.StatusCode != 200 || body != string(g.images[plainImage].data) {
		t.Errorf("download: %d", answer.StatusCode)
	}
	if answer, _ := f.send(t, "admin", "GET", "/v2/cache"); answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("list: %d", answer.StatusCode)
	}
}

func TestTokensAreAskedForOnceAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKeystone{gone: map[string]bool{}}
		server, err := glanceapi.New(glanceapi.Config{Source: "glance", Keystone: k, Glance: &fakeGlance{}})
		must(t, err)
		status := func(who string) int {
			r := httptest.NewRequest(http.MethodGet, "/v2/cache", http.NoBody)
			r.Header.Set("X-Auth-Token", who)
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r)
			return w.Code
		}
		for range 5 {
			if got := status("admin"); got != 503 { // there is no cache
				t.Fatalf("got %d", got)
			}
		}
		if k.asked != 1 {
			t.Errorf("Keystone was asked %d times, want once", k.asked)
		}
		k.gone["admin"] = true
		time.Sleep(time.Minute) // of the bubble's clock
		if got := status("admin"); got != 401 {
			t.Errorf("a minute after it was revoked: %d", got)
		}
		k.down = true
		if got := status("demo"); got != 503 {
			t.Errorf("Keystone is down: %d", got)
		}
	})
}
