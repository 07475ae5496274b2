//go:build openstack

// Package openstack proves clonecache behind a real Cinder: Keystone, Glance and Cinder with the hook before
// its drivers, on a Ceph cluster of one node, brought up by lab.sh. It needs root and the packages that
// `make openstack-packages` installs.
//
// LAB_DIR and LAB_PORT name the lab, by default one of the tests' own, which is removed afterwards. One that
// runs already stays; its cinder-volume is restarted with the hook.
package openstack

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

const (
	mib = harness.MiB
	gib = harness.GiB
)

// lab is where all tests of the package work, one after another.
var lab = theLab{
	dir:  cmp.Or(os.Getenv("LAB_DIR"), "/tmp/cclab-test"),
	port: portOf(cmp.Or(os.Getenv("LAB_PORT"), "32100")),
	temp: os.TempDir(),
}

type theLab struct {
	dir  string
	port int
	temp string // outlives the tests' temporary directory
}

func portOf(text string) int {
	port, err := strconv.Atoi(text)
	if err != nil {
		panic("LAB_PORT: " + err.Error())
	}
	return port
}

func TestMain(m *testing.M) { os.Exit(withLab(m)) }

func withLab(m *testing.M) int {
	ran := lab.script("status") == nil
	flag.Parse()
	if !ran && flag.Lookup("test.bench").Value.String() == "" {
		// Quick commits and objects in memory: what is tested here does not depend on Ceph's timing.
		os.Setenv("FAST", "1")
	}
	for _, words := range [][]string{append([]string{"hook", lab.socket()}, hookKeys...), {"up"}} {
		if err := lab.script(words...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := harness.Main(m)
	last := []string{"wipe"}
	if ran {
		last = []string{"hook", "off"}
	}
	if err := lab.script(last...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// hookKeys are the hook's settings: no test waits longer than a minute for the daemon.
var hookKeys = []string{"clonecache_timeout=60", "clonecache_connect_timeout=5"}

// socket is where the hook looks for the daemon; a link to that of the test's daemon.
func (l theLab) socket() string { return filepath.Join(l.dir, "hook.sock") }

func (l theLab) cephConf() string { return filepath.Join(l.dir, "ceph", "ceph.conf") }

func (l theLab) log(service string) string { return filepath.Join(l.dir, "log", service+".log") }

// script runs lab.sh with these words; what it prints is in the error.
func (l theLab) script(words ...string) error {
	cmd := exec.Command("./lab.sh", words...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.dir, "LAB_PORT="+strconv.Itoa(l.port))
	out, err := os.CreateTemp(l.temp, "lab-") // a pipe would stay open in the services that it starts
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("lab.sh %q: %w\n%s", words, err, text)
	}
	return nil
}

// do is script for words that must succeed.
func (l theLab) do(tb testing.TB, words ...string) {
	tb.Helper()
	if err := l.script(words...); err != nil {
		tb.Fatal(err)
	}
}

// signal reaches a service and its children at once, which takes lab.sh a while.
func (l theLab) signal(tb testing.TB, service string, s syscall.Signal) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, "run", service+".pid"))
	if err != nil {
		tb.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Kill(-pid, s); err != nil {
		tb.Fatal(err)
	}
}

// logged returns what a service writes to its log from now on, when it is called.
func (l theLab) logged(tb testing.TB, service string) func() string {
	tb.Helper()
	before, err := os.Stat(l.log(service))
	if err != nil {
		tb.Fatal(err)
	}
	return func() string {
		text, err := os.ReadFile(l.log(service))
		if err != nil {
			tb.Fatal(err)
		}
		return string(text[before.Size():])
	}
}

// set restarts a service with a setting of lab.sh.
func (l theLab) set(tb testing.TB, setting, service string) {
	tb.Helper()
	name, value, _ := strings.Cut(setting, "=")
	tb.Setenv(name, value)
	l.do(tb, "restart", service)
}
