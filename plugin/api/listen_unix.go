package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// socketSuffix is of a socket that is not in its place yet.
const socketSuffix = ".new"

// LongestSocket is how many bytes the path of a unix socket may have: what the kernel takes, less the suffix
// and the final zero.
const LongestSocket = 108 - len(socketSuffix) - 1

// socket is a unix listener that removes its own file, and no other, when it is closed.
type socket struct {
	net.Listener
	path string
	file fs.FileInfo
}

// listenUnix binds beside path, sets mode and group there, and only then renames the socket to path: it
// is never open to more than it should be, and whoever finds it finds it listening.
func listenUnix(ctx context.Context, path string, cfg listening) (*Listener, error) {
	if len(path) > LongestSocket {
		return nil, fmt.Errorf("the path has %d bytes, a socket's may have %d; choose a shorter one", len(path), LongestSocket)
	}
	gid, err := groupID(cfg.SocketGroup)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if err := checkVacant(ctx, path); err != nil {
		return nil, err
	}
	inner, err := bindAside(ctx, path+socketSuffix, cmp.Or(cfg.SocketMode, 0o660), gid)
	if err != nil {
		return nil, err
	}
	l := &socket{Listener: inner, path: path}
	err = os.Rename(path+socketSuffix, path)
	if err == nil {
		l.file, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("put the socket in its place: %w", err), inner.Close())
	}
	return &Listener{Listener: l, URL: "unix://" + path, open: true}, nil
}

// bindAside listens at a path that nobody knows yet. What a process that died left there is removed.
func bindAside(ctx context.Context, path string, mode os.FileMode, gid int) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove a leftover socket: %w", err)
	}
	var lc net.ListenConfig
	inner, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, explainBind(err)
	}
	if u, ok := inner.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // its name changes; socket.Close removes it
	}
	err = os.Chmod(path, mode.Perm())
	if err == nil && gid >= 0 {
		err = os.Chown(path, -1, gid)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set the socket's mode and group: %w", err), inner.Close(), os.Remove(path))
	}
	return inner, nil
}

// checkVacant refuses a path where something answers, or that is no socket.
func checkVacant(ctx context.Context, path string) error {
	const patience = 2 * time.Second
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket; move it away, or listen elsewhere", path)
	}
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("%w: %s answers; stop it, or listen elsewhere", ErrListening, path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil // stale: it is replaced
	default:
		return fmt.Errorf("find out whether a daemon listens at %s: %w", path, err)
	}
}

// groupID is -1 for no group.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if id, err := strconv.Atoi(group); err == nil && id >= 0 {
		return id, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("find the socket's group: %w", err)
	}
	return strconv.Atoi(g.Gid)
}

// Close stops listening and removes the socket, unless another daemon has put its own in its place.
func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(fmt.Errorf("remove the socket: %w", err), s.Listener.Close())
		}
	}
	return s.Listener.Close()
}

// explainBind says what another process on the same address means.
func explainBind(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", ErrListening, err)
	}
	return err
}
