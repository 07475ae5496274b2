package cinder_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/internaltenant/openstack"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// newClouds are daemons on one catalog, which lies at path, before one Cinder. A lease is looked after three times in leaseFor.
func newClouds(t *testing.T, n int, path string, leaseFor time.Duration) []*cloud {
	t.Helper()
	first := &cloud{cinder: cindertest.New(t), images: t.TempDir()}
	first.image(t, "debian")
	shared := catalog.Access{URL: catalog.FileURL(path)}
	var all []*cloud
	for i := range n {
		c := &cloud{name: fmt.Sprintf("host-%d", i), cinder: first.cinder, images: first.images, said: new(log)}
		logger := logrus.New()
		logger.SetOutput(io.Discard)
		logger.AddHook(c.said)
		c.open(t, plugin.Config{StateDir: t.TempDir(), Host: c.name, Catalog: shared, LeaseFor: leaseFor, Log: logger}, lru.Bounds{}, nil)
		all = append(all, c)
	}
	return all
}

// newTenant has its volumes in the fake.
func newTenant(state string, member *keystone.Account, ledger internaltenant.Ledger) (internaltenant.Owner, error) {
	catalog, err := plugin.CatalogOf(state)
	if err != nil {
		return nil, err
	}
	others, err := internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "local", UserID: "local"}, ledger)
	if err != nil {
		return nil, err
	}
	return openstack.New(openstack.Config{
		Account: member, Catalog: string(catalog), Others: others, Patience: time.Minute,
		Backends: []openstack.Backend{{Name: "lvm", VolumeType: cindertest.Type, Content: openstack.OfImage}},
	})
}

// Hosts that find all generations full at once make one more, not one each: the others lend what the first one has made.
// One of those that wait for it and stops takes nothing with it.
func TestSeveralHostsMakeOneGeneration(t *testing.T) {
	hosts := newClouds(t, 3, filepath.Join(t.TempDir(), "shared.db"), time.Hour)
	fake, stops := hosts[0].cinder, hosts[2]
	for i, h := range hosts {
		h.end(t, h.lend(t, "debian", fmt.Sprintf("full-%d", i)), backends.Full)
	}
	fake.With(func() { fake.Making = 1 << 30 })
	lent := make(chan plugin.Answer, len(hosts))
	ask := func(h *cloud) { lent <- h.lend(t, "debian", "v-"+h.name) }
	go ask(hosts[0])
	made := awaitGeneration(t, fake)
	go ask(hosts[1])
	asked, leave := context.WithCancel(t.Context())
	go func() { _, _ = stops.CreateVolume(asked, stops.request("debian", "v-"+stops.name)) }()
	select {
	case a := <-lent:
		t.Errorf("before another generation was made: %+v", a)
	case <-time.After(time.Second): // each would have begun one by now
	}
	leave()
	stopped := make(chan error, 1)
	go func() { stopped <- stops.Close(asked) }() // what it were making it would remove once it can
	fake.With(func() { fake.Making = 1 })
	for range 2 {
		if a := <-lent; a.Generation != made {
			t.Errorf("got %+v, want the generation %s that the first host made", a, made)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if all := fake.All(); len(all) != 2 {
		t.Errorf("Cinder has %+v, want one volume more than before", all)
	}
	hosts[0].agrees(t)
	hosts[1].agrees(t)
}

// A host that was stopped while it had a generation made finds its lease lost, and harms nothing of what another one goes on with.
func TestAHostThatWasOvertakenHarmsNoGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared.db")
	hosts := newClouds(t, 2, path, 3*time.Second)
	fake := hosts[0].cinder
	for _, h := range hosts {
		h.end(t, h.lend(t, "debian", "full-"+h.name), backends.Full)
	}
	fake.With(func() { fake.Making = 1 << 30 })
	lent := make(chan plugin.Answer, len(hosts))
	go func() { lent <- hosts[0].lend(t, "debian", "v0") }()
	made := awaitGeneration(t, fake)
	loseDuty(t, path, catalog.DutyGrow)
	go func() { lent <- hosts[1].lend(t, "debian", "v1") }()
	hosts[0].said.await(t, "duty is lost")
	fake.With(func() { fake.Making = 1 })
	for range hosts {
		if a := <-lent; a.Generation != made {
			t.Errorf("got %+v, want the generation %s", a, made)
		}
	}
	if all := fake.All(); len(all) != 2 {
		t.Errorf("Cinder has %+v, want one volume more than before", all)
	}
	hosts[0].agrees(t)
	hosts[1].agrees(t)
}

// loseDuty lets whoever is on a duty of one entry, or of one name, have lost it, as one that was stopped for longer than its lease.
func loseDuty(t *testing.T, path string, duty catalog.Duty) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_busy_timeout=20000")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	done, err := db.ExecContext(t.Context(), `UPDATE duties SET lease_until = 1, version = version + 1 WHERE duty LIKE ?`, string(duty)+" %")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("%d hosts were on duty, %v, want one", n, err)
	}
}

// log is what a daemon has said.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (*log) Levels() []logrus.Level { return logrus.AllLevels }

func (l *log) Fire(e *logrus.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, e.Message)
	return nil
}

// await waits until it has said something.
func (l *log) await(t *testing.T, what string) {
	t.Helper()
	said := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, what) })
	}
	late := time.After(time.Minute)
	for !said() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatalf("nobody said %q", what)
		}
	}
}

// awaitGeneration waits until Cinder is making a second generation.
func awaitGeneration(t *testing.T, fake *cindertest.Cinder) backends.GenerationID {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		for _, v := range fake.All() {
			if v.Metadata["clonecache_generation"] == "2" {
				return backends.GenerationID(v.ID)
			}
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("no generation was begun")
		}
	}
}

// agrees: a host says of the entry what Cinder has.
func (c *cloud) agrees(t *testing.T) {
	t.Helper()
	entries, err := c.Entries(t.Context(), plugin.EntryFilter{})
	if err != nil || len(entries) != 1 || entries[0].HeldBytes != int64(len(c.cinder.All()))<<30 {
		t.Errorf("%s: entries: %+v, %v", c.name, entries, err)
	}
	if found, err := c.Check(t.Context(), plugin.CheckOptions{}); err != nil || len(found.Problems) != 0 {
		t.Errorf("%s: check: %+v, %v", c.name, found, err)
	}
}
