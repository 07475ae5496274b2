// Package page proves the admin page in a real Chromium, on a real daemon.
package page

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// hostile is what an image is called: a page that took it for HTML would run it.
const hostile = `<img src=x onerror=alert(1)>.raw`

const readerToken, operatorToken = "token-of-the-reader-here", "token-of-the-operator-here"

// served is a daemon on TCP, with a web server whose images come as slowly as a test wants.
type served struct {
	*harness.Daemon
	url    string
	images string // the directory of the source "library"
	web    *harness.WebSource
}

func serve(t *testing.T) served {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	dir, web := t.TempDir(), harness.ServeWeb(t)
	for name, token := range map[string]string{"reader": readerToken, "operator": operatorToken} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	images := filepath.Join(dir, "images")
	if err := os.Mkdir(images, 0o755); err != nil {
		t.Fatal(err)
	}
	harness.SmallDisk(t, filepath.Join(images, hostile), 1, harness.MiB, harness.MiB)
	harness.SmallDisk(t, filepath.Join(web.Dir, "slow.raw"), 2, 8*harness.MiB, 8*harness.MiB)
	tables := "stall_timeout = \"1h\"\n" + // a source that a test holds, while a browser starts, has not stalled
		fmt.Sprintf("[[token]]\nfile = %q\nrole = \"reader\"\n[[token]]\nfile = %q\nrole = \"operator\"\n"+
			"[[image_source]]\nname = \"library\"\nkind = \"directory\"\npath = %q\n[[image_source]]\nname = \"web\"\nkind = \"http\"\nurl = %q\n"+
			"[[backend]]\nname = \"local\"\nkind = \"file\"\npath = %q\nmax_size = \"1GiB\"\nfallback = \"files\"\n[[file_cache]]\nname = \"files\"\npath = %q\n",
			filepath.Join(dir, "reader"), filepath.Join(dir, "operator"), images, web.URL, filepath.Join(dir, "volumes"), filepath.Join(dir, "files"))
	return served{harness.Start(t, harness.Config{Listen: "tcp://" + address, Tables: tables}), "http://" + address, images, web}
}

// visit is a browser's window, and what went wrong in it.
type visit struct {
	context.Context
	t   *testing.T
	url string

	mu       sync.Mutex
	problems []string
}

// open starts a browser.
func open(t *testing.T, address string) *visit {
	t.Helper()
	harness.NeedTools(t, "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("renderer-process-limit", "1"), chromedp.WSURLReadTimeout(3*time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(end)
	ctx, close := chromedp.NewContext(ctx)
	t.Cleanup(close)
	v := &visit{Context: ctx, t: t, url: address}
	chromedp.ListenTarget(ctx, v.notice)
	v.run(network.Enable(), log.Enable(), runtime.Enable())
	return v
}

// notice takes note of what a page should not do.
func (v *visit) notice(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		v.problems = append(v.problems, "exception: "+e.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			v.problems = append(v.problems, "console: "+e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		v.problems = append(v.problems, "console: "+string(e.Type))
	case *cdpage.EventJavascriptDialogOpening:
		v.problems = append(v.problems, "a dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || !strings.HasPrefix(e.Request.URL, v.url+"/") && u.Scheme != "data" {
			v.problems = append(v.problems, "a request to "+e.Request.URL)
		}
	}
}

// clean fails the test if anything was noticed.
func (v *visit) clean() {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range v.problems {
		v.t.Error(p)
	}
}

func (v *visit) run(actions ...chromedp.Action) {
	v.t.Helper()
	if err := chromedp.Run(v, actions...); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visit) goTo(path string) {
	v.t.Helper()
	v.run(chromedp.Navigate(v.url+path), chromedp.WaitReady("main"))
}

// sees waits until a script's expression is true, on whichever page the browser is by then.
func (v *visit) sees(what, expression string) {
	v.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(3 * time.Minute)
	for {
		var holds bool
		err := chromedp.Run(v, chromedp.Evaluate("!!("+expression+")", &holds))
		if err == nil && holds {
			return
		}
		select {
		case <-tick.C: // an error: the page is just being exchanged
		case <-limit:
			var text string
			_ = chromedp.Run(v, chromedp.Text("body", &text))
			v.t.Fatalf("%s: %v; the page says:\n%s", what, err, text)
		}
	}
}

func (v *visit) login(token string) {
	v.t.Helper()
	v.goTo("/ui/login")
	v.run(chromedp.SendKeys("#token", token), chromedp.Click("main button"), chromedp.WaitVisible("#wrong"))
}

// create asks for a volume, and waits for it in another goroutine.
func (d served) create(t *testing.T, image, volume string) (done <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	client := d.Client(t)
	go func() {
		_, err := client.CreateVolume(t.Context(), api.CreateRequest{Image: image, Volume: backends.VolumeName(volume)}, nil)
		ended <- err
	}()
	return ended
}

// One visit from the login to the logout: nothing is loaded from elsewhere, nothing is wrong in the console, what goes on is seen
// as it goes on, an entry is deleted after a question, and what an image is called stays text.
func TestTheAdminPage(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: tests that run the daemon are left out")
	}
	d := serve(t)
	v := open(t, d.url)
	v.goTo("/ui")
	v.sees("a login", `location.pathname == "/ui/login"`)
	v.login(operatorToken)

	reached, further := d.web.HoldAt(t, "slow.raw", 2*harness.MiB)
	v.goTo("/ui/fills")
	v.sees("no fill", `document.querySelector("progress") == null`)
	slow := d.create(t, "web:slow.raw", "v1")
	select {
	case <-reached:
	case err := <-slow:
		t.Fatalf("made before the image had come: %v", err)
	case <-v.Done():
		t.Fatal("the fill does not begin")
	}
	v.sees("a fill's progress", `document.querySelector("progress") != null && document.querySelector("progress").value > 0 && document.querySelector("progress").value <= 2*1024*1024`)
	reached, release := d.web.HoldAt(t, "slow.raw", 6*harness.MiB)
	further()
	select {
	case <-reached:
	case <-v.Done():
		t.Fatal("the fill does not go on")
	}
	v.sees("its progress moves", `document.querySelector("progress") != null && document.querySelector("progress").value > 3*1024*1024 && document.querySelector("progress").value <= 6*1024*1024`)
	release()
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	v.sees("the fill's end", `document.querySelector("progress") == null`)

	v.goTo("/ui/events")
	v.sees("events are followed", `!document.getElementById("following").hidden`)
	if err := <-d.create(t, "library:"+hostile, "v2"); err != nil {
		t.Fatal(err)
	}
	v.sees("a new event", `document.getElementById("events").innerText.includes("<img src=x onerror=alert(1)>")`)
	v.sees("text alone", `document.querySelectorAll("main img").length == 0`)

	v.goTo("/ui/entries")
	v.sees("the image's name", `document.querySelector("main").innerText.includes("library:<img src=x onerror=alert(1)>.raw") && document.querySelectorAll("main img").length == 0`)
	v.run(chromedp.Click(`//main//a[contains(., "onerror")]`, chromedp.BySearch), chromedp.WaitVisible(".acts"),
		chromedp.Click(`//a[contains(., "Delete")]`, chromedp.BySearch), chromedp.WaitVisible(".danger"))
	if n := len(d.Entries(t)); n != 2 {
		t.Fatalf("%d entries before the question is answered, want 2", n)
	}
	v.run(chromedp.Click(".danger"))
	v.sees("the entry is deleted", `document.querySelector(".said") != null && document.querySelector(".said").innerText.includes("deleted") && !document.querySelector("main").innerText.includes("onerror")`)
	if n := len(d.Entries(t)); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	v.run(chromedp.Click(`//main//a[contains(., "slow.raw")]`, chromedp.BySearch), chromedp.WaitVisible("#happened"))
	v.sees("what happened to the entry", `document.querySelector("#happened").parentElement.innerText.includes("filled")`)
	v.run(chromedp.Click(`//main//td/a[. = "v1"]`, chromedp.BySearch), chromedp.WaitVisible("#requests"))
	v.sees("the story of its volume", `document.querySelector("main").innerText.includes("web:slow.raw") && document.querySelectorAll("#requests ~ .wide tbody tr").length == 1`)
	v.goTo("/ui")
	v.sees("plots, whose bars the stylesheet colours", `document.querySelectorAll("svg.plot[role=img]").length == 2 && document.querySelector("svg.plot rect").getBoundingClientRect().width > 1 && getComputedStyle(document.querySelector("svg.plot rect")).fill != "rgb(0, 0, 0)"`)
	v.looks(d)
	v.run(chromedp.Click(`//button[contains(., "Log out")]`, chromedp.BySearch))
	v.sees("a login", `location.pathname == "/ui/login"`)
	v.login(readerToken)
	v.goTo("/ui/entry/" + d.Entries(t)[0].ID)
	v.sees("no way to delete it", `document.querySelector("main dl") != null && document.querySelector(".acts") == null`)
	v.clean()
	v.goTo("/ui/entry/" + d.Entries(t)[0].ID + "/delete")
	v.sees("a refusal", `document.querySelector("[role=alert]").innerText.includes("needs the role operator")`)
}
