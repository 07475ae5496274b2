package api_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// browser keeps cookies as browsers do, and runs no script.
type browser struct {
	t *testing.T
	http.Client
	url string
}

func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, Client: http.Client{Jar: jar, Timeout: time.Minute}, url: url}
}

// does sends a request, follows redirects, and is what it ends at.
func (b *browser) does(method, path string, form url.Values) (status int, body string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (b *browser) login(token string) (status int, body string) {
	b.t.Helper()
	return b.does(http.MethodPost, "/ui/login", url.Values{"token": {token}})
}

// csrf is what the page's forms bring back.
func csrf(t *testing.T, body string) string {
	t.Helper()
	found := regexp.MustCompile(`name="csrf" value="([0-9a-f]{64})"`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no form in %s", body)
	}
	return found[1]
}

// A person logs in with a token, sees what his role lets him see, and is nobody once he has logged out.
func TestLoginAndLogout(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	of := startBearers(t, d)
	b := newBrowser(t, of.url)
	if _, body := b.does("GET", "/ui/entries", nil); !strings.Contains(body, `name="token"`) {
		t.Errorf("nobody sees %s", body)
	}
	if status, body := b.login("token-of-nobody-at-all"); status != http.StatusUnauthorized || !strings.Contains(body, "nobody&#39;s token") {
		t.Errorf("a wrong token: %d %s", status, body)
	}
	if status, body := b.login(of.tokens[api.Reader]); status != http.StatusOK || !strings.Contains(body, "the-reader (reader)") {
		t.Fatalf("login: %d %s", status, body)
	}
	_, page := b.does("GET", "/ui/entry/e1", nil)
	if strings.Contains(page, "/ui/entry/e1/pin") || !strings.Contains(page, "lib:a") {
		t.Errorf("a reader is offered to change something, or sees nothing: %s", page)
	}
	if status, _ := b.does("POST", "/v1/prune", nil); status != http.StatusUnauthorized {
		t.Errorf("a cookie changes something through the API: %d", status)
	}
	if status, _ := b.does("GET", "/v1/events?limit=1", nil); status != http.StatusOK {
		t.Errorf("the page's script cannot follow events: %d", status)
	}
	if status, body := b.does("POST", "/ui/logout", url.Values{"csrf": {csrf(t, page)}}); status != http.StatusOK || !strings.Contains(body, `name="token"`) {
		t.Errorf("logout: %d %s", status, body)
	}
	if _, body := b.does("GET", "/ui", nil); !strings.Contains(body, `name="token"`) {
		t.Errorf("after the logout: %s", body)
	}
}

// What a form asks for is done once: by whom the page was shown to, and not by a reader, nor for another site's page.
func TestFormsNeedTheirPage(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	of := startBearers(t, d)
	reader, operator := newBrowser(t, of.url), newBrowser(t, of.url)
	_, readers := reader.login(of.tokens[api.Reader])
	operator.login(of.tokens[api.Operator])
	if status, body := reader.does("POST", "/ui/entry/e1/delete", url.Values{"csrf": {csrf(t, readers)}}); status != http.StatusForbidden || !strings.Contains(body, "needs the role operator") {
		t.Errorf("a reader deletes: %d %s", status, body)
	}
	for name, value := range map[string]string{"none": "", "another's": csrf(t, readers)} {
		if status, _ := operator.does("POST", "/ui/entry/e1/delete", url.Values{"csrf": {value}}); status != http.StatusForbidden {
			t.Errorf("a form with %s token: %d", name, status)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, of.url+"/ui/login", strings.NewReader("token="+of.tokens[api.Admin]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://evil.example")
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a form of another site: %v, %v", resp, err)
	} else if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	_, page := operator.does("GET", "/ui/entry/e2/delete", nil)
	if !strings.Contains(page, "2 volumes depend on it") {
		t.Errorf("the question does not say what depends on it: %s", page)
	}
	if status, body := operator.does("POST", "/ui/entry/e2/delete", url.Values{"csrf": {csrf(t, page)}, "force": {"true"}}); status != http.StatusOK || !strings.Contains(body, "The entry is deleted.") || strings.Contains(body, "lib:b") {
		t.Errorf("delete: %d %s", status, body)
	}
	if len(fake.acts) != 1 || fake.acts[0].Who != "the-operator" || fake.acts[0].EntryID != "e2" {
		t.Errorf("got acts %+v", fake.acts)
	}
}

// What is in quarantine is shown so everywhere, and stays there where it is read again in vain.
func TestThePageShowsWhatIsDamaged(t *testing.T) {
	fake := newFake()
	at := time.Now()
	fake.entries = []plugin.EntryView{{ID: "bad", ImageIDs: []string{"lib:a"}, State: "ready", QuarantinedAt: &at, Quarantine: "it differs", MadeFrom: []backends.VolumeName{"web-1"}}}
	d := startDaemon(t, fake, api.ServerConfig{})
	of := startBearers(t, d)
	operator := newBrowser(t, of.url)
	_, overview := operator.login(of.tokens[api.Operator])
	_, list := operator.does("GET", "/ui/entries", nil)
	_, page := operator.does("GET", "/ui/entry/bad", nil)
	_, after := operator.does("POST", "/ui/entry/bad/revalidate", url.Values{"csrf": {csrf(t, page)}})
	for what, test := range map[string]struct{ body, want string }{
		"overview": {overview, "damaged, and in quarantine: 1"},
		"list":     {list, "in quarantine"},
		"entry":    {page, "it differs"},
		"volumes":  {page, "web-1"},
		"read":     {after, "stays in quarantine"},
	} {
		if !strings.Contains(test.body, test.want) {
			t.Errorf("%s does not say %q: %s", what, test.want, test.body)
		}
	}
}

// The session's cookie is out of reach of scripts and of other sites, and a page loads what this server has alone.
func TestPagesAreSealed(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	of := startBearers(t, d)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, of.url+"/ui/login", strings.NewReader("token="+of.tokens[api.Reader]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cookie := resp.Header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q lacks %s", cookie, want)
		}
	}
	login, err := http.Get(of.url + "/ui/login")
	if err != nil {
		t.Fatal(err)
	}
	defer login.Body.Close()
	policy := login.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || login.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("got policy %q", policy)
	}
}

// Whatever images, volumes and errors are called is shown as text.
func TestHostileNamesAreText(t *testing.T) {
	hostile := []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `</title><script>`, `{{.Who}}`, "\u202egnp.exe", `' onmouseover='alert(1)`}
	fake := newFake()
	fake.entries = nil
	for _, name := range hostile {
		fake.entries = append(fake.entries, plugin.EntryView{ID: "e-" + name, ImageIDs: []string{"lib:" + name}, State: "ready", Error: name})
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	pages := []string{"/ui", "/ui/fills", "/ui/entries", "/ui/entries?q=" + url.QueryEscape(hostile[0]), "/ui/entries?sort=held&backend=" + url.QueryEscape(hostile[1]), "/ui/events",
		"/ui?since=" + url.QueryEscape(hostile[0]), "/ui/entry/" + url.PathEscape("e-"+hostile[1])}
	for _, page := range pages {
		_, body := d.raw(t, "GET", page, "")
		for _, bad := range []string{"<script>", "<img", "onerror=alert(1)>", " onmouseover='"} {
			if strings.Contains(strings.ReplaceAll(body, `<script src="/ui/page.js" defer></script>`, ""), bad) {
				t.Errorf("%s has %s: %s", page, bad, body)
			}
		}
		if !strings.Contains(body, "</html>") {
			t.Errorf("%s is not whole: %s", page, body)
		}
	}
}

// The list is cut into pages, by the catalog where it can do so.
func TestEntriesComeInPages(t *testing.T) {
	fake := newFake()
	fake.entries = nil
	for i := range 120 {
		fake.entries = append(fake.entries, plugin.EntryView{ID: string(rune('A'+i/26)) + string(rune('a'+i%26)), ImageIDs: []string{"lib:x"}, State: "ready", Hits: int64(i)})
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	_, first := d.raw(t, "GET", "/ui/entries", "")
	if !strings.Contains(first, "after=Bx") || fake.filter.Limit != 51 {
		t.Errorf("asked for %+v; the next page is not that after Bx", fake.filter)
	}
	for i := range fake.entries {
		fake.entries[i].ListPlace = fmt.Sprintf("%d:%s", i, fake.entries[i].ID)
	}
	_, sorted := d.raw(t, "GET", "/ui/entries?q=x%26&sort=hits&after=7%3ABx", "")
	want := plugin.EntryFilter{Contains: "x&", Sort: plugin.SortHits, After: "7:Bx", Limit: 51}
	if fake.filter != want || !strings.Contains(sorted, "after=49%3ABx") || !strings.Contains(sorted, "q=x%26") {
		t.Errorf("asked for %+v, want %+v; or the next page is not that after Bx: %s", fake.filter, want, sorted)
	}
	fake.entries = fake.entries[:50]
	if _, last := d.raw(t, "GET", "/ui/entries?sort=odd", ""); strings.Contains(last, "after=") || fake.filter.Sort != plugin.SortAge {
		t.Errorf("the last page has a next one, or %+v was asked for", fake.filter)
	}
}

// A person reaches a socket by a tunnel: a page whose name was made to resolve to that tunnel does not. Programs come by any name.
func TestATunnelIsForThisHostsNames(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket)
	}}}
	defer client.CloseIdleConnections()
	const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	for _, tt := range []struct {
		name, method, url, agent, origin string
		want                             int
	}{
		{"a person", "GET", "http://localhost:8780/v1/entries", firefox, "", 200},
		{"a page looks", "GET", "http://evil.example:8780/v1/entries", firefox, "", 403},
		{"a page deletes", "DELETE", "http://evil.example:8780/v1/entries/e1", "", "http://evil.example:8780", 403},
		{"a program", "GET", "http://storage-1.example.org/v1/entries", "curl/8.5", "", 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, tt.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User-Agent", tt.agent)
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != tt.want {
			t.Errorf("%s: %d, %v, want %d", tt.name, answer.StatusCode, err, tt.want)
		}
	}
}

// What it did over time is drawn by the server and told as a table; what is not kept is said.
func TestThePageDrawsACourse(t *testing.T) {
	now := time.Date(2030, 1, 10, 12, 34, 0, 0, time.UTC)
	d := startDaemon(t, newFake(), api.ServerConfig{Now: func() time.Time { return now }})
	_, page := d.raw(t, "GET", "/ui", "")
	for _, want := range []string{
		`aria-label="Hit ratio, by hour; `, `aria-label="Bytes saved, by hour; `, `viewBox="0 0 250 100"`, // 25 hours, since the first and the last are not whole
		`<rect x="221.0" y="0.0" width="8" height="100.0"/>`, `<rect x="231.0" y="99.0" width="8" height="1.0"/>`, // all hits; none, which is something else than no request
		`<td>2030-01-10 10:00</td><td class="n">100.0 %</td><td class="n">3</td><td class="n">0</td><td class="n">3.0 MiB</td>`, "report_retention",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s: %s", want, page)
		}
	}
	if n := strings.Count(page, "<rect"); n != 3 {
		t.Errorf("%d bars, want two of the ratio and one of what was saved", n)
	}
	if _, month := d.raw(t, "GET", "/ui?since=30d", ""); !strings.Contains(month, "Hit ratio, by day;") {
		t.Errorf("a month is not told by day: %s", month)
	}
	if _, none := d.raw(t, "GET", "/ui?since=1m", ""); !strings.Contains(none, "No request was served") || strings.Contains(none, "<svg") {
		t.Errorf("a minute without requests: %s", none)
	}
}

// A fill that waits for its place does not look like one that stands still.
func TestThePageTellsWhatAFillWaitsFor(t *testing.T) {
	fake := newFake()
	fake.fills = []plugin.FillView{{Backend: "local", ImageID: "lib:a", TotalBytes: 100, WaitsFor: "backend"}, {Backend: "local", ImageID: "lib:b", TotalBytes: 100}}
	d := startDaemon(t, fake, api.ServerConfig{})
	if _, page := d.raw(t, "GET", "/ui/fills", ""); strings.Count(page, "waits: backend") != 1 || strings.Count(page, "<progress") != 1 {
		t.Errorf("the page: %s", page)
	}
}

// An entry's page tells what happened to it, and leads to the stories of volumes, gone ones too; what they are called is text.
func TestThePageTellsStories(t *testing.T) {
	const hostile = `"><img src=x onerror=alert(1)>&volume=other`
	fake := newFake()
	fake.entries = []plugin.EntryView{{ID: "e1", Backend: "local", ImageIDs: []string{"lib:a"}, State: "ready", Dependents: []backends.VolumeName{hostile}}}
	fake.happened = []plugin.Event{{ID: 7, Kind: "filled", Backend: "local", Volume: hostile, TookMS: 3214, Detail: hostile, Who: "nobody<b>"}}
	d := startDaemon(t, fake, api.ServerConfig{})
	_, entry := d.raw(t, "GET", "/ui/entry/e1", "")
	link := "/ui/volume?" + url.Values{"backend": {"local"}, "volume": {hostile}}.Encode()
	if n := strings.Count(html.UnescapeString(entry), `href="`+link+`"`); n != 2 || !strings.Contains(entry, "3.2 s") || strings.Contains(entry, "<img") || strings.Contains(entry, "<b>") {
		t.Errorf("%d links to %s: %s", n, link, entry)
	}
	if status, story := d.raw(t, "GET", link, ""); status != 200 || fake.told != hostile || strings.Contains(story, "<img") || !strings.Contains(story, "What happened: table") || !strings.Contains(story, "it is not there") {
		t.Errorf("the story of %q: %d %s", fake.told, status, story)
	}
	if status, none := d.raw(t, "GET", "/ui/volume?backend=local&volume=none", ""); status != http.StatusNotFound || !strings.Contains(none, "That did not work") {
		t.Errorf("a volume that nobody knows: %d %s", status, none)
	}
}
