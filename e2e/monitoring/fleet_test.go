//go:build databases

package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
)

// fleet are three daemons on one catalog on MariaDB, what they ask and tell, and a Prometheus that scrapes all three.
type fleet struct {
	watch
	db      *harness.Database
	catalog harness.Catalog
	images  string // the directory of the source "library"

	a, b, c      *harness.Daemon
	fast, small  *fstest.Filesystem // of a's backends fast and second, and of b's backend small
	far, plain   *fstest.Filesystem // of b's backend far, and of c's backend plain
	state        *fstest.Filesystem // of b's state_dir
	web          *harness.WebSource // "web", with any image that is asked for; a reads one at a time
	mirror       *outside           // the source "mirror" of a
	pager, books *outside           // a's webhooks
	booked       *answers           // what books says
	keystone     *outside           // of c's internal tenant
}

const imageSize = harness.MiB

// newFleet starts it: what stays away at first are the mirror, the pager and Keystone.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{images: t.TempDir(), web: harness.ServeWeb(t), booked: answering(200)}
	f.db = &harness.Database{Dir: fmt.Sprintf("/tmp/cc-alerts-db-%d", os.Getpid()), Port: harness.FreePort(t)}
	f.db.Up(t)
	f.catalog = f.db.New(t)
	f.fast, f.small = fstest.New(t, fstest.XFS, fstest.MinXFS), fstest.New(t, fstest.XFS, fstest.MinXFS)
	f.far, f.plain, f.state = fstest.New(t, fstest.Ext4, 16*harness.MiB), fstest.New(t, fstest.Ext4, 16*harness.MiB), fstest.New(t, fstest.Ext4, 16*harness.MiB)
	for n, name := range []string{"one.raw", "two.raw", "three.raw"} {
		harness.SmallDisk(t, filepath.Join(f.images, name), uint64(n), imageSize, imageSize)
	}
	harness.SmallDisk(t, filepath.Join(f.web.Dir, "any.raw"), 9, imageSize/4, imageSize/4)
	f.surround(t)
	f.start(t)
	return f
}

// surround makes what daemons ask and tell.
func (f *fleet) surround(t *testing.T) {
	t.Helper()
	var identity string
	f.mirror = newOutside(t, sameUnderEachName{f.web, "any.raw"})
	f.pager, f.books, f.keystone = newOutside(t, answering(200)), newOutside(t, f.booked), newOutside(t, keystone(&identity))
	identity = f.keystone.url()
	f.books.comes(t)
}

// start starts the daemons, and Prometheus.
func (f *fleet) start(t *testing.T) {
	t.Helper()
	var targets []string
	for _, d := range []struct {
		at     **harness.Daemon
		tables string
	}{{&f.a, f.tablesOfA(t)}, {&f.b, f.tablesOfB(2)}, {&f.c, f.tablesOfC(t)}} {
		address := freeAddress(t)
		targets = append(targets, address)
		*d.at = harness.New(t, harness.Config{Tables: f.shared(address) + d.tables})
	}
	f.metricsOfB = targets[1]
	if err := os.Symlink(f.state.Dir, f.b.State); err != nil {
		t.Fatal(err)
	}
	f.a.Migrate(t)
	for _, d := range []*harness.Daemon{f.a, f.b, f.c} {
		d.Start(t)
	}
	f.useQuota(t) // before anybody scrapes: the quota is asked for twice a minute
	f.prometheus = scrape{rules: quicker(t, shorter), every: scrapedEvery, targets: targets}.start(t)
}

// useQuota makes the two image-volumes that b may have.
func (f *fleet) useQuota(t *testing.T) {
	t.Helper()
	for _, image := range []string{"one", "two"} {
		f.b.Create(t, harness.Volume{Image: "library:" + image + ".raw", Name: image, Flags: []string{"--backend", "small"}})
	}
}

// Each minute of the rules is a quarter of a second.
const (
	shorter      = 240
	scrapedEvery = 500 * time.Millisecond
)

// shared is what all three have, but for where the metrics are.
func (f *fleet) shared(metrics string) string {
	return fmt.Sprintf("metrics_listen = [\"tcp://%s\"]\nevents_max = 40\n", metrics) + f.catalog.Text()
}

func (f *fleet) library() string {
	return fmt.Sprintf("[[image_source]]\nname = \"library\"\nkind = \"directory\"\npath = %q\n", f.images)
}

func fileBackend(name string, fs *fstest.Filesystem, more string) string {
	return fmt.Sprintf("[[backend]]\nname = %q\nkind = \"file\"\npath = %q\n%s", name, filepath.Join(fs.Dir, name), more)
}

func httpSource(name, url, more string) string {
	return fmt.Sprintf("[[image_source]]\nname = %q\nkind = \"http\"\nurl = %q\n%s", name, url, more)
}

func (f *fleet) tablesOfA(t *testing.T) string {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("both sides know it"), 0o600); err != nil {
		t.Fatal(err)
	}
	webhook := func(name string, o *outside) string {
		return fmt.Sprintf("[[webhook]]\nname = %q\nurl = %q\nsecret_file = %q\nkinds = [\"miss\"]\n", name, o.url(), secret)
	}
	return "[internal_tenant]\nkind = \"local\"\n" + f.library() + httpSource("web", f.anyName(t), "max_fills = 1\n") + httpSource("mirror", f.mirror.url(), "") +
		fileBackend("fast", f.fast, "") + fileBackend("second", f.fast, "") + webhook("pager", f.pager) + webhook("books", f.books)
}

// anyName is where the web's image is served under each name.
func (f *fleet) anyName(t *testing.T) string {
	t.Helper()
	o := newOutside(t, sameUnderEachName{f.web, "any.raw"})
	o.comes(t)
	return o.url()
}

// tablesOfB have a quota of so many image-volumes.
func (f *fleet) tablesOfB(volumes int) string {
	return fmt.Sprintf("[internal_tenant]\nkind = \"local\"\nproject_id = \"b\"\nmax_volumes = %d\n", volumes) + f.library() +
		fileBackend("small", f.small, "evict_for_quota = false\n") + fileBackend("far", f.far, "")
}

func (f *fleet) tablesOfC(t *testing.T) string {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("of the cache"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[internal_tenant]\nkind = \"openstack\"\nauth_url = %q\nuser = \"cache\"\nproject = \"cache\"\npassword_file = %q\n", f.keystone.url(), password) +
		f.library() + fileBackend("plain", f.plain, "")
}

// watch is what Prometheus says, asked for by many.
type watch struct {
	prometheus
	metricsOfB string

	mu   sync.Mutex
	at   time.Time
	now  map[string]bool
	seen map[string]bool
}

// firing are the alerts that fire, as of a moment ago.
func (w *watch) firing(t *testing.T) map[string]bool {
	t.Helper()
	const fresh = 200 * time.Millisecond
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.at) < fresh {
		return w.now
	}
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	if json.Unmarshal([]byte(w.get(t, "/api/v1/alerts")), &answer) != nil {
		return w.now // it does not answer yet
	}
	w.at, w.now = time.Now(), map[string]bool{}
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			w.now[a.Labels["alertname"]] = true
		}
	}
	return w.now
}

// fires waits until the alert does.
func (w *watch) fires(t *testing.T, alert string) {
	t.Helper()
	begun := time.Now()
	harness.Until(t, alert+" fires", func() bool { return w.firing(t)[alert] })
	w.note(alert)
	t.Logf("%s fired after %v", alert, time.Since(begun).Round(100*time.Millisecond))
}

// fired waits until the alert does, or has done so before.
func (w *watch) fired(t *testing.T, alert string) {
	t.Helper()
	harness.Until(t, alert+" has fired", func() bool {
		return w.has(t, `max_over_time(ALERTS{alertname="`+alert+`",alertstate="firing"}[1h])`)
	})
	w.note(alert)
}

// note notes that an alert was seen to fire.
func (w *watch) note(alert string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	w.seen[alert] = true
}

// ends waits until it fires no more, while all daemons are scraped.
func (w *watch) ends(t *testing.T, alert string) {
	t.Helper()
	begun := time.Now()
	harness.Until(t, alert+" ends", func() bool { return !w.firing(t)[alert] && w.has(t, "count(up == 1) == 3") })
	t.Logf("%s ended after %v", alert, time.Since(begun).Round(100*time.Millisecond))
}

// never are the shipped alerts that did not fire.
func (w *watch) never(t *testing.T) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, name := range alerts(t) {
		if !w.seen[name] {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
