// Package powerloss proves that the order of writes, syncs and renames survives losing everything that
// was not synced, on real filesystems. It records what reaches a disk, block by block, and boots what
// the disk would have held if the power had failed at any moment of that.
//
// A recorder is a process of its own that serves one file by FUSE, the disk. A loop device on that file
// carries a filesystem, so that each write and each flush of the block layer arrives at the recorder, in
// order; beside them the log takes marks, by which a test says what had been answered up to there. A Cut is
// one moment: the writes before the last flush are on the disk, of those after it some are, torn in
// pieces of 4 KiB, or none. This is the method of Linux' dm-log-writes, without device mapper.
//
// A recorder that shared the process with what it records could stop both for good: a page of a mapped
// file that is faulted in keeps a thread, and with it the garbage collector, waiting for the recorder.
//
// It is imported by tests only. They run it in a mount namespace of their own (see Main), so that the
// kernel takes away every mount and loop device whatever ends them.
package powerloss

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
)

// format is how each kind of filesystem is made, quickly and without work left for later, and mounted:
// without discards, which the recorder does not know.
var format = map[fstest.Kind]struct {
	mkfs  []string
	mount string
}{
	fstest.XFS:   {[]string{"mkfs.xfs", "-q", "-K", "-m", "reflink=1"}, "nodiscard"},
	fstest.Btrfs: {[]string{"mkfs.btrfs", "-q", "-K"}, "nodiscard"},
	fstest.Ext4:  {[]string{"mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"}, "nodiscard"},
}

// isolated marks the process that runs the tests in a mount namespace of its own.
const isolated = "POWERLOSS_ISOLATED"

// Main is the TestMain of a package that uses this one: it serves as recorder where it was started as
// one, else it runs the tests, as root in a mount namespace of their own. It does not return.
func Main(m *testing.M) {
	if os.Getenv(recorderEnv) == "" && os.Geteuid() == 0 && os.Getenv(isolated) == "" {
		os.Exit(isolate(exec.Command("/proc/self/exe", os.Args[1:]...)))
	}
	os.Exit(Within(m.Run))
}

// Within is what the TestMain of a package calls in place of run, its tests, of which some run Apart. It returns the
// exit code.
func Within(run func() int) int {
	switch {
	case os.Getenv(recorderEnv) != "":
		return serveRecorder()
	case os.Getenv(isolated) != "":
		return alone(run)
	}
	return run()
}

// Apart runs the test that calls it once more, as root in a process and a mount namespace of its own, as Main does with
// all tests, and tells whether this is that process. Where it is not, the test is to return: how the other one
// ended has been said. env is added to that one's environment.
func Apart(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv(isolated) != "" {
		return true
	}
	require(t, fstest.Ext4)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), env...)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if code := isolate(cmd); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Log(out.String())
	return false
}

// isolate runs this program once more in its own mount namespace. The new process ends with this one.
func isolate(cmd *exec.Cmd) int {
	runtime.LockOSThread() // Pdeathsig goes by the thread
	defer runtime.UnlockOSThread()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, isolated+"=1")
	if cmd.Stdout == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended) && ended.ExitCode() > 0:
		return ended.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "tests in a mount namespace of their own:", err)
		return 2
	}
	return 0
}

// require skips a test for which something is missing here.
func require(tb testing.TB, kind fstest.Kind) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("-short: tests that mount filesystems are left out")
	}
	if os.Geteuid() != 0 {
		tb.Skipf("recording %s needs root", kind)
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(device); err != nil {
			tb.Skipf("%s is missing: %v", device, err)
		}
	}
	if _, err := exec.LookPath(format[kind].mkfs[0]); err != nil {
		tb.Skipf("%s is not installed", format[kind].mkfs[0])
	}
	known, err := os.ReadFile("/proc/filesystems")
	check(tb, err)
	if !strings.Contains(string(known), "\t"+string(kind)+"\n") && exec.Command("modprobe", string(kind)).Run() != nil {
		tb.Skipf("the kernel has no %s", kind)
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
