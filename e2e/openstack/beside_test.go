//go:build openstack

package openstack

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/clonecache/clonecache/e2e/harness"
)

// front is a Glance with an image cache: ours, or Glance itself.
type front struct {
	url string
	own map[string]string // what stands for {NAME} in paths, where each front has its own
}

// asked is a request to both fronts.
type asked struct {
	name, as, method, path string
	headers, body          string // NAME: VALUE lines
	// differs are the aspects in which we answer otherwise, with the reason. All others must be equal.
	differs map[string]string
	// documented is what a newer Glance answers, by its API reference and source, where the lab's has no such call:
	// it is compared in its place.
	documented *answered
}

// answered is what matters of an answer.
type answered struct {
	status  int
	headers map[string]string
	body    string // the shape of JSON, else the text
}

// compared are the headers that matter to clients.
var compared = []string{
	"Accept-Ranges", "Allow", "Content-Length", "Content-Md5", "Content-Range", "Content-Type", "Etag", "Location", "Retry-After", "Www-Authenticate",
}

// aspects are what is compared, by name.
func (a answered) aspects() map[string]string {
	all := maps.Clone(a.headers)
	all["status"], all["body"] = fmt.Sprint(a.status), a.body
	return all
}

// ask sends a request to a front.
func (f front) ask(tb testing.TB, a asked, token string) answered {
	tb.Helper()
	path := a.path
	for name, value := range f.own {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	r, err := http.NewRequestWithContext(tb.Context(), a.method, f.url, strings.NewReader(a.body))
	if err != nil {
		tb.Fatal(err)
	}
	plain, query, _ := strings.Cut(path, "?")
	r.URL.Opaque, r.URL.RawQuery = plain, query // as it stands there, whatever Go thinks of it
	for line := range strings.Lines(a.headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header.Add(name, value)
	}
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	answer, err := asItIs.Do(r)
	if err != nil {
		tb.Fatalf("%s: %v", a.name, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		tb.Fatalf("%s: %v", a.name, err)
	}
	return f.answer(tb, answer, string(text))
}

// asItIs follows no redirection, and asks for nothing to be compressed.
var asItIs = http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answer leaves out what is of the moment: the front's own address, IDs and what JSON holds.
func (f front) answer(tb testing.TB, of *http.Response, text string) answered {
	tb.Helper()
	where, err := url.Parse(f.url)
	if err != nil {
		tb.Fatal(err)
	}
	neutral := func(text string) string {
		text = strings.ReplaceAll(text, where.Host, "HOST")
		for name, id := range f.own {
			text = strings.ReplaceAll(text, id, name)
		}
		return text
	}
	a := answered{of.StatusCode, map[string]string{"request ID": fmt.Sprint(of.Header.Get("X-Openstack-Request-Id") != "")}, neutral(text)}
	if !utf8.ValidString(text) {
		a.body = fmt.Sprintf("%d bytes of SHA-256 %x", len(text), sha256.Sum256([]byte(text)))
	}
	for _, name := range compared {
		a.headers[name] = neutral(strings.Join(of.Header.Values(name), " and "))
	}
	if strings.HasPrefix(of.Header.Get("Content-Type"), "application/json") {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			tb.Errorf("no JSON: %v: %s", err, text)
		}
		if a.body = shape(value); of.StatusCode >= http.StatusBadRequest {
			a.body = neutral(fmt.Sprint(value))
		}
		a.headers["Content-Length"] = "as the body's" // of values that differ
	} else if strings.Contains(text, where.Host) {
		a.headers["Content-Length"] = "as the body's"
	}
	return a
}

// shape is a JSON value without what it holds: of a list, the shapes that there are.
func shape(value any) string {
	switch v := value.(type) {
	case map[string]any:
		var fields []string
		for name, of := range v {
			fields = append(fields, name+":"+shape(of))
		}
		slices.Sort(fields)
		return "{" + strings.Join(fields, " ") + "}"
	case []any:
		shapes := make(map[string]bool)
		for _, of := range v {
			shapes[shape(of)] = true
		}
		return "[" + strings.Join(slices.Sorted(maps.Keys(shapes)), " ") + "]"
	}
	return fmt.Sprintf("%T", value)
}

// compare asks both, and names what differs without a reason, and each reason without a difference.
func (a asked) compare(t *testing.T, ours, theirs front, token string) {
	t.Helper()
	got := ours.ask(t, a, token).aspects()
	want := map[string]string{}
	if a.documented != nil {
		want = a.documented.aspects()
		maps.DeleteFunc(got, func(aspect, _ string) bool { _, documented := want[aspect]; return !documented })
	} else {
		want = theirs.ask(t, a, token).aspects()
	}
	for _, aspect := range slices.Sorted(maps.Keys(want)) {
		why := a.differs[aspect]
		switch same := got[aspect] == want[aspect]; {
		case !same && why == "":
			t.Errorf("%s: ours %q, Glance's %q", aspect, got[aspect], want[aspect])
		case same && why != "":
			t.Errorf("%s: both %q; it should differ: %s", aspect, got[aspect], why)
		}
	}
}

// tokens are those of users, and those that are no longer valid, by what they are.
func (w *world) tokens(tb testing.TB) map[string]string {
	tb.Helper()
	revoked := login(tb, "demo").token
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodDelete, lab.url(0, "/v3/auth/tokens"), http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("X-Auth-Token", w.demo.token)
	r.Header.Set("X-Subject-Token", revoked)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	answer.Body.Close()
	cmd := exec.CommandContext(tb.Context(), "./expired.py", filepath.Join(lab.dir, "keystone", "keys"))
	cmd.Stdin = strings.NewReader(login(tb, "demo").token)
	expired, err := cmd.Output()
	if err != nil || answer.StatusCode != http.StatusNoContent {
		tb.Fatalf("make tokens that are not valid: %d, %v", answer.StatusCode, err)
	}
	return map[string]string{
		"admin": w.admin.token, "demo": w.demo.token, "other": w.other.token, "nobody": "", "nonsense": "nonsense",
		"revoked": revoked, "expired": strings.TrimSpace(string(expired)),
	}
}

// cachedThere waits until a front has cached as many images.
func (f front) cachedThere(tb testing.TB, token string, images ...string) {
	tb.Helper()
	within(tb, "the images are cached at "+f.url, func() bool {
		s := f.state(tb, token)
		return len(s.Queued) == 0 && !slices.ContainsFunc(images, func(id string) bool { return !s.has(id) })
	})
}

// cacheState is what GET /v2/cache tells.
type cacheState struct {
	Cached []struct {
		ImageID string `json:"image_id"`
		Hits    int64
		Size    int64
	} `json:"cached_images"`
	Queued []string `json:"queued_images"`
}

func (s cacheState) has(id string) bool {
	for _, c := range s.Cached {
		if c.ImageID == id {
			return true
		}
	}
	return false
}

func (f front) state(tb testing.TB, token string) (s cacheState) {
	tb.Helper()
	(&cloud{token: token}).must(tb, call{"GET", f.url + "/v2/cache", nil}, &s)
	return s
}

// beginFront is begin with a daemon in front of Glance.
func beginFront(tb testing.TB) (*world, front) {
	tb.Helper()
	f := front{fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(tb)), map[string]string{}}
	w := worldOf(tb, frontTables(tb, f.url))
	w.daemon.Start(tb)
	return w, f
}

// glanceCached is a Glance with its cache and the cache's API on, and nothing in it.
func (w *world) glanceCached(tb testing.TB) front {
	tb.Helper()
	f := front{lab.url(7, ""), map[string]string{}}
	lab.do(tb, "start", "glance-cached")
	tb.Cleanup(func() { lab.do(tb, "kill", "glance-cached") })
	w.admin.must(tb, call{"DELETE", f.url + "/v2/cache", nil}, nil)
	return f
}

// Every call and error of the cache API, and of the data of images, is answered as a Glance with its cache on answers it.
func TestAnswersBesideGlance(t *testing.T) {
	w, ours := beginFront(t)
	defer w.end(t)
	theirs := w.glanceCached(t)
	images := w.prepare(t, ours, theirs)
	tokens := w.tokens(t)
	for _, a := range slices.Concat(dataCalls, cacheCalls) {
		for name, id := range images {
			a.path = strings.ReplaceAll(a.path, "{"+name+"}", id)
		}
		t.Run(a.name+" by "+cmp.Or(a.as, "nobody"), func(t *testing.T) { a.compare(t, ours, theirs, tokens[cmp.Or(a.as, "nobody")]) })
	}
}

// prepare makes images, by what is special about them, and has them cached at both fronts, but one.
func (w *world) prepare(t *testing.T, ours, theirs front) map[string]string {
	t.Helper()
	make := func(seed uint64, more object) string {
		return w.upload(t, newDisk(t, seed, 2*mib, mib).path, "raw", more)
	}
	private := object{"visibility": "private"}
	images := map[string]string{"mine": make(31, private), "community": make(32, object{"visibility": "community"}), "deactivated": make(33, private), "uncached": make(34, private),
		"absent": "99999999-9999-4999-8999-999999999999"}
	ours.own["deleted"], theirs.own["deleted"] = make(35, private), make(36, private)
	var queued struct{ ID string }
	w.demo.must(t, call{"POST", glanceURL(""), object{"name": t.Name(), "disk_format": "raw", "container_format": "bare"}}, &queued)
	w.images = append(w.images, queued.ID)
	images["queued"] = queued.ID
	images["MINE"], images["bare"] = strings.ToUpper(images["mine"]), strings.ReplaceAll(images["mine"], "-", "")
	for _, f := range []front{ours, theirs} {
		there := []string{images["mine"], images["community"], images["deactivated"], f.own["deleted"]}
		for _, id := range there {
			w.admin.must(t, call{"PUT", f.url + "/v2/cache/" + id, nil}, nil)
		}
		f.cachedThere(t, w.admin.token, there...)
		w.demo.must(t, call{"DELETE", f.url + "/v2/images/" + f.own["deleted"], nil}, nil)
	}
	w.demo.must(t, call{"POST", glanceURL("/" + images["deactivated"] + "/actions/deactivate"), nil}, nil)
	return images
}
