//go:build ceph

package rbd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// What is missing is said in one sentence, with the command that mends it, by Check and by Open.
func TestWhatIsMissingIsSaid(t *testing.T) {
	const auth = "`ceph auth caps client.USER mon 'profile rbd' osd 'profile rbd pool=volumes namespace=NS, profile rbd pool=images namespace=NS'`"
	for _, r := range []struct {
		name   string
		break_ func(t *testing.T, c Config) Config
		says   []string
		is     error
	}{
		{"no configuration file", func(_ *testing.T, c Config) Config { c.Conf = "/nowhere/ceph.conf"; return c },
			[]string{"/nowhere/ceph.conf", "no such file", "conf must name a file"}, nil},
		{"no keyring", func(_ *testing.T, c Config) Config { c.Keyring = "/nowhere/keyring"; return c },
			[]string{"no key of client.USER in /nowhere/keyring", "`ceph auth get client.USER -o FILE`"}, nil},
		{"another user's keyring", func(_ *testing.T, c Config) Config {
			c.Keyring = filepath.Join(cluster.dir, "client.admin.keyring")
			return c
		},
			[]string{"no key of client.USER in", "`ceph auth get client.USER -o FILE`"}, nil},
		{"a wrong key", func(t *testing.T, c Config) Config {
			c.Keyring = write(t, "[client."+c.User+"]\n\tkey = AQAjdhhlMbg+JxAAlhyQ8Nqnf8PG3pmOUkFqqw==\n")
			return c
		}, []string{"the mons refuse its key", "`ceph auth get client.USER -o FILE`"}, nil},
		{"no user", func(t *testing.T, c Config) Config {
			c.User = "nobody"
			c.Keyring = write(t, "[client.nobody]\n\tkey = AQAjdhhlMbg+JxAAlhyQ8Nqnf8PG3pmOUkFqqw==\n")
			return c
		}, []string{"connect as client.nobody: the mons refuse its key", "`ceph auth get client.nobody -o FILE`"}, nil},
		{"no mon", func(t *testing.T, c Config) Config {
			c.Conf = write(t, "[global]\nmon_host = [v2:127.0.0.1:9]\n")
			c.ConnectTimeout = time.Second
			return c
		}, []string{"no mon of ", " answers within 1s"}, backends.ErrUnavailable},
		{"no mon in the file", func(t *testing.T, c Config) Config {
			c.Conf = write(t, "[global]\nfsid = 56281000-678a-4758-8d50-34cff41b8e4c\n")
			return c
		}, []string{"names no mon", "mon_host"}, nil},
		{"no pool", func(_ *testing.T, c Config) Config { c.Pool = "nowhere"; return c },
			[]string{`there is no pool "nowhere"`, "`ceph osd pool create nowhere`", "`rbd pool init nowhere`"}, nil},
		{"no pool of image-volumes", func(_ *testing.T, c Config) Config { c.ImageVolumePool = "nowhere"; return c },
			[]string{`there is no pool "nowhere"`, "`ceph osd pool create nowhere`"}, nil},
		{"no namespace", func(_ *testing.T, c Config) Config { c.Namespace = "none"; return c },
			[]string{"there is no namespace none in pool volumes", "`rbd namespace create volumes/none`"}, nil},
		{"no mon capability", func(t *testing.T, c Config) Config { return as(t, c, "", "profile rbd") },
			[]string{auth}, nil},
		{"no OSD capability", func(t *testing.T, c Config) Config { return as(t, c, "profile rbd") },
			[]string{"may not use pool volumes namespace=NS", auth}, nil},
		{"volumes only", func(t *testing.T, c Config) Config { return as(t, c, "profile rbd", "profile rbd pool=volumes") },
			[]string{"may not use pool images namespace=NS", auth}, nil},
		{"image-volumes only", func(t *testing.T, c Config) Config { return as(t, c, "profile rbd", "profile rbd pool=images") },
			[]string{"may not use pool volumes namespace=NS", auth}, nil},
		{"reading only", func(t *testing.T, c Config) Config {
			return as(t, c, "profile rbd", "profile rbd pool=volumes", "profile rbd-read-only pool=images")
		}, []string{"may not use pool images namespace=NS", auth}, nil},
		{"no class calls", func(t *testing.T, c Config) Config {
			return as(t, c, "profile rbd", "profile rbd pool=volumes", "allow rw pool=images")
		}, []string{"may not use pool images namespace=NS", auth}, nil},
		{"another namespace only", func(t *testing.T, c Config) Config {
			return as(t, c, "profile rbd", "profile rbd pool=volumes namespace=other", "profile rbd pool=images namespace=other")
		}, []string{"may not use pool volumes namespace=NS", auth}, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := r.break_(t, config(t))
			_, checked := Check(t.Context(), c)
			b, opened := Open(t.Context(), c)
			if opened == nil {
				_ = b.Close()
			}
			for does, err := range map[string]error{"check": checked, "open": opened} {
				if err == nil {
					t.Errorf("%s: no error", does)
					continue
				}
				if r.is != nil && !errors.Is(err, r.is) {
					t.Errorf("%s: got error %v, want %v", does, err, r.is)
				}
				if r.is == nil && (errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrUnavailable)) {
					t.Errorf("%s: it is told like a backend's everyday error: %v", does, err)
				}
				for _, says := range r.says {
					says = strings.NewReplacer("USER", c.User, "NS", c.Namespace).Replace(says)
					if !strings.Contains(err.Error(), says) {
						t.Errorf("%s: %q does not say %q", does, err, says)
					}
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %q is more than a sentence", does, err)
				}
			}
		})
	}
}

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAClusterThatExpectsOldClients(t *testing.T) {
	c := config(t)
	set := func(release string) {
		askMons(t, "osd set-require-min-compat-client", map[string]any{"version": release, "yes_i_really_mean_it": true})
	}
	t.Cleanup(func() { set("mimic") })
	set("luminous")
	_, err := Check(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "luminous") || !strings.Contains(err.Error(), "`ceph osd set-require-min-compat-client mimic`") {
		t.Errorf("got error %v", err)
	}
}

func TestCheckFindsWhatIsNeeded(t *testing.T) {
	c := config(t)
	for name, c := range map[string]Config{
		"both pools":       c,
		"namespaces' caps": as(t, c, "profile rbd", "profile rbd pool=volumes namespace="+c.Namespace, "profile rbd pool=images namespace="+c.Namespace),
	} {
		fact, err := Check(t.Context(), c)
		if err != nil || !strings.Contains(fact, "client."+c.User) {
			t.Errorf("%s: got %q, %v", name, fact, err)
		}
		if err := opens(t, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func opens(t *testing.T, c Config) error {
	t.Helper()
	b, err := Open(t.Context(), c)
	if err != nil {
		return err
	}
	return b.Close()
}
