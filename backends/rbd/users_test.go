//go:build ceph

package rbd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// adminConn is a connection as client.admin.
func adminConn(tb testing.TB) *rados.Conn {
	tb.Helper()
	conn, err := rados.NewConnWithUser("admin")
	if err == nil {
		tb.Cleanup(conn.Shutdown)
		err = conn.ReadConfigFile(filepath.Join(cluster.dir, "ceph.conf"))
	}
	if err == nil {
		err = conn.Connect()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// ask asks the mons as client.admin.
func askMons(tb testing.TB, prefix string, args map[string]any) []byte {
	tb.Helper()
	all := map[string]any{"prefix": prefix}
	for k, v := range args {
		all[k] = v
	}
	in, err := json.Marshal(all)
	if err != nil {
		tb.Fatal(err)
	}
	out, text, err := adminConn(tb).MonCommand(in)
	if err != nil {
		tb.Fatalf("ceph %s %v: %s: %v", prefix, args, text, err)
	}
	return out
}

// pool makes a pool for RBD if it is not there.
func pool(tb testing.TB, name string) {
	tb.Helper()
	askMons(tb, "osd pool create", map[string]any{"pool": name, "pg_num": 8})
	askMons(tb, "osd pool application enable", map[string]any{"pool": name, "app": "rbd"})
}

var users atomic.Int64

// as makes a cephx user with these capabilities, whom the configuration then names.
func as(tb testing.TB, c Config, mon string, osd ...string) Config {
	tb.Helper()
	c.User = fmt.Sprintf("test-%d-%d", os.Getpid(), users.Add(1))
	var caps []string
	if mon != "" {
		caps = append(caps, "mon", mon)
	}
	if len(osd) > 0 {
		caps = append(caps, "osd", strings.Join(osd, ", "))
	}
	keyring := askMons(tb, "auth get-or-create", map[string]any{"entity": "client." + c.User, "caps": caps})
	c.Keyring = filepath.Join(tb.TempDir(), "keyring")
	if err := os.WriteFile(c.Keyring, keyring, 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { askMons(tb, "auth del", map[string]any{"entity": "client." + c.User}) })
	return c
}

// glance is an image with a snapshot in a pool of its own, as Glance keeps it.
type glance struct {
	pool, image string
	io          *rados.IOContext
	location    string
}

func newGlance(tb testing.TB, fsid, image string) glance {
	tb.Helper()
	pool(tb, "glance")
	g := glance{pool: "glance", image: image, io: admin(tb, "glance", "")}
	err := withOptions(rbd.FeatureLayering, func(o *rbd.ImageOptions) error { return rbd.CreateImage(g.io, image, 8<<20, o) })
	if err != nil {
		tb.Fatal(err)
	}
	writeTo(tb, g.io, image)
	snapshot(tb, g.io, image, "snap")
	g.location = "rbd://" + fsid + "/glance/" + strings.ReplaceAll(image, " ", "%20") + "/snap"
	return g
}

func directSpec(name, token, location string) backends.VolumeSpec {
	s := specOf(name, token)
	s.Origin = backends.Origin{ImageID: "glance:image", DirectFrom: location}
	return s
}
