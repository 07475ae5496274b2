//go:build ceph

package cephproof

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// threeHosts are three daemons on one pool, with one catalog on MariaDB. Each has ways of its own to that, which can be cut.
type threeHosts struct {
	*site
	web   *harness.WebSource
	db    *harness.Database
	hosts []*harness.Daemon
	ways  []waysOf
}

// waysOf are a host's ways to the servers of its catalog.
type waysOf []*harness.Way

func (w waysOf) cut() {
	for _, way := range w {
		way.Cut()
	}
}

func (w waysOf) mend() {
	for _, way := range w {
		way.Mend()
	}
}

// to are new ways to the servers of a catalog, which is then reached by them.
func (w *waysOf) to(t *testing.T, c harness.Catalog) harness.Catalog {
	t.Helper()
	var addresses []string
	for _, server := range strings.Split(c.Address, ",") {
		way := harness.NewWay(t, server)
		*w, addresses = append(*w, way), append(addresses, way.Address)
	}
	c.Address = strings.Join(addresses, ",")
	return c
}

func newThreeHosts(t *testing.T) *threeHosts {
	t.Helper()
	n := int(databases.Add(1))
	return newThreeHostsOn(t, &harness.Database{Dir: fmt.Sprintf("/tmp/cc-proof-db-%d-%d", os.Getpid(), n), Port: cluster.Port + ports - n})
}

// newThreeHostsOn starts the database too.
func newThreeHostsOn(t *testing.T, db *harness.Database) *threeHosts {
	t.Helper()
	h := &threeHosts{web: harness.ServeWeb(t), db: db, ways: make([]waysOf, 3)}
	h.site = newSite(t, cluster, harness.Config{Web: map[string]string{"web": h.web.URL}, Fallback: harness.NoFallback})
	db.Up(t)
	shared := db.New(t)
	for n := range h.ways {
		c := h.Config
		c.Catalog = h.ways[n].to(t, shared)
		h.hosts = append(h.hosts, harness.New(t, c))
	}
	h.hosts[0].Migrate(t)
	for _, d := range h.hosts {
		d.Start(t)
	}
	return h
}

// databases are the servers that were started. They have the last ports of the cluster's.
var databases atomic.Int64

// image makes an image at the source.
func (h *threeHosts) image(t *testing.T, name string, seed uint64) {
	t.Helper()
	disk := filepath.Join(h.web.Dir, name+".disk")
	harness.SmallDisk(t, disk, seed, imageSize, imageData)
	harness.Must(t, "cp", disk, filepath.Join(h.web.Dir, name))
}

// reply is what a request came to.
type reply struct {
	image string
	plugin.Answer
	err error
}

// ask asks a host for a volume of an image, and does not wait.
func (h *threeHosts) ask(t *testing.T, host int, image, volume string) <-chan reply {
	t.Helper()
	client, done := h.hosts[host].Client(t), make(chan reply, 1)
	go func() {
		a, err := client.CreateVolume(t.Context(), api.CreateRequest{Image: "web:" + image, Volume: backends.VolumeName(volume), SizeBytes: volumeSize}, nil)
		done <- reply{image, a, err}
	}()
	return done
}

// made wants a volume, with its image's bytes, that it came to be in one of these ways.
func (h *threeHosts) made(t *testing.T, r reply, ways ...plugin.Outcome) {
	t.Helper()
	if r.err != nil {
		t.Errorf("a volume of %s: %v", r.image, r.err)
		return
	}
	if !slices.Contains(ways, r.Outcome) {
		t.Errorf("volume %s of %s: %s, %s (%s), want %v", r.Volume, r.image, r.Outcome, r.Reason, r.Detail, ways)
		return
	}
	h.wholeVolume(t, harness.Volume{Name: string(r.Volume), Size: volumeSize}, filepath.Join(h.web.Dir, r.image+".disk"))
}

// allUp wants every host to be listed as up.
func (h *threeHosts) allUp(t *testing.T) {
	t.Helper()
	all, err := h.hosts[0].Client(t).Hosts(t.Context())
	if err != nil || len(all) != len(h.hosts) {
		t.Fatalf("hosts: %+v, %v, want %d", all, err, len(h.hosts))
	}
	for _, host := range all {
		if host.State != catalog.HostUp {
			t.Errorf("host: %+v, want it up", host)
		}
	}
}

// Volumes of several images are asked for at once, on three hosts and in any order: each image is read once, by one of
// them, and all get theirs.
func TestThreeHostsReadEachImageOnce(t *testing.T) {
	t.Parallel()
	h := newThreeHosts(t)
	const images, each = 8, 3 // volumes of each image on each host
	type wish struct {
		host  int
		image string
	}
	var wishes []wish
	for n := range images {
		image := fmt.Sprintf("image-%d.raw", n)
		h.image(t, image, uint64(n+1))
		for host := range h.hosts {
			for range each {
				wishes = append(wishes, wish{host, image})
			}
		}
	}
	rand.New(rand.NewPCG(11, 1)).Shuffle(len(wishes), func(i, j int) { wishes[i], wishes[j] = wishes[j], wishes[i] })
	replies := make([]reply, len(wishes))
	var all sync.WaitGroup
	for i, w := range wishes {
		done := h.ask(t, w.host, w.image, fmt.Sprintf("v-%d", i))
		all.Go(func() { replies[i] = <-done })
	}
	all.Wait()
	fills := map[string]int{}
	for _, r := range replies {
		h.made(t, r, plugin.Filled, plugin.Joined, plugin.Hit)
		if r.Outcome == plugin.Filled {
			fills[r.image]++
		}
	}
	for n := range images {
		image := fmt.Sprintf("image-%d.raw", n)
		if fills[image] != 1 || h.web.Sent(image) != imageSize {
			t.Errorf("%s was filled %d times, and %d bytes of it were read, of %d", image, fills[image], h.web.Sent(image), int64(imageSize))
		}
	}
	h.allUp(t)
	h.settled(t, h.hosts[2])
}

const (
	// lease is how long a host is waited for that says nothing.
	lease = 30 * time.Second
	// outlasts is longer than a host is taken for up that says nothing, and than an answer of the database is waited for.
	outlasts = 8 * lease
	// takenAtMost is how often a time is taken that is too long: one may fall into a moment in which the machine is busy.
	takenAtMost = 5
)

// One host is killed in a fill, one is stopped in one for three leases, and one is cut off from the database in one. What they
// were at, the first one does once it is back; the cut-off one goes on with hits; and when all are back, nothing is left of
// what was interrupted, and no image-volume or volume is there twice.
func TestOfThreeHostsEachFails(t *testing.T) {
	t.Parallel()
	h := newThreeHosts(t)
	h.image(t, "cached.raw", 1)
	h.image(t, "new.raw", 2)
	for host := range h.hosts {
		h.made(t, <-h.ask(t, host, "cached.raw", fmt.Sprintf("cached-%d", host)), plugin.Filled, plugin.Hit)
	}
	begun, release := h.beginOnEach(t)
	h.hosts[0].Kill()
	if err := h.hosts[1].Suspend(); err != nil {
		t.Fatal(err)
	}
	h.ways[2].cut()
	over := time.After(3 * lease)
	release()
	if r := <-begun[0]; r.err == nil {
		t.Errorf("a killed daemon answered: %+v", r.Answer)
	}
	h.hosts[0].Start(t)
	var taken []<-chan reply
	for host := range h.hosts {
		taken = append(taken, h.ask(t, 0, fails[host], "taken-"+fails[host]))
	}
	h.withoutDatabase(t, 2)
	for _, done := range taken {
		h.made(t, <-done, plugin.Filled, plugin.Joined)
	}
	<-over
	if err := h.hosts[1].Resume(); err != nil {
		t.Fatal(err)
	}
	h.ways[2].mend()
	if r := <-begun[1]; r.err == nil && r.Outcome == plugin.Bypassed && r.Reason == plugin.ReasonUnavailable {
		t.Logf("stopped while it made the image, and shut out since: %s (%s)", r.Reason, r.Detail) // it connects anew
	} else {
		h.made(t, r, plugin.Hit, plugin.Joined)
	}
	if r := <-begun[2]; r.err == nil && r.Outcome == plugin.Bypassed {
		t.Logf("cut off in the fill: %s (%s)", r.Reason, r.Detail)
	} else {
		h.made(t, r, plugin.Hit, plugin.Joined)
	}
	h.again(t)
	for host, image := range fails {
		most := 2
		if host == 1 { // its stream had stalled while it was stopped: it may go on a moment before it finds its lease lost
			most = 3
		}
		if begun, gets := h.web.Begun(image), h.web.Gets(image); begun > 2 || gets > most {
			t.Errorf("%s was read %d times, and asked for %d times, want once by whom failed, and once more", image, begun, gets)
		}
	}
	h.allUp(t)
	for _, d := range h.hosts {
		h.settled(t, d)
	}
}

// fails are the images that the hosts fill when they fail.
var fails = []string{"killed.raw", "stopped.raw", "cut.raw"}

// beginOnEach has each host fill an image of its own to its middle; all stand there until release.
func (h *threeHosts) beginOnEach(t *testing.T) (begun []<-chan reply, release func()) {
	t.Helper()
	var all []func()
	for host, image := range fails {
		h.image(t, image, uint64(10+host))
		reached, release := h.web.HoldAt(t, image, imageSize/2)
		begun, all = append(begun, h.ask(t, host, image, "begun-"+image)), append(all, release)
		select {
		case <-reached:
		case <-time.After(outlasts):
			t.Fatalf("host %d does not come to the middle of %s", host, image)
		}
	}
	return begun, func() {
		for _, release := range all {
			release()
		}
	}
}

// withoutDatabase: a host that is cut off from the catalog's database makes volumes of what is cached, steps aside for the
// rest, and says so.
func (h *threeHosts) withoutDatabase(t *testing.T, host int) {
	t.Helper()
	var r reply
	tries := 0
	harness.UntilWithin(t, outlasts, "what is not cached is bypassed, since the catalog is away", func() bool {
		tries++
		r = <-h.ask(t, host, "new.raw", fmt.Sprintf("away-%d", tries))
		return r.err == nil && r.Outcome == plugin.Bypassed && r.Reason == plugin.ReasonCatalogDown
	})
	h.made(t, <-h.ask(t, host, "cached.raw", "cached-meanwhile"), plugin.Hit)
	least := outlasts
	for n := 0; n < takenAtMost && least > 2*time.Second; n++ {
		began := time.Now()
		if r = <-h.ask(t, host, "new.raw", fmt.Sprintf("away-at-once-%d", n)); r.Outcome != plugin.Bypassed {
			t.Errorf("what is not cached: %+v, %v", r.Answer, r.err)
		}
		least = min(least, time.Since(began))
	}
	if least > 2*time.Second {
		t.Errorf("what is not cached was bypassed after %v at the earliest, in %d tries", least, takenAtMost)
	}
	var refused *api.Error
	if err := h.hosts[host].Client(t).Ready(t.Context()); errors.As(err, &refused) {
		t.Errorf("readyz of a host that serves hits: %v", err)
	}
}

// again: all hosts make volumes of all that was filled.
func (h *threeHosts) again(t *testing.T) {
	t.Helper()
	for host := range h.hosts {
		for _, image := range fails {
			var r reply
			tries := 0
			harness.UntilWithin(t, outlasts, fmt.Sprintf("host %d makes volumes of %s", host, image), func() bool {
				tries++
				r = <-h.ask(t, host, image, fmt.Sprintf("again-%d-%d-%s", host, tries, image))
				return r.err == nil && r.Outcome != plugin.Bypassed
			})
			h.made(t, r, plugin.Hit)
		}
	}
}

// A host dies in a burst of hits and never comes back. What it had half made nobody else knows of; once it is removed, the others
// find that and remove it, what was answered stays, and each name is free.
func TestOneOfThreeHostsNeverComesBack(t *testing.T) {
	t.Parallel()
	h := newThreeHosts(t)
	h.image(t, "cached.raw", 1)
	for host := range h.hosts {
		h.made(t, <-h.ask(t, host, "cached.raw", fmt.Sprintf("cached-%d", host)), plugin.Filled, plugin.Hit)
	}
	b := harness.Burst{Daemon: h.hosts[0], Requesters: requesters, Request: api.CreateRequest{Image: "web:cached.raw", SizeBytes: volumeSize}}
	b.LoadAndKill(t, "v", longestLoad)
	gone, err := plugin.InstanceOf(b.State)
	if err != nil {
		t.Fatal(err)
	}
	client := h.hosts[1].Client(t)
	harness.UntilWithin(t, outlasts, "it is lost, and can be removed", func() bool {
		_, err := client.RemoveHost(t.Context(), string(gone))
		var refused *api.Error
		if err != nil && (!errors.As(err, &refused) || refused.Code != "host_up") {
			t.Fatal(err)
		}
		return err == nil
	})
	h.settled(t, h.hosts[1])
	var removed int
	for _, e := range h.hosts[1].Events(t) {
		if e.Reason == "half-made-volume" {
			removed++
		}
	}
	t.Logf("%d volumes were asked for, %d answered, %d half made", len(b.Asked()), len(b.Answered()), removed)
	for _, name := range b.Answered() {
		h.wholeVolume(t, harness.Volume{Name: name, Size: volumeSize}, filepath.Join(h.web.Dir, "cached.raw.disk"))
	}
	for _, name := range b.Asked() {
		if !slices.Contains(b.Answered(), name) {
			h.made(t, <-h.ask(t, 2, "cached.raw", name), plugin.Hit)
		}
	}
	h.settled(t, h.hosts[2])
}
