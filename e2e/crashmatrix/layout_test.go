package crashmatrix

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// layout is a way to serve requests, which decides the steps that they take.
type layout struct {
	name       string
	filesystem fstest.Kind
	config     harness.Config
	// times is how often each step is killed after: the first, the second, … time that it is reached, as
	// far as the script reaches it so often.
	times int
	// unreached are the steps that nothing takes here, each with the reason.
	unreached map[failpoint.Step]string
}

// layouts are clones on XFS; copies through the file cache on ext4, which has no reflinks; and copies
// through the file cache on XFS, where the internal tenant's quota allows only the first image-volume.
var layouts = []layout{
	{
		name: "xfs", filesystem: fstest.XFS, times: 3,
		config: harness.Config{MaxCount: 1, CacheMaxCount: 1},
		unreached: map[failpoint.Step]string{
			failpoint.Detach: "a reflink depends on nothing, so nothing is ever detached",
			failpoint.Copy:   "every volume is a clone",
		},
	},
	{
		name: "ext4", filesystem: fstest.Ext4, times: 2,
		config: harness.Config{MaxCount: 1, CacheMaxCount: 1},
		unreached: map[failpoint.Step]string{
			failpoint.Detach: "a copy depends on nothing, so nothing is ever detached",
			failpoint.Clone:  "every volume is a copy",
			failpoint.Claim:  "files in the file cache are on nobody's quota",
			failpoint.Settle: "files in the file cache are on nobody's quota",
		},
	},
	{
		name: "xfs over quota", filesystem: fstest.XFS, times: 3,
		config: harness.Config{MaxVolumes: 1, CacheMaxCount: 1, KeepForQuota: true},
		unreached: map[failpoint.Step]string{
			failpoint.Detach: "a reflink depends on nothing, so nothing is ever detached",
		},
	},
}

// mount mounts the layout's filesystem until the test ends.
func (l layout) mount(tb testing.TB) string {
	tb.Helper()
	needDaemon(tb)
	return fstest.Mount(tb, l.filesystem, 4*gib)
}

// in is the layout's configuration with everything below dir.
func (l layout) in(dir string) harness.Config {
	c := l.config
	c.Volumes, c.Cache = filepath.Join(dir, "volumes"), filepath.Join(dir, "cache")
	return c
}
