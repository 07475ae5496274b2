package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

const (
	// requestsEvery is the time between two requests while the configuration changes.
	requestsEvery = 10 * time.Millisecond
	// mostFlying bounds how many are not answered: a machine that is slower than they come would have thousands at last.
	mostFlying = 50
)

// What a reload changes under a hundred requests a second fails none of them, and loses no fill, not even one of a source that it
// takes away.
func TestReloadsUnderRequests(t *testing.T) {
	needDaemon(t)
	web, more := harness.ServeWeb(t), harness.ServeWeb(t)
	disk := webImage(t, web, "long.raw", 8*mib)
	fresh := webImage(t, more, "fresh.raw", imageSize)
	reached, release := web.HoldAt(t, "long.raw", 4*mib)
	d := cloning(t, harness.Config{Web: map[string]string{"web": web.URL}})
	ref, _ := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: ref, Name: "first"})
	d.CLI(t, "entry", "pin", d.Entries(t)[0].ID)
	before := tables(t, d)

	c := d.Client(t)
	var filled plugin.Answer
	var failed error
	var fill sync.WaitGroup
	fill.Go(func() {
		filled, failed = c.CreateVolume(t.Context(), api.CreateRequest{Image: "web:long.raw", Volume: "long"}, nil)
	})
	<-reached
	asked := ask(t, d, ref)
	golden := filepath.Join(d.Config.Images, "golden.raw")
	harness.SmallDisk(t, golden, 5, imageSize, imageSize)
	hourAgo := time.Now().Add(-time.Hour) // one that is still written is not followed
	if err := os.Chtimes(golden, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}

	source := func(name, url string) string {
		return fmt.Sprintf("[[image_source]]\nname = %q\nkind = \"http\"\nurl = %q\n", name, url)
	}
	withoutWeb := strings.Replace(before, source("web", web.URL), source("more", more.URL), 1)
	bounded := strings.Replace(before, "[[backend]]\n", "[[backend]]\nmax_count = 3\nmax_waiting = 50\n", 1)
	limited := strings.Replace(before, `name = "web"`, "name = \"web\"\nmax_fills = 1\nmax_bandwidth = \"1GiB\"", 1)
	following := before + "[[follow]]\nsource = \"library\"\npattern = \"golden*\"\nevery = \"10s\"\nbackends = [\"local\"]\n"
	second := before + fmt.Sprintf("[[backend]]\nname = \"second\"\nkind = \"file\"\npath = %q\n", filepath.Join(filepath.Dir(d.Config.Volumes), "second"))
	for _, next := range []struct{ text, changed string }{
		{bounded, "backend local: max_count backend local: max_waiting"},
		{limited, "image_source web: max_bandwidth image_source web: max_fills backend local: max_count backend local: max_waiting"},
		{following, "follow image_source web: max_bandwidth image_source web: max_fills"},
		{second, "follow backend second"},
		{withoutWeb, "image_source more image_source web backend second"},
	} {
		if got := reload(t, d, c, next.text); strings.Join(got.Changed, " ") != next.changed || len(got.NeedsRestart) > 0 {
			t.Errorf("reload: got %+v, want that %s changed", got, next.changed)
		}
		if strings.Contains(next.text, "[[follow]]") {
			harness.Until(t, "the followed image is cached", func() bool { return isReady(d.Entries(t), "library:golden.raw") })
		}
		if next.text == second {
			comes(t, c)
		}
		asked.await(t, 10)
	}
	for _, text := range []string{before, second, withoutWeb, limited, withoutWeb} {
		reload(t, d, c, text)
		asked.await(t, 10)
	}
	write(t, d, "fill_limit = 0\n")
	if _, err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("a file that is wrong: %v", err)
	}
	a, err := c.CreateVolume(t.Context(), api.CreateRequest{Image: "more:fresh.raw", Volume: "fresh"}, nil)
	if err != nil || a.Outcome != plugin.Filled {
		t.Errorf("of a source that is new: %+v, %v", a, err)
	}
	harness.SameContent(t, a.Path, fresh, imageSize)
	if _, err := c.CreateVolume(t.Context(), api.CreateRequest{Image: "web:long.raw", Volume: "gone"}, nil); err == nil {
		t.Error("a source that is gone still has images")
	}
	release()
	fill.Wait()
	if failed != nil || filled.Outcome != plugin.Filled {
		t.Fatalf("the fill that went on: %+v, %v", filled, failed)
	}
	harness.SameContent(t, filled.Path, disk, 8*mib)
	asked.stop(t)
	d.CLI(t, "entry", "delete", "--all", "--backend", "second", "--yes")
	d.Consistent(t)
}

// comes checks that requests find a backend that has just come.
func comes(t *testing.T, c *api.Client) {
	t.Helper()
	for n, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		a, err := c.CreateVolume(t.Context(), api.CreateRequest{Backend: "second", Image: "library:golden.raw", Volume: backends.VolumeName(fmt.Sprintf("second-%d", n))}, nil)
		if err != nil || a.Outcome != want {
			t.Errorf("on a backend that has come: %+v, %v, want %s", a, err, want)
		}
	}
}

func isReady(entries []plugin.EntryView, ref string) bool {
	return slices.ContainsFunc(entries, func(e plugin.EntryView) bool { return e.State == "ready" && slices.Contains(e.ImageIDs, ref) })
}

// asking are requests for volumes of an image that is cached, one every requestsEvery, each by itself, as long as fewer than mostFlying
// are not answered.
type asking struct {
	end    chan struct{}
	places chan struct{} // one for each that flies
	asker  sync.WaitGroup
	flying sync.WaitGroup

	mu      sync.Mutex // guards what follows
	answers map[string]int
	all     int
}

func ask(t *testing.T, d *harness.Daemon, ref string) *asking {
	t.Helper()
	a := &asking{end: make(chan struct{}), places: make(chan struct{}, mostFlying), answers: make(map[string]int)}
	c := d.Client(t)
	a.asker.Go(func() {
		tick := time.NewTicker(requestsEvery)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-a.end:
				return
			case <-tick.C:
			}
			select {
			case <-a.end:
				return
			case a.places <- struct{}{}:
			}
			a.flying.Go(func() {
				defer func() { <-a.places }()
				got, err := c.CreateVolume(t.Context(), api.CreateRequest{Backend: "local", Image: ref, Volume: backends.VolumeName(fmt.Sprintf("v%d", n))}, nil)
				a.note(fmt.Sprintf("%s %v", got.Outcome, err))
			})
		}
	})
	return a
}

func (a *asking) note(answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[answer]++
	a.all++
}

func (a *asking) answered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

// await returns once so many more were answered.
func (a *asking) await(t *testing.T, more int) {
	t.Helper()
	before := a.answered()
	harness.Until(t, "requests are answered", func() bool { return a.answered() >= before+more })
}

// stop ends them, and checks that each was a hit.
func (a *asking) stop(t *testing.T) {
	t.Helper()
	close(a.end)
	a.asker.Wait()
	a.flying.Wait()
	t.Logf("answers: %v", a.answers)
	if len(a.answers) != 1 || a.answers["hit <nil>"] == 0 {
		t.Errorf("answers: %v, want hits alone", a.answers)
	}
}

// tables is a daemon's whole configuration file.
func tables(t *testing.T, d *harness.Daemon) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.Dir, "clonecache.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, d *harness.Daemon, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.Dir, "clonecache.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reload lets a file take effect.
func reload(t *testing.T, d *harness.Daemon, c *api.Client, text string) api.Reloaded {
	t.Helper()
	write(t, d, text)
	r, err := c.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A backend that comes and cannot be opened yet is told of, with the reason.
func TestAReloadTellsWhatIsNotOpenYet(t *testing.T) {
	needDaemon(t)
	d := cloning(t, harness.Config{})
	ref, _ := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: ref, Name: "first"})
	before := tables(t, d)
	second := filepath.Join(filepath.Dir(d.Config.Volumes), "second")
	if err := os.WriteFile(second, nil, 0o644); err != nil { // where its directory is to be
		t.Fatal(err)
	}
	write(t, d, before+fmt.Sprintf("[[backend]]\nname = \"second\"\nkind = \"file\"\npath = %q\n", second))
	told := d.CLI(t, "reload")
	if told.Exit != 0 || !strings.Contains(told.Stdout, "in effect: backend second") || !strings.Contains(told.Stdout, "does not answer: second, which is tried again: ") {
		t.Errorf("reload: exit %d\n%s%s", told.Exit, told.Stdout, told.Stderr)
	}
	reload(t, d, d.Client(t), before)
	d.Consistent(t)
}
