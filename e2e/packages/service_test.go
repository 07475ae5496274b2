//go:build packages

package packages

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sandbox starts a unit's program as systemd would: as its user, without privileges, in a mount namespace
// where all is read-only but the directories named. $1 is the root, $2 the user; directories follow up
// to "--", then the command.
const sandbox = `
set -e
root=$1 user=$2; shift 2
while [ "$1" != -- ]; do mount --bind "$root$1" "$root$1"; shift; done
shift
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
`

// service is the daemon of a root.
type service struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{}
}

// unit is a key's value in the unit file that the package has installed.
func (r *root) unit(t *testing.T, key string) string {
	t.Helper()
	for line := range strings.Lines(r.read(t, "/lib/systemd/system/clonecache.service")) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("the unit has no %s", key)
	return ""
}

// start runs ExecStart, and returns when the daemon is ready. writable are directories beyond those that
// the unit names itself.
func (r *root) start(t *testing.T, writable ...string) *service {
	t.Helper()
	if u := r.unit(t, "ProtectSystem"); u != "strict" {
		t.Fatalf("ProtectSystem=%s: the sandbox here is another one", u)
	}
	user := r.unit(t, "User")
	r.run(t, "install", "-d", "-m", r.unit(t, "RuntimeDirectoryMode"), "-o", user, "-g", user, "/run/"+r.unit(t, "RuntimeDirectory"))
	words := []string{"-c", sandbox, "sandbox", r.dir, user,
		"/run/" + r.unit(t, "RuntimeDirectory"), "/var/lib/" + r.unit(t, "StateDirectory"), "/var/cache/" + r.unit(t, "CacheDirectory")}
	words = append(append(append(words, writable...), "--"), strings.Fields(r.unit(t, "ExecStart"))...)
	words = append([]string{"--mount", "--propagation", "private", "sh"}, words...)
	s := &service{cmd: exec.Command("unshare", words...), ended: make(chan struct{})}
	s.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is seen by what it leaves
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", s.log.String())
		}
	})
	waitFor(t, "a daemon that is ready", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("the daemon ended\n%s", s.log.String())
		default:
		}
		return r.try(t, "clonecache", "status").exit == 0
	})
	return s
}

// stop ends the daemon as systemd does, and waits for its end.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		t.Fatal("it did not stop within a minute")
	}
}
