//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// killAfter is CLONECACHE_KILL_AFTER, as STEP or STEP:N for the Nth time that STEP is reached.
const killAfter = "CLONECACHE_KILL_AFTER"

var reached atomic.Int64

// Reached kills the process (SIGKILL, as kill -9 does) where CLONECACHE_KILL_AFTER says so.
func Reached(step Step) {
	name, count, _ := strings.Cut(os.Getenv(killAfter), ":")
	if name != string(step) {
		return
	}
	nth, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		nth = 1
	}
	if reached.Add(1) == nth {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
