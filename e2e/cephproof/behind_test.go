//go:build ceph

package cephproof

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// What others do to an image-volume that is in use: the next request gets its volume all the same, and what
// is counted is what is there.
func TestAnImageVolumeTouchedByOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		clones int // live ones when it is touched
		touch  func(io *rados.IOContext, name string) error
	}{
		{"deleted", 0, func(io *rados.IOContext, name string) error {
			return errors.Join(unsnap(io, name), rbd.RemoveImage(io, name))
		}},
		{"renamed", 1, func(io *rados.IOContext, name string) error { return rbd.GetImage(io, name).Rename("renamed") }},
		{"put into the trash", 1, func(io *rados.IOContext, name string) error { return rbd.GetImage(io, name).Trash(0) }},
		{"put into the trash without clones", 0, func(io *rados.IOContext, name string) error { return rbd.GetImage(io, name).Trash(0) }},
		{"robbed of its snapshot", 1, unsnap},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlayer(t, harness.Config{Images: shelf.Make(t)})
			p.Start(t)
			p.do(t, shelf.Create("first"))
			if c.clones == 0 {
				p.do(t, harness.DeleteVolume("first"))
			}
			touched := p.Entries(t)[0].ImageVolume
			if err := c.touch(p.site.images.IOContext, "clonecache-"+touched); err != nil {
				t.Fatal(err)
			}
			p.do(t, shelf.Create("hit"))
			if a := p.Answer; a.Outcome != plugin.Filled && a.Outcome != plugin.Hit {
				t.Errorf("the next request: got %s, %s (%s), want a fill or a hit", a.Outcome, a.Reason, a.Detail)
			}
			t.Logf("the next request: %s", p.Answer.Outcome)
			p.Idle(t)
			if got := len(p.Whole(t)); got != 1+c.clones {
				t.Errorf("volumes: got %d, want %d", got, 1+c.clones)
			}
		})
	}
}

// do does an act that must succeed.
func (p player) do(t *testing.T, a harness.Act) {
	t.Helper()
	if err := a.Do(t, p.Player); err != nil {
		t.Fatal(err)
	}
}

func unsnap(io *rados.IOContext, name string) error {
	image, err := rbd.OpenImage(io, name, rbd.NoSnapshot)
	if err != nil {
		return err
	}
	return errors.Join(image.GetSnapshot("clonecache").Remove(), image.Close())
}

// A daemon that the cluster has cut off connects anew, and goes on with hits and fills.
func TestABlocklistedDaemon(t *testing.T) {
	t.Parallel()
	p := newPlayer(t, harness.Config{Images: shelf.Make(t)})
	p.Start(t)
	p.do(t, shelf.Create("first"))
	for _, address := range p.addresses(t) {
		cluster.Do(t, "ceph", "osd", "blocklist", "add", address)
	}
	tries := 0
	harness.Until(t, "the daemon has connected anew, and makes volumes", func() bool {
		tries++
		err := shelf.Create("hit").Do(t, p.Player)
		if err != nil && !errors.Is(err, harness.ErrBypassed) {
			t.Fatal(err)
		}
		if a := p.Answer; a.Outcome == plugin.Bypassed && a.Reason != plugin.ReasonUnavailable {
			t.Fatalf("bypassed, %s: %s", a.Reason, a.Detail)
		}
		return err == nil && len(p.clients(t)) > 1
	})
	t.Logf("connected anew after %d requests", tries)
	p.do(t, shelf.Create("second"))
	p.Idle(t)
	if got := len(p.Whole(t)); got != 3 {
		t.Errorf("volumes: got %d, want 3", got)
	}
}

// addresses are those of the daemon's connections to the cluster, as the mon knows them.
func (p player) addresses(t *testing.T) []string {
	t.Helper()
	ids := p.clients(t)
	text, err := cluster.Output("ceph", "tell", "mon.a", "sessions", "--format", "json")
	if err != nil {
		t.Fatal(err)
	}
	var sessions []struct {
		Client uint64 `json:"global_id"`
		Addrs  struct {
			Addrvec []struct {
				Addr  string `json:"addr"`
				Nonce int64  `json:"nonce"`
			} `json:"addrvec"`
		} `json:"addrs"`
	}
	if err := json.Unmarshal(text, &sessions); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var addresses []string
	for _, s := range sessions {
		if ids[s.Client] {
			for _, a := range s.Addrs.Addrvec {
				addresses = append(addresses, fmt.Sprintf("%s/%d", a.Addr, a.Nonce))
			}
		}
	}
	if len(addresses) == 0 {
		t.Fatalf("the mon knows none of %v:\n%s", ids, text)
	}
	return addresses
}

// clients are the numbers of the daemon's connections so far, as the index has them.
func (p player) clients(t *testing.T) map[uint64]bool {
	t.Helper()
	keys, err := p.site.images.GetAllOmapValues("clonecache.index", "", "client/", 64)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[uint64]bool{}
	for key := range keys {
		var id uint64
		if _, err := fmt.Sscanf(strings.TrimPrefix(key, "client/"), "%x", &id); err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	return ids
}
