//go:build ceph

package cephbench

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"

	ours "github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

const hosts = 3

// BenchmarkHosts compares three hosts whose catalog is on MariaDB with one that has its own: the time of a hit; and with as many
// clients of librbd alone: how many clones all of them make.
func BenchmarkHosts(b *testing.B) {
	for b.Loop() {
		alone, s := newSite(b), newSite(b)
		one, all := alone.library(b, "disk.raw"), s.libraries(b, "disk.raw")
		alone.hit(b, one, "disk.raw", "first", 0)
		for n, p := range all {
			s.hit(b, p, "disk.raw", fmt.Sprintf("first-%d", n), 0)
		}
		took := pairs(60*rounds,
			func(n int) { alone.hit(b, one, "disk.raw", fmt.Sprintf("alone-%d", n), 0) },
			func(n int) { s.hit(b, all[n%hosts], "disk.raw", fmt.Sprintf("host-%d", n), 0) })
		atMost(b, "hit: p50 of three hosts on MariaDB, to one on SQLite", float64(median(took[1]))/float64(median(took[0])), 1.05,
			fmt.Sprintf("%s and %s", milliseconds(median(took[1])), milliseconds(median(took[0]))))
		s.rates(b, all)
	}
}

// rates compares how many clones three hosts and three bare clients make, all at once.
func (s *site) rates(b *testing.B, all []*plugin.Plugin) {
	b.Helper()
	from := s.onlySource(b)
	var clients []*site
	for range hosts {
		clients = append(clients, s.client(b))
	}
	var next atomic.Int64
	turn := func(who string, clone func(host int, name string) error) contestant {
		return func(round int) time.Duration {
			return s.clones(b, 8*hosts, fmt.Sprintf("%s-%d", who, round), func(name string) error { return clone(int(next.Add(1)%hosts), name) })
		}
	}
	took := alternate(
		turn("bare", func(host int, name string) error { return clients[host].bareClone(from, name, imageBytes) }),
		turn("hosts", func(host int, name string) error { return create(b, all[host], "disk.raw", name, imageBytes) }))
	atLeast(b, "hit: rate of three hosts together to three bare clients", ratio(took[0], took[1]), 0.95,
		fmt.Sprintf("%s to %s", perSecond(8*hosts, took[1]), perSecond(8*hosts, took[0])))
}

// client is the same site by a connection of its own.
func (s *site) client(b *testing.B) *site {
	b.Helper()
	conn, err := rados.NewConnWithUser(user)
	check(b, err)
	check(b, errors.Join(conn.ReadConfigFile(conf()), conn.SetConfigOption("rbd_cache", "false"), conn.Connect()))
	b.Cleanup(conn.Shutdown)
	open := func(pool string) *rados.IOContext {
		io, err := conn.OpenIOContext(pool)
		check(b, err)
		b.Cleanup(io.Destroy)
		io.SetNamespace(s.namespace)
		return io
	}
	return &site{namespace: s.namespace, volumes: open(volumesPool), images: open(imagesPool)}
}

// libraries opens the cache once for each host, with one catalog on a MariaDB that is started for it.
func (s *site) libraries(b *testing.B, image string) []*plugin.Plugin {
	b.Helper()
	db := &harness.Database{Dir: filepath.Join(clusterDir(), "mariadb"), Port: harness.FreePort(b)}
	db.Up(b)
	shared := db.New(b)
	access := catalog.Access{URL: "mysql://clonecache@" + shared.Address + "/" + shared.Database, PasswordFile: shared.PasswordFile}
	_, err := catalog.Migrate(b.Context(), catalog.Config{Access: access})
	check(b, err)
	dir := b.TempDir()
	harness.SmallDisk(b, filepath.Join(dir, image), 0, imageBytes, imageData)
	var all []*plugin.Plugin
	for n := range hosts {
		backend, err := ours.Open(b.Context(), s.config())
		check(b, err)
		b.Cleanup(func() { check(b, backend.Close()) })
		from, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: dir})
		check(b, err)
		p, err := plugin.Open(b.Context(), plugin.Config{
			StateDir: b.TempDir(), Host: fmt.Sprintf("host-%d", n), Catalog: access,
			Backends: []plugin.BackendConfig{{Name: "ceph", Backend: backend}}, Sources: []imagesource.Source{from},
		})
		check(b, err)
		b.Cleanup(func() { check(b, p.Close(b.Context())) })
		all = append(all, p)
	}
	return all
}
