//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// Check connects as the configuration says and looks whether everything needed is there, without
// changing anything. It answers what it found, as a sentence; an error names what is missing and the
// command that mends it. backends.ErrUnavailable: no mon answers.
func Check(ctx context.Context, c Config) (string, error) {
	c, err := c.complete()
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s, err := connect(c)
	if err != nil {
		return "", err
	}
	defer s.close()
	if err := s.ready(c); err != nil {
		return "", err
	}
	return fmt.Sprintf("pool %s of Ceph cluster %s is there for client.%s: volumes are clones", c.location(), s.fsid, c.User), nil
}

// ready finds out whether the cluster, the user's capabilities and the pools are as they must be.
func (s *session) ready(c Config) error {
	if err := s.clonesV2(); err != nil {
		return err
	}
	for _, p := range []struct {
		name string
		io   *rados.IOContext
	}{{c.Pool, s.volumes}, {c.ImageVolumePool, s.images}} {
		if err := mayUse(p.io); err != nil {
			return usingPool(c, p.name, err)
		}
		if err := hasNamespace(c, p.name, p.io); err != nil {
			return err
		}
	}
	return nil
}

func usingPool(c Config, pool string, err error) error {
	if code := errno(err); code == syscall.EPERM || code == syscall.EACCES {
		return fmt.Errorf("client.%s may not use pool %s: %s; give it `%s`", c.User, c.capability(pool), code, authLine(c))
	}
	return fmt.Errorf("use pool %s: %w", pool, err)
}

// mayUse finds out whether the user may read, write and call Ceph's RBD class in a pool. It does so on an
// object that is not there, so nothing changes.
func mayUse(io *rados.IOContext) error {
	const nothing = indexObject + ".nothing"
	_, err := io.Stat(nothing)
	if err := ignore(err, syscall.ENOENT); err != nil {
		return err
	}
	if err := ignore(io.Delete(nothing), syscall.ENOENT); err != nil {
		return err
	}
	return dropRecord(io, nothing, volumeKey)
}

// tooOld are the releases whose clients cannot use clones of format 2.
var tooOld = []string{
	"argonaut", "bobtail", "cuttlefish", "dumpling", "emperor", "firefly", "giant", "hammer", "infernalis", "jewel", "kraken", "luminous",
}

// clonesV2 finds out whether the cluster expects clients that can use clones of format 2.
func (s *session) clonesV2() error {
	var dump struct {
		Oldest string `json:"require_min_compat_client"`
	}
	if err := command(s.conn, "osd dump", &dump); err != nil {
		return err
	}
	if slices.Contains(tooOld, dump.Oldest) {
		return fmt.Errorf("the cluster still expects clients as old as %s, which cannot use clones whose snapshot is not protected; "+
			"once none is left, tell it so with `ceph osd set-require-min-compat-client mimic`", dump.Oldest)
	}
	return nil
}

// hasNamespace also sees that a pool is one for RBD.
func hasNamespace(c Config, pool string, io *rados.IOContext) error {
	if c.Namespace == "" {
		return nil
	}
	there, err := rbd.NamespaceExists(io, c.Namespace)
	if err != nil {
		return fmt.Errorf("look for namespace %s in pool %s: %w", c.Namespace, pool, err)
	}
	if !there {
		return fmt.Errorf("there is no namespace %s in pool %s; make it with `rbd namespace create %s/%s`", c.Namespace, pool, pool, c.Namespace)
	}
	return nil
}

// confError says what is wrong with Ceph's configuration file.
func confError(c Config, err error) error {
	if _, at := os.Stat(c.Conf); errors.Is(at, fs.ErrNotExist) || errors.Is(at, fs.ErrPermission) {
		err = at
	}
	return fmt.Errorf("read Ceph's configuration: %w; conf must name a file like /etc/ceph/ceph.conf that this user may read", err)
}

// hasKey finds out whether a keyring that is to be read holds the user's key: without one, librados asks
// the mons all the same and says that they refuse it.
func (s *session) hasKey(c Config) error {
	for _, option := range []string{"key", "keyfile"} {
		if value, err := s.conn.GetConfigOption(option); err != nil || value != "" {
			return err
		}
	}
	keyrings, err := s.conn.GetConfigOption("keyring")
	if err != nil {
		return err
	}
	var why error
	for _, path := range strings.FieldsFunc(keyrings, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "[client."+c.User+"]") {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			why = errors.Join(why, err)
		}
	}
	if why != nil {
		return fmt.Errorf("no key of client.%s: %w; let this user read it", c.User, why)
	}
	return fmt.Errorf("no key of client.%s in %s; write it there with `ceph auth get client.%s -o FILE`, and name the file in keyring", c.User, keyrings, c.User)
}

// connectError says what an operator can do about it.
func connectError(c Config, err error) error {
	if is(err, syscall.ENOENT) || is(err, syscall.EINVAL) {
		return fmt.Errorf("connect as client.%s: %s names no mon that can be reached; it needs mon_host, as `ceph config generate-minimal-conf` writes it", c.User, c.Conf)
	}
	if is(err, syscall.EACCES) || is(err, syscall.EPERM) {
		return fmt.Errorf("connect as client.%s: the mons refuse its key or its capabilities; write its key with `ceph auth get client.%s -o FILE` "+
			"and name the file in keyring, and give it its capabilities with `%s`", c.User, c.User, authLine(c))
	}
	if is(err, syscall.ETIMEDOUT) {
		return fmt.Errorf("connect as client.%s: no mon of %s answers within %v: %w", c.User, c.Conf, c.ConnectTimeout, backends.ErrUnavailable)
	}
	return fmt.Errorf("connect as client.%s: %w", c.User, err)
}

func (s *session) pool(c Config, name string) (*rados.IOContext, error) {
	io, err := s.conn.OpenIOContext(name)
	if is(err, syscall.ENOENT) {
		return nil, fmt.Errorf("there is no pool %q; make it with `ceph osd pool create %s` and `rbd pool init %s`", name, name, name)
	}
	if err != nil {
		return nil, fmt.Errorf("open pool %q: %w", name, err)
	}
	io.SetNamespace(c.Namespace)
	// A full cluster refuses what needs room, instead of letting it wait, and removals go on.
	if err := io.SetPoolFullTry(); err != nil {
		io.Destroy()
		return nil, fmt.Errorf("open pool %q: %w", name, err)
	}
	return io, nil
}

// authLine is the command that gives the user what it needs, and more where that is named.
func authLine(c Config, more ...string) string {
	osd := "profile rbd pool=" + c.capability(c.Pool)
	if c.ImageVolumePool != c.Pool {
		osd += ", profile rbd pool=" + c.capability(c.ImageVolumePool)
	}
	for _, m := range more {
		osd += ", " + m
	}
	return fmt.Sprintf("ceph auth caps client.%s mon 'profile rbd' osd '%s'", c.User, osd)
}

func (c Config) capability(pool string) string {
	if c.Namespace == "" {
		return pool
	}
	return pool + " namespace=" + c.Namespace
}
