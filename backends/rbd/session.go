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

	fsid string // the cluster's

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
		return confError(c, err)
	}
	options := map[string]string{
		"client_mount_timeout": strconv.FormatFloat(c.ConnectTimeout.Seconds(), 'f', -1, 64),
		"rbd_cache":            "false", // what is written is at the OSDs when a write returns
		"rbd_validate_pool":    "false", // register does that, once and not for each image
	}
	if c.Keyring != "" {
		options["keyring"] = c.Keyring
	}
	for option, value := range options {
		if err := s.conn.SetConfigOption(option, value); err != nil {
			return fmt.Errorf("set %s: %w", option, err)
		}
	}
	if err := s.hasKey(c); err != nil {
		return err
	}
	if err := s.conn.Connect(); err != nil {
		return connectError(c, err)
	}
	s.client = strconv.FormatUint(s.conn.GetInstanceID(), 16)
	var err error
	if s.fsid, err = s.conn.GetFSID(); err != nil {
		return err
	}
	if s.volumes, err = s.pool(c, c.Pool); err != nil {
		return err
	}
	s.images, err = s.pool(c, c.ImageVolumePool)
	return err
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
	if err != nil && b.sessions.current == nil {
		return nil, err
	}
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
	b.mu.Lock()
	b.fsid = s.fsid
	b.mu.Unlock()
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
