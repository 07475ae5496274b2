package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/catalog"
)

func newTrial(cfg config.Config) *kinds.Trial { return &kinds.Trial{StateDir: string(cfg.StateDir)} }

// Try tries what a configuration names, without starting anything and without leaving anything:
// directories, reflinks, secrets, image sources, Keystone, a catalog on a server, whose the stores are. A daemon that runs with it is not
// disturbed. What it finds holds for the user that runs it.
func Try(ctx context.Context, cfg config.Config) kinds.Trial {
	t := newTrial(cfg)
	start(ctx, cfg, t)
	tryCatalog(ctx, cfg, t)
	tryKeystone(ctx, cfg.API.Keystone, t)
	kinds.OfTenant(cfg.InternalTenant).Try(ctx, cfg, t.Part("internal_tenant", ""))
	for i, b := range cfg.Backends {
		kinds.OfBackend(b).Try(ctx, t.Part(fmt.Sprintf("backend[%d]", i), b.Name))
	}
	for i, f := range cfg.FileCaches {
		kinds.TryFileCache(f, t.Part(fmt.Sprintf("file_cache[%d]", i), f.Name))
	}
	for i, s := range cfg.ImageSources {
		kinds.OfSource(s).Try(ctx, t.Part(fmt.Sprintf("image_source[%d]", i), s.Name))
	}
	return *t
}

// catalogWithin bounds how long the catalog's server is waited for.
const catalogWithin = 10 * time.Second

// tryCatalog asks a catalog on a server whether it answers, and has this program's schema. A file is looked at by a start.
func tryCatalog(ctx context.Context, cfg config.Config, t *kinds.Trial) {
	if err := cfg.Catalog.PasswordFile.Check(); err != nil {
		t.Problem("catalog.password_file", err, "")
		return
	}
	access := catalogAccess(cfg)
	place, err := catalog.ParseURL(access.URL)
	if err != nil || !place.Server() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catalogWithin)
	defer cancel()
	c, err := catalog.Open(ctx, catalog.Config{Access: access})
	switch {
	case errors.Is(err, catalog.ErrSchema): // it says what helps
		t.Problem("catalog.url", err, "")
		return
	case err != nil:
		t.Problem("catalog.url", err, "see that the database runs and is reached from here, and that user, password_file and ca_file are right")
		return
	}
	_ = c.Close() // nothing was written
	t.Fact("catalog: %s answers, and its schema fits", place)
}

// keystoneWithin bounds how long Keystone is waited for.
const keystoneWithin = 10 * time.Second

// tryKeystone asks the Keystone by which people are let in whether it answers.
func tryKeystone(ctx context.Context, k config.APIKeystone, t *kinds.Trial) {
	if k.AuthURL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keystoneWithin)
	defer cancel()
	if err := keystone.TokensAt(k.AuthURL, string(k.CAFile)).Answer(ctx); err != nil {
		t.Problem("api.keystone", err, "see that auth_url is Keystone's, that it is reached from here, and that ca_file has who signs its certificate")
		return
	}
	t.Fact("Keystone at %s answers: who has a role there may use the API", k.AuthURL)
}

// TryStart tries what a daemon that did not start may have failed at: its own directories, and where it
// listens.
func TryStart(ctx context.Context, cfg config.Config) []config.Problem {
	t := newTrial(cfg)
	start(ctx, cfg, t)
	return t.Problems
}

func start(ctx context.Context, cfg config.Config, t *kinds.Trial) {
	t.State(string(cfg.ScratchDir))
	listeners(ctx, cfg, t)
}

// tryBackend tries the i-th backend.
func tryBackend(ctx context.Context, cfg config.Config, i int) []config.Problem {
	t := newTrial(cfg)
	b := cfg.Backends[i]
	kinds.OfBackend(b).Try(ctx, t.Part(fmt.Sprintf("backend[%d]", i), b.Name))
	return t.Problems
}

// tryFileCache tries the i-th file cache.
func tryFileCache(cfg config.Config, i int) []config.Problem {
	t := newTrial(cfg)
	f := cfg.FileCaches[i]
	kinds.TryFileCache(f, t.Part(fmt.Sprintf("file_cache[%d]", i), f.Name))
	return t.Problems
}

// listeners tries where the daemon would listen. A daemon that has this state_dir listens there already.
func listeners(ctx context.Context, cfg config.Config, t *kinds.Trial) {
	running := t.IsRunning()
	for key, l := range listenKeys(cfg) {
		taken, err := isTaken(ctx, l)
		switch {
		case taken && running:
			t.Fact("a daemon listens at %s already", l)
		case taken:
			t.Problem(key, fmt.Errorf("something else listens at %s", l), "stop it (ss -lxtp shows what it is), or listen elsewhere")
		case err != nil:
			t.Problem(key, err, "listen at an address of this host, at a port that this user may bind")
		case l.Network == "unix":
			t.Directory(key, filepath.Dir(l.Address))
		}
	}
	if g := cfg.SocketGroup; g != "" {
		if _, err := groupID(g); err != nil {
			t.Problem("socket_group", err, "make the group, or leave socket_group out")
		}
	}
	token(t, "token_file", cfg.TokenFile)
	token(t, "metrics_token_file", cfg.MetricsTokenFile)
	for i, of := range cfg.Tokens {
		token(t, fmt.Sprintf("token[%d].file", i), of.File)
	}
	for i, w := range cfg.Webhooks {
		signing(t, fmt.Sprintf("webhook[%d].secret_file", i), w.SecretFile)
	}
	signing(t, "notifications.password_file", cfg.Notifications.PasswordFile)
	keyring(t, listenConfig(cfg))
	pair(t, "tls", cfg.TLS.CertFile, cfg.TLS.KeyFile)
	pair(t, "glance_api", cfg.GlanceAPI.CertFile, cfg.GlanceAPI.KeyFile)
}

// keyring tries the authority of clients' certificates, and, where each token is one, all of them together.
func keyring(t *kinds.Trial, cfg api.ListenConfig) {
	authority := api.ListenConfig{ClientCAFile: cfg.ClientCAFile}
	if err := api.CheckListenConfig(authority); err != nil {
		t.Problem("tls.client_ca_file", err, "name the file with the authority's certificate, as PEM")
	}
	cfg.ClientCAFile = ""
	if err := api.CheckListenConfig(cfg); err != nil && len(t.Problems) == 0 {
		t.Problem("token", err, "")
	}
}

// pair tries a certificate and its key; "" is none, and fine.
func pair(t *kinds.Trial, table string, cert config.Path, key config.SecretFile) {
	if err := key.Check(); err != nil {
		t.Problem(table+".key_file", err, "")
	} else if cert != "" {
		if _, err := tls.LoadX509KeyPair(string(cert), string(key)); err != nil {
			t.Problem(table, err, "give a certificate and its own key, both as PEM")
		}
	}
}

// signing tries a file that holds some secret of which the white space around it is no part.
func signing(t *kinds.Trial, key string, file config.SecretFile) {
	err := file.Check()
	if err == nil && file != "" {
		_, err = secretOf(file)()
	}
	if err != nil {
		t.Problem(key, err, "")
	}
}

// token tries a file that holds a token.
func token(t *kinds.Trial, key string, file config.SecretFile) {
	err := file.Check()
	if err == nil {
		err = api.CheckTokenFile(string(file))
	}
	if err != nil {
		t.Problem(key, err, "")
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
		for i, l := range cfg.GlanceAPI.Listen {
			if !yield(fmt.Sprintf("glance_api.listen[%d]", i), l) {
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
