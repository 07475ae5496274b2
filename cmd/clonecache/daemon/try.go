package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/rawfile"
	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Trial is what trying a configuration found.
type Trial struct {
	Problems []config.Problem
	Warnings []config.Problem
	Facts    []string // what is good to know: reflinks, sources that answer
}

// Try tries what a configuration names, without starting anything and without leaving anything:
// directories, reflinks, secrets, image sources. A daemon that runs with it is not disturbed. What it
// finds holds for the user that runs it.
func Try(ctx context.Context, cfg config.Config) Trial {
	t := &Trial{}
	t.start(ctx, cfg)
	t.tenant(ctx, cfg)
	for i, b := range cfg.Backends {
		switch b.Kind {
		case "file":
			t.backend(cfg, i)
		case "rbd":
			t.ceph(ctx, fmt.Sprintf("backend[%d]", i), "backend "+b.Name, rbdConfig(cfg, b, "", nil))
		}
	}
	for i := range cfg.FileCaches {
		t.fileCache(cfg, i)
	}
	for i, s := range cfg.ImageSources {
		t.source(ctx, fmt.Sprintf("image_source[%d]", i), s)
	}
	return *t
}

// TryStart tries what a daemon that did not start may have failed at: its own directories, and where it
// listens.
func TryStart(ctx context.Context, cfg config.Config) []config.Problem {
	t := &Trial{}
	t.start(ctx, cfg)
	return t.Problems
}

func (t *Trial) start(ctx context.Context, cfg config.Config) {
	t.directory("state_dir", string(cfg.StateDir))
	t.directory("scratch_dir", string(cfg.ScratchDir))
	t.listeners(ctx, cfg, isLocked(filepath.Join(string(cfg.StateDir), "lock")))
}

// tryBackend tries one backend of the files' kind.
func tryBackend(cfg config.Config, i int) []config.Problem {
	t := &Trial{}
	if cfg.Backends[i].Kind == "file" {
		t.backend(cfg, i)
	}
	return t.Problems
}

func (t *Trial) backend(cfg config.Config, i int) {
	b := cfg.Backends[i]
	key := fmt.Sprintf("backend[%d].path", i)
	at := t.store(key, "backend "+b.Name, string(b.Path), knownRecord(cfg, b.Name, b.Path))
	t.held(cfg, key, b.Name, at)
	if owner := volumeOwner(b); at != "" && owner != (file.Owner{}) {
		if err := owner.Try(at); err != nil {
			t.problem(fmt.Sprintf("backend[%d].volume_owner", i), err,
				"make the user and the group; only root may give files to other users: run the daemon as root, or give volume_group one of its user's own groups")
		}
	}
}

func tryFileCache(cfg config.Config, i int) []config.Problem {
	t := &Trial{}
	t.fileCache(cfg, i)
	return t.Problems
}

func (t *Trial) fileCache(cfg config.Config, i int) {
	f := cfg.FileCaches[i]
	key := fmt.Sprintf("file_cache[%d].path", i)
	at := t.store(key, "file cache "+f.Name, string(f.Path), knownRecord(cfg, f.Name, f.Path))
	t.held(cfg, key, f.Name, at)
}

// held finds out whose the store in a directory is, and whether another state_dir's daemon has it open; "" is none.
func (t *Trial) held(cfg config.Config, key, name, dir string) {
	if dir == "" {
		return
	}
	state, own := string(cfg.StateDir), filepath.Join(dir, ".clonecache")
	if isLocked(filepath.Join(own, "lock")) && !isLocked(filepath.Join(state, "lock")) {
		t.problem(key, fmt.Errorf("another clonecache uses %s", dir), "stop that one, or give this one a directory of its own")
		return
	}
	is, err := rawfile.Look(own)
	if err != nil {
		t.problem(key, err, "let the daemon's user read it")
		return
	}
	ours, err := plugin.KnownCatalogOf(state)
	if err != nil || is.By.Catalog == "" || is.By.Catalog == ours {
		return
	}
	t.problem(key, &backends.HeldError{By: is.By},
		fmt.Sprintf("if that installation is gone for good, run `clonecache backend take-over %s`, else give this one a directory of its own", name))
}

// isLocked tells whether a process holds a lock file. It takes the lock, if nobody has it, for the moment of the
// look. One that this user may not open is taken for held.
func isLocked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return errors.Is(err, os.ErrPermission)
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func (t *Trial) problem(key string, err error, remedy string) {
	t.Problems = append(t.Problems, config.Problem{Key: key, What: err.Error(), Remedy: remedy})
}

func (t *Trial) fact(format string, args ...any) {
	t.Facts = append(t.Facts, fmt.Sprintf(format, args...))
}

// directory checks that a directory can be written to, or made. It returns the nearest one that is
// there; "" where it cannot be used.
func (t *Trial) directory(key, path string) string {
	at := path
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			t.problem(key, fmt.Errorf("%s is not a directory", at), "give another path, or move it away")
			return ""
		}
		if err == nil {
			break
		}
		if !os.IsNotExist(err) {
			t.problem(key, err, "give this user the right to look there")
			return ""
		}
		at = filepath.Dir(at)
	}
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		if errors.Is(err, unix.EROFS) {
			t.problem(key, fmt.Errorf("%s cannot be written to: %w", at, err), "mount it for writing; where the kernel took that away, dmesg says why")
			return ""
		}
		t.problem(key, fmt.Errorf("%s cannot be written to: %w", at, err), fmt.Sprintf("run this as the daemon's user, or make %s and give it to that user", path))
		return ""
	}
	return at
}

// store checks a directory for volumes or images, and finds out whether it has reflinks. The record is of the
// store that it was when a daemon last opened it. It returns the nearest directory that is there; "" where it
// cannot be used.
func (t *Trial) store(key, name, path, record string) (at string) {
	if at = t.directory(key, path); at == "" {
		return ""
	}
	known := rawfile.Known{Dir: path, Marker: rawfile.Marker(filepath.Join(path, ".clonecache")), Record: record}
	if err := known.Check(); err != nil {
		t.problem(key, err, "mount its filesystem, or do as docs/operations.md says of a store that was exchanged")
		return ""
	}
	f, err := rawfile.Probe(at)
	if err != nil {
		t.problem(key, err, "use a local filesystem with room on it")
		return ""
	}
	where := at
	if at != path {
		where = path + ", to be made in " + at
	}
	if f.Reflinks {
		t.fact("%s: %s (%s) has reflinks: volumes are clones", name, where, f.Filesystem)
	} else {
		t.fact("%s: %s (%s) has no reflinks: volumes are copies", name, where, f.Filesystem)
	}
	return at
}

// ceph connects to a cluster and looks into its pools.
func (t *Trial) ceph(ctx context.Context, key, name string, c rbd.Config) {
	fact, err := rbd.Check(ctx, c)
	if err != nil {
		t.problem(key, err, "see docs/ceph.md")
		return
	}
	t.fact("%s: %s", name, fact)
}

func (t *Trial) source(ctx context.Context, at string, s config.ImageSource) {
	switch s.Kind {
	case "directory":
		entries, err := os.ReadDir(string(s.Path))
		if err != nil {
			t.problem(at+".path", err, "make the directory, or let the daemon's user read it")
			return
		}
		t.fact("image source %s: %s has %d files", s.Name, s.Path, len(entries))
	case "http":
		t.web(ctx, at, s)
	case "glance":
		t.glance(ctx, at, s)
	}
}

// web asks a server as the source would: through its proxy, with its certificates and its login.
func (t *Trial) web(ctx context.Context, at string, s config.ImageSource) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for key, file := range map[string]config.SecretFile{".password_file": s.PasswordFile, ".token_file": s.TokenFile} {
		if err := file.Check(); err != nil {
			t.problem(at+key, err, "")
			return
		}
	}
	source, err := webSource(s, nil)
	if err != nil {
		t.problem(at, err, "correct that key")
		return
	}
	status, err := source.Check(ctx)
	switch {
	case errors.Is(err, imagesource.ErrCertificate):
		t.problem(at+".ca_file", err, "")
	case errors.Is(err, imagesource.ErrLogin):
		t.problem(at+".user", err, "give user and password_file, or token_file; a proxy's login goes into the environment (https_proxy)")
	case errors.Is(err, imagesource.ErrRefused):
		t.problem(at+".redirects", err, "")
	case err != nil:
		t.problem(at+".url", err, "check the URL, the network, and the proxy")
	default:
		t.fact("image source %s: %s answers (%s)", s.Name, s.URL, status)
	}
}

// listeners tries where the daemon would listen; running tells that a daemon has this state_dir, and so listens
// there already.
func (t *Trial) listeners(ctx context.Context, cfg config.Config, running bool) {
	for key, l := range listenKeys(cfg) {
		taken, err := isTaken(ctx, l)
		switch {
		case taken && running:
			t.fact("a daemon listens at %s already", l)
		case taken:
			t.problem(key, fmt.Errorf("something else listens at %s", l), "stop it (ss -lxtp shows what it is), or listen elsewhere")
		case err != nil:
			t.problem(key, err, "listen at an address of this host, at a port that this user may bind")
		case l.Network == "unix":
			t.directory(key, filepath.Dir(l.Address))
		}
	}
	if g := cfg.SocketGroup; g != "" {
		if _, err := groupID(g); err != nil {
			t.problem("socket_group", err, "make the group, or leave socket_group out")
		}
	}
	if err := cfg.TokenFile.Check(); err != nil {
		t.problem("token_file", err, "")
	}
	if err := cfg.MetricsTokenFile.Check(); err != nil {
		t.problem("metrics_token_file", err, "")
	}
	if err := cfg.TLS.KeyFile.Check(); err != nil {
		t.problem("tls.key_file", err, "")
	} else if cfg.TLS.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(string(cfg.TLS.CertFile), string(cfg.TLS.KeyFile)); err != nil {
			t.problem("tls", err, "give a certificate and its own key, both as PEM")
		}
	}
}

// listenKeys yields all addresses by their keys in the configuration.
func listenKeys(cfg config.Config) iter.Seq2[string, config.Listen] {
	return func(yield func(string, config.Listen) bool) {
		for i, l := range cfg.Listen {
			if !yield(fmt.Sprintf("listen[%d]", i), l) {
				return
			}
		}
		for i, l := range cfg.MetricsListen {
			if !yield(fmt.Sprintf("metrics_listen[%d]", i), l) {
				return
			}
		}
	}
}

// isTaken tells whether something listens at an address. A TCP port is bound for the moment of the look.
func isTaken(ctx context.Context, l config.Listen) (bool, error) {
	if l.Network == "unix" {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "unix", l.Address); err == nil {
			return true, conn.Close()
		}
		return false, nil // nobody, or nobody whom it may ask
	}
	var lc net.ListenConfig
	bound, err := lc.Listen(ctx, l.Network, l.Address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return true, nil
	case err != nil:
		return false, err
	}
	return false, bound.Close()
}

// groupID is a group's number; it may be given as one.
func groupID(name string) (int, error) {
	if id, err := strconv.Atoi(name); err == nil {
		return id, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
