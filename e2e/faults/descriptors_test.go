package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// patience is how long a caller waits for a daemon that cannot even take its connection.
const patience = time.Second

// However few file descriptors are left, a request is served or steps aside, unless the daemon cannot
// even take its connection; nothing is left over, and with descriptors all goes on, without a restart.
func TestNoFileDescriptors(t *testing.T) {
	mount := mountXFS(t)
	h := harness.Start(t, harness.Config{Volumes: filepath.Join(mount, "volumes"), Cache: filepath.Join(mount, "cache")})
	d := &fullDaemon{Daemon: h, client: h.Client(t)}
	disk := library(t, d)
	if !d.ask(t, "warm", nil, disk) { // what is opened once is open now
		t.Fatal("no volume before the fault")
	}
	d.clear(t)
	before := listing(t, d.Config.Volumes, d.Config.Cache)
	var refused, made int
	for more := -8; more <= 8; more++ {
		t.Run(fmt.Sprintf("%+d", more), func(t *testing.T) {
			release := d.limitDescriptors(t, more)
			for name, client := range map[backends.VolumeName]*api.Client{
				"one": d.client,    // whose connection is open
				"two": d.Client(t), // whose connection needs a descriptor
			} {
				if d.tryWithin(t, client, name, disk) {
					made++
				} else {
					refused++
				}
			}
			release()
			harness.Until(t, "requests that were given up are undone", func() bool {
				fills, err := d.client.Fills(t.Context())
				return err == nil && len(fills) == 0
			})
			d.Consistent(t)
			for _, name := range []string{"one", "two"} {
				if !d.ask(t, name, nil, disk) {
					t.Error("no volume, though there are descriptors")
				}
			}
			d.clear(t)
			if after := listing(t, d.Config.Volumes, d.Config.Cache); after != before {
				t.Errorf("left on disk:\n%s\nbefore it was:\n%s", after, before)
			}
			if held := unnamed(t, d.PID(), ""); len(held) > 0 {
				t.Errorf("files without a name that are still held: %q", held)
			}
		})
	}
	if refused < 4 || made < 4 {
		t.Errorf("%d requests found too few descriptors, %d enough: the limits do not reach what lies in between", refused, made)
	}
	d.Restart(t)
	d.Consistent(t)
}

// limitDescriptors lets the daemon open only so many more files than it has open, until release. What it
// has open it keeps, connections that are about to be closed too: so the limit may lie below.
func (d *fullDaemon) limitDescriptors(t *testing.T, more int) (release func()) {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Prlimit(d.PID(), unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	limit := unix.Rlimit{Cur: uint64(max(0, len(open)+more)), Max: old.Max}
	if err := unix.Prlimit(d.PID(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Skipf("the daemon's descriptors cannot be limited: %v", err)
	}
	return func() {
		if err := unix.Prlimit(d.PID(), unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// tryWithin asks for a volume, and tells whether it is made. A daemon without descriptors may step aside,
// or not answer; that it has none is no fault of the request.
func (d *fullDaemon) tryWithin(t *testing.T, client *api.Client, name backends.VolumeName, disk string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := client.CreateVolume(ctx, api.CreateRequest{Image: "library:disk.raw", Volume: name}, nil)
	var told *api.Error
	switch {
	case errors.As(err, &told):
		t.Errorf("%s: got the error %s: %s", name, told.Code, told.Message)
		return false
	case err != nil: // nobody answered
		return false
	case a.Outcome == plugin.Bypassed:
		if a.Reason != plugin.ReasonCacheError && a.Reason != plugin.ReasonUnavailable {
			t.Errorf("%s: bypassed for %s (%s)", name, a.Reason, a.Detail)
		}
		meaningful(t, a.Detail)
		return false
	}
	harness.SameContent(t, a.Path, disk, diskBytes)
	return true
}
