//go:build ceph

package rbd

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"syscall"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/backends"
)

// session is one connection to the cluster with its pools. It may be used by several goroutines.
type session struct {
	conn    *rados.Conn
	volumes *rados.IOContext
	images  *rados.IOContext

	// client is the number that the mon gave to this connection, in hexadecimal. It is never given again,
	// and begins the RBD ID of each image that the connection creates.
	client string

	// broken is set once the cluster has blocklisted this client.
	broken bool
}

// connect opens a session. It may take Config.ConnectTimeout.
func connect(c Config) (*session, error) {
	conn, err := rados.NewConnWithUser(c.User)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn}
	if err := s.open(c); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) open(c Config) error {
	if err := s.conn.ReadConfigFile(c.Conf); err != nil {
		return fmt.Errorf("read %s: %w; conf must name Ceph's configuration file", c.Conf, err)
	}
	options := map[string]string{
		"client_mount_timeout": strconv.FormatFloat(c.ConnectTimeout.Seconds(), 'f', -1, 64),
		"rbd_cache":            "false", // what is written is at the OSDs when a write returns
	}
	if c.Keyring != "" {
		options["keyring"] = c.Keyring
	}
	for option, value := range options {
		if err := s.conn.SetConfigOption(option, value); err != nil {
			return fmt.Errorf("set %s: %w", option, err)
		}
	}
	if err := s.conn.Connect(); err != nil {
		return connectError(c, err)
	}
	s.client = strconv.FormatUint(s.conn.GetInstanceID(), 16)
	var err error
	if s.volumes, err = s.pool(c, c.Pool); err != nil {
		return err
	}
	s.images, err = s.pool(c, c.ImageVolumePool)
	return err
}

// connectError says what an operator can do about it.
func connectError(c Config, err error) error {
	keyring := c.Keyring
	if keyring == "" {
		keyring = "the keyring that " + c.Conf + " names"
	}
	switch errno(err) {
	case syscall.ENOENT, syscall.EINVAL:
		return fmt.Errorf("connect as client.%s: no key in %s: %w; write it with `ceph auth get client.%s -o FILE` and name the file in keyring",
			c.User, keyring, err, c.User)
	case syscall.EACCES, syscall.EPERM:
		return fmt.Errorf("connect as client.%s: the mons refuse the key in %s: %w; compare it with `ceph auth get client.%s`",
			c.User, keyring, err, c.User)
	case syscall.ETIMEDOUT:
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
	return io, nil
}

// authLine is the command that gives the user what it needs.
func authLine(c Config) string {
	osd := "profile rbd pool=" + c.capability(c.Pool)
	if c.ImageVolumePool != c.Pool {
		osd += ", profile rbd pool=" + c.capability(c.ImageVolumePool)
	}
	return fmt.Sprintf("ceph auth caps client.%s mon 'profile rbd' osd '%s'", c.User, osd)
}

func (c Config) capability(pool string) string {
	if c.Namespace == "" {
		return pool
	}
	return pool + " namespace=" + c.Namespace
}

func (s *session) close() {
	for _, io := range []*rados.IOContext{s.volumes, s.images} {
		if io != nil {
			io.Destroy()
		}
	}
	s.conn.Shutdown()
}

// sessions keeps one session open, and replaces it once it is broken.
type sessions struct {
	mu      sync.Mutex
	current *session
	old     []*session // broken; work may still use them
}

// connected returns the session, a new one where the last was blocklisted.
func (b *Backend) connected(ctx context.Context) (*session, error) {
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	if s := b.sessions.current; s != nil && !s.broken {
		return s, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := connect(b.config)
	if err != nil {
		return nil, fmt.Errorf("connect again: %w: %w", backends.ErrUnavailable, err)
	}
	if err := b.register(s); err != nil {
		s.close()
		return nil, err
	}
	if b.sessions.current != nil {
		b.sessions.old = append(b.sessions.old, b.sessions.current)
	}
	b.sessions.current = s
	return s, nil
}

// observe notices that the cluster has cut this client off: a new connection is made then.
func (b *Backend) observe(s *session, err error) {
	if !is(err, syscall.ESHUTDOWN) {
		return
	}
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	if !s.broken && b.config.Log != nil {
		b.config.Log.WithField("backend", b.config.Name).Warn("the cluster has blocklisted this client; connecting anew")
	}
	s.broken = true
}

// close closes all sessions.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.old {
		old.close()
	}
	if s.current != nil {
		s.current.close()
	}
	s.old, s.current = nil, nil
}

// Check connects as the configuration says and looks whether everything needed is there, without
// changing anything. It answers what it found, as a sentence.
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
	if err := s.mayRead(c); err != nil {
		return "", err
	}
	fsid, err := s.conn.GetFSID()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("pool %s of Ceph cluster %s is there for client.%s: volumes are clones", c.location(), fsid, c.User), nil
}

// mayRead finds out whether the user's capabilities reach into both pools.
func (s *session) mayRead(c Config) error {
	for pool, io := range map[string]*rados.IOContext{c.Pool: s.volumes, c.ImageVolumePool: s.images} {
		_, err := io.Stat("rbd_directory")
		if code := errno(err); code == syscall.EPERM || code == syscall.EACCES {
			return fmt.Errorf("client.%s may not use pool %s: %w; give it `%s`", c.User, pool, err, authLine(c))
		}
		if err := ignore(err, syscall.ENOENT); err != nil {
			return fmt.Errorf("look into pool %s: %w", pool, err)
		}
	}
	return nil
}
