package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin/api"
)

// corpus are names of images that a page which took them for HTML, for an address or for a script would run, open or break at.
var corpus = []string{
	hostile, `"><svg onload=alert(2)>.raw`, `' onmouseover='alert(3)' x='.raw`, `<script>alert(4)<!--.raw`,
	`&lt;b onclick=alert(5)&gt;.raw`, `javascript:alert(6).raw`, `{{.Who}}${7}.raw`,
}

// foreign counts what only such a name can have put onto a page, and addresses that lead elsewhere.
const foreign = `document.querySelectorAll("main img, main script, main b, main svg:not(.plot), [onload], [onerror], [onmouseover], [onclick], a[href^='javascript:']").length +
	[...document.querySelectorAll("a[href], form[action]")].filter(e => new URL(e.href || e.action).origin != location.origin).length`

// Whatever images and what went wrong with them are called is text, on each page, and where the page's own script writes it.
func TestHostileNamesStayTextInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: tests that run the daemon are left out")
	}
	d := serve(t)
	var missing []string
	for n, name := range corpus[1:] { // the first one is there
		harness.SmallDisk(t, filepath.Join(d.images, name), uint64(n)+10, harness.MiB, harness.MiB)
		missing = append(missing, "library:not there "+name)
	}
	v := open(t, d.url)
	v.login(operatorToken)
	v.goTo("/ui/events")
	v.sees("events are followed", `!document.getElementById("following").hidden`)
	for n, name := range corpus {
		if err := <-d.create(t, "library:"+name, fmt.Sprintf("v%d", n)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.Client(t).Prefetch(t.Context(), api.PrefetchRequest{Images: missing}); err != nil {
		t.Fatal(err)
	}
	for _, page := range []struct {
		path  string
		shows []string
	}{
		{"", corpus}, // as its script has written it
		{"/ui/events", corpus}, {"/ui/entries", corpus}, {"/ui/fills", missing}, {"/ui", nil},
		{"/ui/entry/" + d.Entries(t)[0].ID, nil}, {"/ui/volume?backend=local&volume=v1", corpus[1:2]},
	} {
		if page.path != "" {
			v.goTo(page.path)
		}
		for _, name := range page.shows {
			v.sees(page.path+" shows "+name, shows(t, name))
		}
		v.sees(page.path+" has nothing of theirs", foreign+" == 0")
	}
	v.clean()
}

// shows tells whether the page has a text.
func shows(t *testing.T, text string) string {
	t.Helper()
	literal, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`document.querySelector("main").textContent.includes(%s)`, literal)
}

// A page of another site, in the browser of somebody who is logged in, gets nothing done.
func TestAFormOfAnotherSiteDoesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: tests that run the daemon are left out")
	}
	d := serve(t)
	if err := <-d.create(t, "library:"+hostile, "v1"); err != nil {
		t.Fatal(err)
	}
	id := d.Entries(t)[0].ID
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<main><form method=post action="%s/ui/entry/%s/delete"><input name=force value=true><button>You have won</button></form></main>`, d.url, id)
	}))
	t.Cleanup(evil.Close)
	v := open(t, d.url)
	v.login(operatorToken)
	v.clean()
	elsewhere := strings.Replace(evil.URL, "127.0.0.1", "localhost", 1) // another site, as browsers see it
	v.run(chromedp.Navigate(elsewhere), chromedp.Click("button", chromedp.NodeVisible))
	v.sees("an answer of the daemon", fmt.Sprintf(`location.origin == %q && document.body.innerText != "" && !document.body.innerText.includes("The entry is deleted")`, d.url))
	if n := len(d.Entries(t)); n != 1 {
		t.Fatalf("%d entries, want the one that the other site would have deleted", n)
	}
	v.goTo("/ui/entry/" + id)
	v.sees("still logged in", `document.querySelector(".acts") != null`)
}

// Who lets no script run reads the same: entries, a fill as far as it is, and the newest events.
func TestThePageReadsWithoutScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: tests that run the daemon are left out")
	}
	d := serve(t)
	if err := <-d.create(t, "library:"+hostile, "v1"); err != nil {
		t.Fatal(err)
	}
	reached, release := d.web.HoldAt(t, "slow.raw", 2*harness.MiB)
	slow := d.create(t, "web:slow.raw", "v2")
	select {
	case <-reached:
	case err := <-slow:
		t.Fatalf("made before the image had come: %v", err)
	}
	v := open(t, d.url)
	v.run(emulation.SetScriptExecutionDisabled(true))
	v.login(operatorToken)
	for path, text := range map[string]string{"/ui": "Nothing.", "/ui/entries": "ready", "/ui/events": "filled", "/ui/fills": "web:slow.raw"} {
		v.goTo(path)
		v.reads(path, text)
	}
	release()
	if err := <-slow; err != nil {
		t.Error(err)
	}
	v.clean()
}

// reads looks for a text without a script of the page's.
func (v *visit) reads(path, text string) {
	v.t.Helper()
	var said string
	if err := chromedp.Run(v, chromedp.ActionFunc(func(ctx context.Context) error {
		return chromedp.Text("main", &said, chromedp.ByQuery).Do(ctx)
	})); err != nil || !strings.Contains(said, text) {
		v.t.Errorf("%s: %v; it lacks %q:\n%s", path, err, text, said)
	}
}
