package harness

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Cluster is a Ceph cluster of one node, as e2e/ceph/cluster.sh makes it, which says what its directory,
// ports and settings mean.
type Cluster struct {
	Dir      string   // with ceph.conf and keyrings; short, for unix sockets
	Port     int      // the mon's
	Settings []string // for cluster.sh: "FAST=1"
}

// WithCluster runs a package's tests while c is up. It may be started already, and then stays; else it
// is removed afterwards. CEPH_DIR and CEPH_PORT in the environment go before c's own. It returns the exit
// code for TestMain.
func WithCluster(m *testing.M, c *Cluster) int {
	flag.Parse()
	if dir := os.Getenv("CEPH_DIR"); dir != "" {
		c.Dir = dir
	}
	if port, err := strconv.Atoi(os.Getenv("CEPH_PORT")); err == nil {
		c.Port = port
	}
	ran := c.Script("status") == nil
	if err := c.Script("up"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := Main(m)
	if ran {
		return code
	}
	if err := c.Script("wipe"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// Conf is its configuration file.
func (c *Cluster) Conf() string { return filepath.Join(c.Dir, "ceph.conf") }

// Script runs cluster.sh with these words; what it prints is in the error.
func (c *Cluster) Script(words ...string) error {
	_, err := c.Output(words...)
	return err
}

// Output is Script that returns what it prints.
func (c *Cluster) Output(words ...string) ([]byte, error) {
	script, err := clusterScript()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(script, words...)
	cmd.Env = append(os.Environ(), "CEPH_DIR="+c.Dir, "CEPH_PORT="+strconv.Itoa(c.Port))
	cmd.Env = append(cmd.Env, c.Settings...)
	text, err := toFile(cmd)
	if err != nil {
		return text, fmt.Errorf("cluster.sh %q: %w\n%s", words, err, text)
	}
	return text, nil
}

// toFile runs a command and returns what it prints. That goes to a file: a pipe would stay open in the daemons that the
// command starts.
func toFile(cmd *exec.Cmd) ([]byte, error) {
	out, err := os.CreateTemp("", "script-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, readErr := os.ReadFile(out.Name())
	return text, errors.Join(err, readErr)
}

// Do is Script for words that must succeed.
func (c *Cluster) Do(tb testing.TB, words ...string) {
	tb.Helper()
	if err := c.Script(words...); err != nil {
		tb.Fatal(err)
	}
}

func clusterScript() (string, error) { return scriptOf("ceph", "cluster.sh") }

// scriptOf finds a script below e2e from the directory of any package below the module.
func scriptOf(folder, name string) (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		script := filepath.Join(dir, "e2e", folder, name)
		if _, missing := os.Stat(script); missing == nil {
			return script, nil
		}
		if dir == filepath.Dir(dir) {
			err = fmt.Errorf("e2e/%s/%s is in no directory above", folder, name)
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// Ceph is a backend "ceph" in a cluster, for the user that has nothing but `profile rbd` on its pools,
// with volumes in pool volumes and image-volumes in pool images.
type Ceph struct {
	Cluster        *Cluster
	Namespace      string // in both pools
	BesideLocal    bool   // the backend "local" is there too; else "ceph" is the only one
	CallTimeout    string // "": the default
	ConnectTimeout string // "": the default
}

func (c *Ceph) write(line func(key string, value any)) {
	line("pool", "volumes")
	line("image_volume_pool", "images")
	line("namespace", c.Namespace)
	line("conf", c.Cluster.Conf())
	line("keyring", filepath.Join(c.Cluster.Dir, "client.clonecache.keyring"))
	line("call_timeout", c.CallTimeout)
	line("connect_timeout", c.ConnectTimeout)
}
