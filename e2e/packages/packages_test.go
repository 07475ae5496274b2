//go:build packages

package packages

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const configFile = "/etc/clonecache/clonecache.toml"

// An operator installs the package, sets the two keys that its configuration asks for, and has volumes;
// upgrades in the middle of a fill; goes back; removes it; and purges it.
func TestInstallUpgradeDowngradeRemovePurge(t *testing.T) {
	r := newRoot(t)
	r.install(t, []string{deb(t, "clonecache", first)})
	if got := r.run(t, "clonecache", "--version"); !strings.Contains(got, first) {
		t.Errorf("--version: %q, want %s", got, first)
	}
	r.configure(t)
	slow := newSlowServer(t)
	r.write(t, configFile, r.read(t, configFile)+"\n[[image_source]]\nname = \"web\"\nkind = \"http\"\nurl = \""+slow.URL+"\"\n")
	r.image(t, "cached.img", 8<<20)
	daemon := r.start(t, "/var/lib/volumes")
	r.creates(t, "library:cached.img", "a", "filled", "copied")

	var filling sync.WaitGroup
	filling.Go(func() { r.try(t, "clonecache", "volume", "create", "web:slow.img", "--name", "never") })
	<-slow.half // the fill is under way
	r.install(t, []string{deb(t, "clonecache", second)})
	daemon.stop(t)
	filling.Wait()
	daemon = r.start(t, "/var/lib/volumes")
	if got := r.run(t, "clonecache", "status"); !strings.Contains(got, second) {
		t.Errorf("after the upgrade the daemon is not %s:\n%s", second, got)
	}
	r.creates(t, "library:cached.img", "b", "hit", "copied")
	r.run(t, "clonecache", "check")
	close(slow.goOn)
	r.creates(t, "web:slow.img", "c", "filled", "copied")
	daemon.stop(t)

	r.install(t, []string{deb(t, "clonecache", first)}, "--force-downgrade")
	daemon = r.start(t, "/var/lib/volumes")
	r.creates(t, "web:slow.img", "d", "hit", "copied")
	r.run(t, "clonecache", "check")
	daemon.stop(t)

	r.run(t, "dpkg", "--remove", "clonecache")
	for name, stays := range map[string]bool{"/usr/bin/clonecache": false, "/lib/systemd/system/clonecache.service": false, configFile: true, "/var/lib/clonecache/catalog.db": true, "/var/lib/volumes/a": true} {
		if r.exists(name) != stays {
			t.Errorf("removed: %s stays: %v, want %v", name, !stays, stays)
		}
	}
	r.run(t, "dpkg", "--purge", "clonecache")
	for name, stays := range map[string]bool{"/etc/clonecache": false, "/var/lib/clonecache": false, "/var/cache/clonecache": false, "/var/lib/volumes/a": true, "/var/lib/images/cached.img": true} {
		if r.exists(name) != stays {
			t.Errorf("purged: %s stays: %v, want %v", name, !stays, stays)
		}
	}
}

// configure sets the two keys, as the configuration says, after config check has asked for them.
func (r *root) configure(t *testing.T) {
	t.Helper()
	got := r.try(t, "clonecache", "config", "check", configFile)
	if got.exit == 0 || strings.Count(got.stdout+got.stderr, ".path:") != 2 {
		t.Errorf("config check of the package's configuration: exit %d, want it to ask for two paths\n%s%s", got.exit, got.stdout, got.stderr)
	}
	r.write(t, configFile, strings.ReplaceAll(r.read(t, configFile), "#path = ", "path = "))
	r.run(t, "clonecache", "config", "check", configFile)
}

// image puts an image of random bytes where the directory source finds it.
func (r *root) image(t *testing.T, name string, size int) {
	t.Helper()
	content := make([]byte, size)
	_, _ = rand.Read(content) // it never fails
	r.write(t, "/var/lib/images/"+name, string(content))
}

// creates makes a volume, which must come to one of the outcomes; without reflinks it is a copy.
func (r *root) creates(t *testing.T, image, name string, outcomes ...string) {
	t.Helper()
	var answer struct {
		Outcome    string
		Downloaded int64 `json:"downloaded_bytes"`
	}
	if err := json.Unmarshal([]byte(r.run(t, "clonecache", "volume", "create", image, "--name", name, "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if answer.Outcome == o && (outcomes[0] != "hit" || answer.Downloaded == 0) {
			return
		}
	}
	t.Errorf("%s of %s: %+v, want one of %q", name, image, answer, outcomes)
}

// slowServer serves one image, of which it withholds the second half until told.
type slowServer struct {
	*httptest.Server
	half, goOn chan struct{}
}

func newSlowServer(t *testing.T) *slowServer {
	t.Helper()
	content := make([]byte, 8<<20)
	_, _ = rand.Read(content) // it never fails
	s := &slowServer{half: make(chan struct{}), goOn: make(chan struct{})}
	var once sync.Once
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !strings.HasSuffix(q.URL.Path, "/slow.img") {
			http.NotFound(w, q)
			return
		}
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if q.Method == http.MethodHead {
			return
		}
		_, _ = w.Write(content[:len(content)/2])
		once.Do(func() { close(s.half) })
		select {
		case <-s.goOn:
			_, _ = w.Write(content[len(content)/2:])
		case <-q.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// The static program needs nothing of the machine, and says what serves a Ceph pool.
func TestWithoutCephItSaysWhatToInstall(t *testing.T) {
	r := newRoot(t)
	r.install(t, []string{deb(t, "clonecache", first)})
	r.write(t, "/tmp/rbd.toml", "[[image_source]]\nname = \"i\"\nkind = \"directory\"\npath = \"/var/lib/images\"\n[[backend]]\nname = \"b\"\nkind = \"rbd\"\npool = \"volumes\"\n")
	got := r.try(t, "clonecache", "config", "check", "/tmp/rbd.toml")
	if got.exit == 0 || !strings.Contains(got.stdout+got.stderr, "install the package clonecache-ceph") {
		t.Errorf("exit %d, want the package named\n%s%s", got.exit, got.stdout, got.stderr)
	}
}

// clonecache-ceph takes clonecache's place, and its configuration with it; each way.
func TestOneProgramTakesTheOthersPlace(t *testing.T) {
	r := newRoot(t)
	r.install(t, []string{deb(t, "clonecache", first)})
	r.configure(t)
	edited := r.read(t, configFile)
	// Its libraries are not there: what is tried is what dpkg does with the files.
	r.install(t, []string{deb(t, "clonecache-ceph", second)}, "--force-depends", "--auto-deconfigure")
	r.run(t, "dpkg", "--purge", "clonecache")
	if got := r.read(t, configFile); got != edited {
		t.Errorf("the configuration is now:\n%s", got)
	}
	r.install(t, []string{deb(t, "clonecache", second)}, "--force-depends")
	if got := r.read(t, configFile); got != edited {
		t.Errorf("the configuration is now:\n%s", got)
	}
	if got := r.run(t, "clonecache", "--version"); !strings.Contains(got, second) {
		t.Errorf("--version: %q", got)
	}
}

// The hook is a package of Python, which Debian's Python finds.
func TestTheHookIsInstalled(t *testing.T) {
	r := newRoot(t)
	r.install(t, []string{deb(t, "python3-clonecache-cinder", first)}, "--force-depends")
	for _, name := range []string{"hook.py", "rbd.py", "nfs.py", "client.py"} {
		want, err := os.ReadFile(filepath.Join("../../plugin/cinder/clonecache_cinder", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.read(t, "/usr/lib/python3/dist-packages/clonecache_cinder/"+name); got != string(want) {
			t.Errorf("%s differs", name)
		}
	}
	r.run(t, "dpkg", "--purge", "python3-clonecache-cinder")
	if r.exists("/usr/lib/python3/dist-packages/clonecache_cinder") {
		t.Error("purged, and something is left")
	}
}

// Packages are what Debian's policy wants.
func TestLintianFindsNoErrors(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(dist, "*_"+first+"_*.deb"))
	if err != nil || len(found) < 3 {
		t.Fatalf("%q, %v: want three packages", found, err)
	}
	command(t, "lintian", append([]string{"--allow-root", "--fail-on", "error"}, found...)...)
}

// The same commit gives the same bytes.
func TestBuiltTwiceTheSame(t *testing.T) {
	again := t.TempDir()
	for _, words := range [][]string{{"packages.sh", first, "clonecache", "python3-clonecache-cinder"}, {"image.sh", first}} {
		if err := build(again, words[0], words[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	found, err := filepath.Glob(filepath.Join(again, "*"))
	if err != nil || len(found) != 3 {
		t.Fatalf("%q, %v: want three files", found, err)
	}
	for _, file := range found {
		if !bytes.Equal(content(t, file), content(t, filepath.Join(dist, filepath.Base(file)))) {
			t.Errorf("%s is not the same", filepath.Base(file))
		}
	}
}

func content(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each command has a man page, which renders without a warning.
func TestManPagesRender(t *testing.T) {
	dir := t.TempDir()
	command(t, "dpkg-deb", "-x", deb(t, "clonecache", first), dir)
	pages, err := filepath.Glob(filepath.Join(dir, "usr/share/man/man1/*.1.gz"))
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		out := command(t, "sh", "-c", fmt.Sprintf("LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z %s 2>&1 >/dev/null", page))
		if out != "" {
			t.Errorf("%s: %s", filepath.Base(page), out)
		}
	}
}

// The unit leaves the daemon little to do harm with.
func TestTheUnitIsHardened(t *testing.T) {
	dir := t.TempDir()
	command(t, "dpkg-deb", "-x", deb(t, "clonecache", first), dir)
	command(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", filepath.Join(dir, "lib/systemd/system/clonecache.service"))
}
