//go:build openstack

package peers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The tests of OpenStack's integration suite that make volumes of images pass with our driver, or fail with Cinder's too,
// and the daemon was asked for every one of these volumes. It is bin/clonecache.
func TestTempestsVolumesOfImages(t *testing.T) {
	_, tempest := exec.LookPath("tempest")
	_, plugin := os.Stat("/usr/lib/python3/dist-packages/cinder_tempest_plugin")
	if tempest != nil || plugin != nil {
		t.Skip("tempest is not installed, or its plugin (Debian: tempest, cinder-tempest-plugin)")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root, which a lab of OpenStack needs")
	}
	out, err := script(t, "tempest/tempest.sh", "images")
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// cleaningUp is how long a script may take to stop what it has started, and to remove its lab.
const cleaningUp = 4 * time.Minute

// script runs one of the scripts to its end, and lets it clean up where the test's time is over. It returns what
// the script printed.
func script(t *testing.T, path string, words ...string) (printed []byte, err error) {
	t.Helper()
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-cleaningUp-time.Minute))
		defer cancel()
	}
	to, err := os.Create(filepath.Join(t.TempDir(), "printed")) // a pipe would stay open in what it starts
	if err != nil {
		return nil, err
	}
	defer to.Close()
	cmd := exec.CommandContext(ctx, "./"+path, words...)
	cmd.Stdout, cmd.Stderr = to, to
	// A shell hears of a signal once the program that it waits for has ended, so both are told: they are a group of their own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = cleaningUp
	ended := cmd.Run()
	if printed, err = os.ReadFile(to.Name()); err != nil {
		return nil, err
	}
	return printed, ended
}
