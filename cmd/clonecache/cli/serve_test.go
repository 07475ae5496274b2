package cli

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/report"
)

func TestTheMainJob(t *testing.T) {
	d := startDaemon(t)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(d.image))

	first := query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	if first.DownloadedBytes != int64(len(d.image)) || first.Volume != "v1" {
		t.Errorf("first volume: got %+v", first)
	}
	second := query[plugin.Answer](t, d, exitOK, "volume", "create", "disk.raw", "--name", "v2", "--size", "2MiB", "--digest", digest)
	if second.DownloadedBytes != 0 || second.SizeBytes != 2<<20 {
		t.Errorf("second volume: got %+v", second)
	}
	for _, a := range []plugin.Answer{first, second} {
		got, err := os.ReadFile(a.Path)
		if err != nil {
			t.Fatal(err)
		}
		want := append(bytes.Clone(d.image), make([]byte, a.SizeBytes-int64(len(d.image)))...)
		if !bytes.Equal(got, want) {
			t.Errorf("volume %s does not have the image's content", a.Volume)
		}
	}
	if got := query[[]plugin.VolumeView](t, d, exitOK, "volume", "list"); len(got) != 2 {
		t.Errorf("volumes: got %+v, want v1 and v2", got)
	}
	if got := query[report.Report](t, d, exitOK, "report", "--since", "24h"); got.Total.Misses != 1 {
		t.Errorf("report: got %d misses, want 1", got.Total.Misses)
	}
	if got := query[plugin.Quota](t, d, exitOK, "quota"); got.Volumes.Limit != 5 {
		t.Errorf("quota: got limit %d, want 5", got.Volumes.Limit)
	}
	if got := query[plugin.Status](t, d, exitOK, "status"); !got.Ready || got.Version != "v1.2.3" || len(got.Backends) != 2 {
		t.Errorf("status: got %+v", got)
	}
	for _, args := range [][]string{{"check"}, {"check", "--deep"}, {"check", "--repair"}} {
		if got := query[plugin.CheckResult](t, d, exitOK, args...); !got.OK {
			t.Errorf("%q: got %+v", args, got)
		}
	}
	query[plugin.PruneResult](t, d, exitOK, "prune")
	query[plugin.CleanResult](t, d, exitOK, "clean")
}

func TestEntriesAreManaged(t *testing.T) {
	d := startDaemon(t)
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	entries := query[[]plugin.EntryView](t, d, exitOK, "entry", "list")
	if len(entries) != 1 {
		t.Fatalf("got entries %+v, want one", entries)
	}
	id := entries[0].ID
	short := shortID(id)
	byHits := []string{"entry", "list", "--sort", "-hits", "--limit", "1", "--contains", "disk."}
	if got := query[[]plugin.EntryView](t, d, exitOK, byHits...); len(got) != 1 || got[0].ListPlace != "0:"+id {
		t.Errorf("by hits: got %+v, want it with where the list goes on", got)
	}
	if got := query[[]plugin.EntryView](t, d, exitOK, append(byHits, "--after", "0:"+id)...); len(got) != 0 {
		t.Errorf("behind the last one: got %+v", got)
	}
	query[failure](t, d, exitUsage, append(byHits, "--after", id)...)
	if got := query[plugin.EntryView](t, d, exitOK, "entry", "pin", short); !got.Pinned {
		t.Error("pin: not pinned")
	}
	query[failure](t, d, exitConflict, "entry", "delete", id)
	if got := query[[]plugin.Revalidated](t, d, exitOK, "entry", "revalidate", short); len(got) != 1 || !got[0].Valid {
		t.Errorf("revalidate: got %+v, want it valid", got)
	}
	if got := query[plugin.EntryView](t, d, exitOK, "entry", "unpin", id); got.Pinned {
		t.Error("unpin: still pinned")
	}
	if got := query[plugin.EntryView](t, d, exitOK, "entry", "show", short); got.ID != id {
		t.Errorf("show %s: got %s, want %s", short, got.ID, id)
	}
	if got := query[plugin.PruneResult](t, d, exitOK, "entry", "delete", "--all", "--force"); len(got.Removed) != 1 {
		t.Errorf("delete --all: got %+v, want one removed", got)
	}
	if got := query[[]plugin.EntryView](t, d, exitOK, "entry", "list"); len(got) != 0 {
		t.Errorf("got entries %+v, want none", got)
	}
	if got := query[deletedVolumes](t, d, exitOK, "volume", "delete", "v1"); len(got.Deleted) != 1 {
		t.Errorf("got %+v, want v1 deleted", got)
	}
}

// failure is what a refusal prints.
type failure struct {
	Error api.Error `json:"error"`
}

func TestRefusalsHaveExitCodes(t *testing.T) {
	d := startDaemon(t)
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	for _, c := range []struct {
		name string
		args []string
		exit int
		code string
	}{
		{"hostile image", []string{"volume", "create", "library:evil.qcow2", "--name", "x"}, exitRefused, "image_refused"},
		{"no such image", []string{"volume", "create", "library:none", "--name", "x"}, exitNotFound, "image_not_found"},
		{"name taken", []string{"volume", "create", "library:disk.raw", "--name", "v1", "--size", "9MiB"}, exitConflict, "volume_conflict"},
		{"too small", []string{"volume", "create", "library:disk.raw", "--name", "x", "--size", "4KiB"}, exitUsage, "volume_too_small"},
		{"wrong digest", []string{"volume", "create", "library:disk.raw", "--name", "x", "--digest", "sha256:" + strings.Repeat("0", 64)}, exitRefused, "digest_mismatch"},
		{"no such entry", []string{"entry", "show", "0000-none"}, exitNotFound, "entry_not_found"},
		{"no such backend", []string{"volume", "create", "library:disk.raw", "--name", "x", "--backend", "b"}, exitNotFound, "unknown_backend"},
		{"no name", []string{"volume", "create", "library:disk.raw"}, exitUsage, "usage"},
		{"bad size", []string{"volume", "create", "library:disk.raw", "--name", "x", "--size", "10GB"}, exitUsage, "usage"},
		{"no command", []string{"volume", "explain"}, exitUsage, "usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := query[failure](t, d, c.exit, c.args...); got.Error.Code != c.code || got.Error.Message == "" {
				t.Errorf("got %+v, want code %s", got.Error, c.code)
			}
		})
	}
	if entries, err := os.ReadDir(filepath.Join(d.dir, "volumes")); err != nil || len(entries) != 2 {
		t.Errorf("volumes: got %v, %v; want v1 and .clonecache", entries, err)
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	d := startDaemon(t)
	var out, errs bytes.Buffer
	exit := Run(t.Context(), testEnv(&out, &errs), []string{"serve", "--config", filepath.Join(d.dir, "c.toml")})
	if exit != exitError || !strings.Contains(errs.String(), plugin.ErrLocked.Error()) {
		t.Errorf("got exit code %d, want %d and a log that says why\n%s", exit, exitError, &errs)
	}
	if exit, _, stderr := d.run(t, "status"); exit != exitOK {
		t.Errorf("the first daemon no longer answers: %d %s", exit, stderr)
	}
}

func TestStoppingIsToldAndEndsRequests(t *testing.T) {
	d := startDaemon(t)
	close(d.atOnce)
	d.stop()
	if got := <-d.states; got != "STOPPING=1" {
		t.Errorf("got state %q, want STOPPING=1", got)
	}
	code := <-d.exit
	d.exit <- code
	if exit, _, _ := d.run(t, "status"); exit != exitUnreachable {
		t.Errorf("status after the end: got exit code %d, want %d", exit, exitUnreachable)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "s")); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestASecondSignalUndoesFillsAtOnce stops a daemon whose fill never ends, with an hour to stop.
func TestASecondSignalUndoesFillsAtOnce(t *testing.T) {
	reading := make(chan struct{}, 16)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stalls.raw" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", "1048576")
		if r.Method == http.MethodHead {
			return
		}
		w.Write(make([]byte, 4096))
		w.(http.Flusher).Flush()
		reading <- struct{}{}
		<-r.Context().Done()
	}))
	defer web.Close()
	d := startDaemon(t, "[[image_source]]", `name = "web"`, `kind = "http"`, "url = \""+web.URL+"\"")
	created := make(chan int, 1)
	go func() {
		exit, _, _ := d.run(t, "volume", "create", "web:stalls.raw", "--name", "v1")
		created <- exit
	}()
	<-reading
	d.stop()
	if got := <-d.states; got != "STOPPING=1" {
		t.Errorf("got state %q, want STOPPING=1", got)
	}
	select {
	case code := <-d.exit:
		t.Fatalf("it ended with %d before the fill did", code)
	default:
	}
	// The service manager hears of the stop a moment before requests do.
	for give := time.Now().Add(2 * time.Minute); time.Now().Before(give); {
		if exit, _, _ := d.run(t, "status"); exit == exitLater {
			break
		}
	}
	if exit, stdout, _ := d.run(t, "status"); exit != exitLater || !strings.Contains(stdout, "stopping") {
		t.Errorf("status while it stops: got exit code %d and %q, want %d and that it does", exit, stdout, exitLater)
	}
	if exit, _, stderr := d.run(t, "reload"); exit != exitLater || !strings.Contains(stderr, "stop") {
		t.Errorf("reload while it stops: got exit code %d and %q, want %d and that it does", exit, stderr, exitLater)
	}
	close(d.atOnce)
	if exit := <-created; exit == exitOK {
		t.Error("volume create: got exit code 0 for a fill that was undone")
	}
	code := <-d.exit
	d.exit <- code
	if left, err := filepath.Glob(filepath.Join(d.dir, "*/image-volumes/*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestServeNeedsAConfiguration(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.toml")
	var out, errs bytes.Buffer
	env := testEnv(&out, &errs)
	env.Getenv = func(name string) string { return map[string]string{"CLONECACHE_CONFIG": none}[name] }
	if exit := Run(t.Context(), env, []string{"serve"}); exit != exitUsage || !strings.Contains(errs.String(), none) {
		t.Errorf("got %d %s, want %d and the file's name", exit, &errs, exitUsage)
	}
}

func TestServeRefusesABadConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	write(t, file, []byte("fill_limit = 0\nspeed = 11\n"))
	var out, errs bytes.Buffer
	exit := Run(t.Context(), testEnv(&out, &errs), []string{"serve", "--config", file})
	if exit != exitUsage || !strings.Contains(errs.String(), "fill_limit") || !strings.Contains(errs.String(), "speed") {
		t.Errorf("got %d %s, want %d and both problems", exit, &errs, exitUsage)
	}
}

// A SIGHUP that a person, logrotate or a closed terminal sends does not end the daemon, and lets what changed take effect.
func TestAHangupReloadsTheConfiguration(t *testing.T) {
	hangups := make(chan os.Signal)
	d := startDaemonWith(t, func(e *Env) { e.Hangups = func() <-chan os.Signal { return hangups } })
	file := filepath.Join(d.dir, "c.toml")
	hangUp := func() {
		t.Helper()
		for range 2 { // the second one is taken once the first one was answered
			select {
			case hangups <- syscall.SIGHUP:
			case code := <-d.exit:
				d.exit <- code
				t.Fatalf("it ended with %d", code)
			}
		}
	}
	bound := func(want int) {
		t.Helper()
		if got := query[[]plugin.BackendView](t, d, exitOK, "backend", "list")[0].MaxCount; got != want {
			t.Errorf("max_count is %d, want %d", got, want)
		}
	}
	write(t, file, []byte(strings.Replace(serveConfig, "max_count = 5", "max_count = 7", 1)+"fill_limi = 3\n"))
	hangUp()
	bound(5)
	if !strings.Contains(d.log.String(), "configuration not reloaded") || !strings.Contains(d.log.String(), "fill_limi") {
		t.Errorf("the log does not tell what is wrong:\n%s", d.log)
	}
	write(t, file, []byte(strings.Replace(serveConfig, "max_count = 5", "max_count = 7", 1)))
	hangUp()
	bound(7)
}

// A configuration that cannot be read to its end keeps nobody from ending the daemon.
func TestAReloadThatHangsDoesNotKeepTheDaemonFromStopping(t *testing.T) {
	hangups := make(chan os.Signal)
	d := startDaemonWith(t, func(e *Env) { e.Hangups = func() <-chan os.Signal { return hangups } })
	file := filepath.Join(d.dir, "c.toml")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	hangups <- syscall.SIGHUP
	d.stop()
	select {
	case code := <-d.exit:
		d.exit <- code // the cleanup looks at it
	case <-time.After(2 * time.Minute):
		t.Error("the daemon does not stop while it waits for its configuration")
	}
	w, err := os.OpenFile(file, os.O_RDWR, 0) // lets the reader go, which finds nothing
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
}

func TestReloadSaysWhatTookEffect(t *testing.T) {
	d := startDaemon(t)
	file := filepath.Join(d.dir, "c.toml")
	if r := query[api.Reloaded](t, d, exitOK, "reload"); len(r.Changed)+len(r.NeedsRestart) != 0 {
		t.Errorf("of an unchanged file: %+v", r)
	}
	changed := strings.NewReplacer("max_count = 5", "max_count = 1\nremove_unused_after = \"24h\"", `log_level = "debug"`, "log_level = \"error\"\nfill_limit = 2\nmax_fills_per_project = 1\nclean_every = \"2h\"",
		`stop_timeout = "1h"`, `stop_timeout = "30m"`, `path = "images"`, `path = "other-images"`).Replace(serveConfig)
	write(t, file, []byte(changed+`
[[group]]
name = "all"
backends = ["local"]
[[file_cache]]
name = "more"
path = "more"
`))
	write(t, filepath.Join(d.dir, "other-images/disk.raw"), d.image)
	want := api.Reloaded{
		Changed: []string{"fill_limit", "max_fills_per_project", "clean_every", "log_level", "group", "image_source library: path",
			"backend local: max_count", "backend local: remove_unused_after", "file_cache more"},
		NeedsRestart: []string{"stop_timeout"}, NotOpen: []api.NotOpen{},
	}
	if got := query[api.Reloaded](t, d, exitOK, "reload"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := query[plugin.Status](t, d, exitOK, "status").Clean.Every; got != 7200 {
		t.Errorf("clean_every: got %d s, want 7200", got)
	}
	query[[]plugin.QueuedView](t, d, exitOK, "prefetch", "library:disk.raw", "--group", "all", "--wait")
	before := len(d.log.String())
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	if more := d.log.String()[before:]; more != "" {
		t.Errorf("log_level is error, and the log goes on: %s", more)
	}
	write(t, file, []byte("fill_limit = 0\n"))
	exit, _, stderr := d.run(t, "reload")
	if exit != exitUsage || !strings.Contains(stderr, "fill_limit") || !strings.Contains(stderr, "nothing was changed") {
		t.Errorf("of a file that is wrong: exit code %d, %q", exit, stderr)
	}
	if got := query[[]plugin.BackendView](t, d, exitOK, "backend", "list")[0].MaxCount; got != 1 {
		t.Errorf("max_count is %d, want it as it was", got)
	}
}

// What names a backend that comes with a restart comes with it, and keeps no limit from taking effect, nor an image source: only one
// that may be followed until then stays.
func TestReloadLeavesToARestartWhatNamesSomethingNew(t *testing.T) {
	const source = "\n[[image_source]]\nname = \"more\"\nkind = \"directory\"\npath = \"images\"\n"
	renamed := strings.NewReplacer("max_count = 5", "max_count = 7", `name = "files"`, `name = "more"`, `fallback = "files"`, `fallback = "more"`).Replace(serveConfig)
	caches := []string{"backend local: fallback", "file_cache files", "file_cache more"}
	for name, c := range map[string]struct {
		more string
		want string
		also string // takes effect
	}{
		"a group of a file cache that has another name": {"\n[[group]]\nname = \"all\"\nbackends = [\"local\", \"more\"]\n", "group", ""},
		"images of a new source on it":                  {source + "[[follow]]\nsource = \"more\"\npattern = \"*.raw\"\nbackends = [\"more\"]\n", "follow", "image_source more"},
		"images on it":                                  {"\n[[follow]]\nsource = \"library\"\npattern = \"*.raw\"\nbackends = [\"more\"]\n", "follow", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t)
			write(t, filepath.Join(d.dir, "c.toml"), []byte(renamed+c.more))
			want := api.Reloaded{Changed: []string{"backend local: max_count"}, NeedsRestart: append([]string{c.want}, caches...), NotOpen: []api.NotOpen{}}
			if c.also != "" {
				want.Changed = append([]string{c.also}, want.Changed...)
			}
			if got := query[api.Reloaded](t, d, exitOK, "reload"); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got := query[[]plugin.BackendView](t, d, exitOK, "backend", "list")[0].MaxCount; got != 7 {
				t.Errorf("max_count is %d, want 7", got)
			}
		})
	}
}

// A backend and its file cache come with a reload, serve, and go with the next one; what they had is shown as not configured, and
// serves again once they are back. What cannot come changes nothing, or waits for a restart.
func TestReloadLetsBackendsComeAndGo(t *testing.T) {
	d := startDaemon(t)
	file := filepath.Join(d.dir, "c.toml")
	const more = "\n[[backend]]\nname = \"more\"\nkind = \"file\"\npath = \"more\"\nfallback = \"more-files\"\n[[file_cache]]\nname = \"more-files\"\npath = \"more-files\"\n"
	reload := func(text string, want api.Reloaded) {
		t.Helper()
		write(t, file, []byte(text))
		want.NotOpen = []api.NotOpen{}
		if got := query[api.Reloaded](t, d, exitOK, "reload"); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	names := func() (all string) {
		for _, v := range query[[]plugin.BackendView](t, d, exitOK, "backend", "list") {
			all += string(v.Name) + " "
		}
		return all
	}
	both := api.Reloaded{Changed: []string{"backend more", "file_cache more-files"}, NeedsRestart: []string{}}
	for n, want := range []string{"local more files more-files ", "local more files more-files "} {
		reload(serveConfig+more, both)
		if got := names(); got != want {
			t.Errorf("backends: %s", got)
		}
		query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--backend", "more", "--name", fmt.Sprintf("v%d", n))
		reload(serveConfig, both)
		if got := names(); got != "local files " {
			t.Errorf("backends: %s", got)
		}
	}
	if !strings.Contains(d.log.String(), "its cache has no bound") {
		t.Errorf("the log does not warn of a backend that has come without a bound:\n%s", d.log)
	}
	for _, e := range query[[]plugin.EntryView](t, d, exitOK, "entry", "list") {
		if e.Configured {
			t.Errorf("an entry of a backend that has gone is shown as configured: %+v", e)
		}
	}
	reload(strings.ReplaceAll(serveConfig, `path = "volumes"`, `path = "elsewhere"`), api.Reloaded{Changed: []string{}, NeedsRestart: []string{"backend local: path"}})
	reload(strings.ReplaceAll(serveConfig, `name = "local"`, `name = "renamed"`), api.Reloaded{Changed: []string{}, NeedsRestart: []string{"backend local", "backend renamed"}})
	reload(serveConfig+strings.ReplaceAll(more, `"more"`+"\nkind", `"renamed"`+"\nkind"), api.Reloaded{Changed: []string{"file_cache more-files"}, NeedsRestart: []string{"backend renamed"}})
	reload(serveConfig, api.Reloaded{Changed: []string{"file_cache more-files"}, NeedsRestart: []string{}})

	if err := os.CopyFS(filepath.Join(d.dir, "same"), os.DirFS(filepath.Join(d.dir, "volumes"))); err != nil {
		t.Fatal(err)
	}
	write(t, file, []byte(serveConfig+strings.ReplaceAll(more, `path = "more"`, `path = "same"`)))
	if exit, _, stderr := d.run(t, "reload"); exit != exitUsage || !strings.Contains(stderr, "nothing was changed") || !strings.Contains(stderr, "of its own") {
		t.Errorf("of a backend where another one lies: exit code %d, %q", exit, stderr)
	}
	if got := names(); got != "local files " {
		t.Errorf("backends: %s", got)
	}
}
