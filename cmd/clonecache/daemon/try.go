package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/rawfile"
	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
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
	t.directory("state_dir", string(cfg.StateDir))
	t.directory("scratch_dir", string(cfg.ScratchDir))
	t.listeners(ctx, cfg)
	t.tenant(ctx, cfg)
	for i, b := range cfg.Backends {
		switch b.Kind {
		case "file":
			t.store(fmt.Sprintf("backend[%d].path", i), "backend "+b.Name, string(b.Path))
		case "rbd":
			t.ceph(ctx, fmt.Sprintf("backend[%d]", i), "backend "+b.Name, rbdConfig(cfg, b, "", nil))
		}
	}
	for i, f := range cfg.FileCaches {
		t.store(fmt.Sprintf("file_cache[%d].path", i), "file cache "+f.Name, string(f.Path))
	}
	for i, s := range cfg.ImageSources {
		t.source(ctx, fmt.Sprintf("image_source[%d]", i), s)
	}
	return *t
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
		t.problem(key, fmt.Errorf("%s cannot be written to: %w", at, err), fmt.Sprintf("run this as the daemon's user, or make %s and give it to that user", path))
		return ""
	}
	return at
}

// store checks a directory for volumes or images, and finds out whether it has reflinks.
func (t *Trial) store(key, name, path string) {
	at := t.directory(key, path)
	if at == "" {
		return
	}
	f, err := rawfile.Probe(at)
	if err != nil {
		t.problem(key, err, "use a local filesystem with room on it")
		return
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
		status, err := reach(ctx, s.URL)
		if err != nil {
			t.problem(at+".url", err, "check the URL, the network, and the server's certificate")
			return
		}
		t.fact("image source %s: %s answers (%s)", s.Name, s.URL, status)
	case "glance":
		t.glance(ctx, at, s)
	}
}

// reach asks for an address; any answer is one, since many servers list no folders.
func reach(ctx context.Context, url string) (status string, err error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return resp.Status, nil
}

func (t *Trial) listeners(ctx context.Context, cfg config.Config) {
	for i, l := range cfg.Listen {
		if l.Network != "unix" {
			continue
		}
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "unix", l.Address); err == nil {
			_ = conn.Close()
			t.fact("a daemon listens at %s already", l)
			continue
		}
		t.directory(fmt.Sprintf("listen[%d]", i), filepath.Dir(l.Address))
	}
	if g := cfg.SocketGroup; g != "" {
		if _, err := groupID(g); err != nil {
			t.problem("socket_group", err, "make the group, or leave socket_group out")
		}
	}
	if err := cfg.TokenFile.Check(); err != nil {
		t.problem("token_file", err, "")
	}
	if err := cfg.TLS.KeyFile.Check(); err != nil {
		t.problem("tls.key_file", err, "")
	} else if cfg.TLS.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(string(cfg.TLS.CertFile), string(cfg.TLS.KeyFile)); err != nil {
			t.problem("tls", err, "give a certificate and its own key, both as PEM")
		}
	}
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
