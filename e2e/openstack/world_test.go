//go:build openstack

package openstack

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// world is a daemon behind the lab's Cinder, and who uses them.
type world struct {
	daemon          *harness.Daemon
	demo, other     *cloud // ordinary users of two projects
	admin, internal *cloud
	images          []string // to remove at the end
}

// begin starts a daemon that the hook asks. The test defers end.
func begin(tb testing.TB) *world {
	tb.Helper()
	w := newWorld(tb)
	w.daemon.Start(tb)
	return w
}

// bounds are further keys of a backend's table in the daemon's configuration, by its name.
type bounds map[string]string

// beginBounded is begin with bounds for some backends.
func beginBounded(tb testing.TB, b bounds) *world {
	tb.Helper()
	w := worldWith(tb, b)
	w.daemon.Start(tb)
	return w
}

// newWorld is begin without starting the daemon.
func newWorld(tb testing.TB) *world { return worldWith(tb, nil) }

// installation is the ID of the catalogs of all worlds: they come one after another on the lab's pools and shares, which
// are held by one installation.
const installation = "0f6a1c52-6d0e-4a57-9a52-3a4f6c1d8e21"

// sameInstallation gives the world's daemon the ID that the worlds before it had.
func (w *world) sameInstallation(tb testing.TB) {
	tb.Helper()
	if err := os.MkdirAll(w.daemon.State, 0o750); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.daemon.State, "catalog-id"), []byte(installation+"\n"), 0o640); err != nil {
		tb.Fatal(err)
	}
}

func worldWith(tb testing.TB, b bounds) *world {
	tb.Helper()
	return worldOf(tb, tables(tb, b))
}

// worldOf is a world whose daemon has these tables in its configuration.
func worldOf(tb testing.TB, tables string) *world {
	tb.Helper()
	w := &world{daemon: harness.New(tb, harness.Config{Tables: tables}),
		demo: login(tb, "demo"), other: login(tb, "other"), admin: login(tb, "admin"), internal: login(tb, "cinder-internal")}
	w.sameInstallation(tb)
	w.deleteVolumes(tb) // of a run that was killed
	link := lab.socket()
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		tb.Fatal(err)
	}
	if err := os.Symlink(strings.TrimPrefix(w.daemon.Server, "unix://"), link); err != nil {
		tb.Fatal(err)
	}
	return w
}

// tables configure the internal tenant, the source and a backend for each of Cinder's.
func tables(tb testing.TB, more bounds) string {
	tb.Helper()
	text := services()
	for name, pool := range pools {
		text += fmt.Sprintf("[[backend]]\nname = %q\nkind = \"rbd\"\npool = %q\nvolume_type = %q\nconf = %q\nkeyring = %q\nfallback = \"files\"\n%s\n",
			name, pool, name, lab.cephConf(), filepath.Join(lab.dir, "ceph", "client.clonecache.keyring"), more[name])
	}
	for _, name := range shares {
		text += fmt.Sprintf("[[backend]]\nname = %q\nkind = \"file\"\npath = %q\nfallback = \"files\"\n", name, mounted(name))
	}
	return text + fmt.Sprintf("[[file_cache]]\nname = \"files\"\npath = %q\nmax_size = \"4GiB\"\n", tb.TempDir())
}

// services configure the internal tenant and the source.
func services() string {
	account := fmt.Sprintf("cloud = \"cinder-internal\"\nclouds_file = %q\n", filepath.Join(lab.dir, "clouds.yaml"))
	return "[internal_tenant]\nkind = \"openstack\"\n" + account +
		"[[image_source]]\nname = \"glance\"\nkind = \"glance\"\n" + account
}

// pools are the RBD backends' and volume types', shares the NFS ones.
var (
	pools  = map[string]string{"rbd1": "volumes", "rbd2": "volumes2"}
	shares = []string{"nfs1", "nfs2"}
)

// mounted is where Cinder mounts a share: its name there is a digest (os_brick/remotefs/remotefs.py, get_mount_point).
func mounted(share string) string {
	digest := md5.Sum([]byte("127.0.0.1:/" + share))
	return filepath.Join(lab.dir, "nfs", "mnt", hex.EncodeToString(digest[:]))
}

// end removes all that the test made and checks that nothing of the cache is left in Cinder, in Ceph or in
// the quota, and that the daemon finds nothing wrong.
func (w *world) end(tb testing.TB) {
	tb.Helper()
	w.deleteVolumes(tb)
	for _, id := range w.images {
		w.admin.try(tb, call{"DELETE", glanceURL("/" + id), nil}, nil) // some are gone already
	}
	if r := w.daemon.CLI(tb, "entry", "delete", "--all", "--force"); r.Exit != 0 {
		tb.Errorf("entry delete --all: exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
	}
	within(tb, "the internal tenant has no volumes", func() bool { return len(w.internal.volumes(tb)) == 0 })
	w.untilInUse(tb, used{}) // before the daemon compares
	for _, pool := range pools {
		for _, words := range [][]string{{"ls", pool}, {"trash", "ls", pool}} {
			if left := rbd(tb, words...); left != "" {
				tb.Errorf("rbd %q: left over: %s", words, left)
			}
		}
	}
	if c := w.daemon.Check(tb); !c.OK {
		tb.Errorf("check found problems: %+v", c.Problems)
	}
}

// deleteVolumes deletes the users' volumes.
func (w *world) deleteVolumes(tb testing.TB) {
	tb.Helper()
	for _, user := range []*cloud{w.demo, w.other} {
		var ids []string
		for _, v := range user.volumes(tb) {
			ids = append(ids, v.ID)
		}
		user.delete(tb, ids...)
	}
}

// used is what Cinder counts of a project.
type used struct{ Volumes, Gigabytes int }

// quota is the internal tenant's.
func (w *world) quota(tb testing.TB) used {
	tb.Helper()
	type counted struct {
		InUse int `json:"in_use"`
	}
	var answer struct {
		Set struct{ Volumes, Gigabytes counted } `json:"quota_set"`
	}
	w.internal.must(tb, call{"GET", w.internal.cinderURL("/os-quota-sets/" + w.internal.project + "?usage=True"), nil}, &answer)
	return used{answer.Set.Volumes.InUse, answer.Set.Gigabytes.InUse}
}

// untilInUse waits until Cinder counts so much of the internal tenant's quota: what is gone it goes on to count for a moment.
func (w *world) untilInUse(tb testing.TB, want used) {
	tb.Helper()
	var got used
	defer func() {
		if got != want {
			tb.Errorf("the internal tenant's quota in use: got %+v, want %+v", got, want)
		}
	}()
	within(tb, "Cinder counts what there is", func() bool { got = w.quota(tb); return got == want })
}

// limit sets how many volumes the internal tenant may have; -1: any number. Cinder refuses it while it counts more, as it does
// for a moment after a volume is gone.
func (w *world) limit(tb testing.TB, volumes int) {
	tb.Helper()
	put := call{"PUT", w.admin.cinderURL("/os-quota-sets/" + w.internal.project), object{"quota_set": object{"volumes": volumes}}}
	within(tb, fmt.Sprintf("the internal tenant may have %d volumes", volumes), func() bool {
		status, refusal, _ := w.admin.try(tb, put, nil)
		if status >= 300 && !strings.Contains(refusal, "greater than existing resources") {
			tb.Fatalf("%s %s: %d %s", put.method, put.url, status, refusal)
		}
		return status < 300
	})
}

// disk is a raw disk and what it should read as.
type disk struct {
	path string
	size int64 // bytes
	sum  string
}

// newDisk makes a disk of size bytes with data bytes of random content from a seed.
func newDisk(tb testing.TB, seed uint64, size, data int64) disk {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), fmt.Sprintf("disk-%d.raw", seed))
	harness.SmallDisk(tb, path, seed, size, data)
	return disk{path, size, fileSum(tb, path, size)}
}

// qcow2 is the same disk as another image.
func (d disk) qcow2(tb testing.TB) string {
	tb.Helper()
	to := strings.TrimSuffix(d.path, ".raw") + ".qcow2"
	harness.Convert(tb, d.path, to)
	return to
}

// fileSum is the SHA-256 of a file's first bytes.
func fileSum(tb testing.TB, path string, size int64) string {
	tb.Helper()
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.CopyN(sum, file, size); err != nil {
		tb.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// upload makes an image of demo's that end removes.
func (w *world) upload(tb testing.TB, path, format string, more object) string {
	tb.Helper()
	id := w.demo.upload(tb, path, format, more)
	w.images = append(w.images, id)
	return id
}

// sameContent reads volumes through RBD: the disk, and zeroes up to their size.
func sameContent(tb testing.TB, d disk, volumes ...volume) {
	tb.Helper()
	byType := make(map[string][]string)
	sizes := make(map[string]int64)
	for _, v := range volumes {
		byType[v.VolumeType] = append(byType[v.VolumeType], "volume-"+v.ID)
		sizes["volume-"+v.ID] = v.Size * gib
	}
	for kind, names := range byType {
		pool, known := pools[kind]
		if !known { // a type that a test has made
			pool = pools["rbd1"]
		}
		args := append([]string{lab.cephConf(), pool, strconv.FormatInt(d.size, 10)}, names...)
		out, err := harness.Output(exec.Command("./content.py", args...))
		if err != nil {
			tb.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			name, got, _ := strings.Cut(line, " ")
			if want := fmt.Sprintf("%s %d zero", d.sum, sizes[name]); got != want {
				tb.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
	}
}

// rbd calls the tool as Cinder's user.
func rbd(tb testing.TB, words ...string) string {
	tb.Helper()
	out, err := harness.Output(exec.Command("rbd", append([]string{"-c", lab.cephConf(), "--id", "cinder"}, words...)...))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// outcomes are those of a backend's requests so far.
func (w *world) outcomes(tb testing.TB, backend string) map[plugin.Outcome]int64 {
	tb.Helper()
	got := make(map[plugin.Outcome]int64)
	for _, b := range w.daemon.Report(tb).Backends {
		if b.Name == backend {
			for outcome, n := range b.Outcomes {
				if n != 0 {
					got[plugin.Outcome(outcome)] = n
				}
			}
		}
	}
	return got
}

// wantOutcomes compares them.
func (w *world) wantOutcomes(tb testing.TB, backend string, want map[plugin.Outcome]int64) {
	tb.Helper()
	if got := w.outcomes(tb, backend); fmt.Sprint(got) != fmt.Sprint(want) {
		tb.Errorf("outcomes on %s: got %v, want %v", backend, got, want)
	}
}

// downloads counts in Glance's log how often an image's data was asked for.
func downloads(log, image string) int {
	return strings.Count(log, "\"GET /v2/images/"+image+"/file HTTP/1.1\" "+strconv.Itoa(http.StatusOK)) +
		strings.Count(log, "\"GET /v2/images/"+image+"/file HTTP/1.1\" "+strconv.Itoa(http.StatusPartialContent))
}

// wantDownloads compares how often Glance's log tells of a download. Glance writes a line after who asked has the last byte.
func wantDownloads(tb testing.TB, of string, told func() int, want int) {
	tb.Helper()
	var got int
	within(tb, "Glance's log tells of downloads of "+of, func() bool { got = told(); return got >= want })
	if got != want {
		tb.Errorf("downloads from Glance of %s: got %d, want %d", of, got, want)
	}
}
