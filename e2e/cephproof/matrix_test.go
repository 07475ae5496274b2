//go:build ceph

package cephproof

import (
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// layout is a way to serve requests, which decides the steps that they take.
type layout struct {
	name      string
	config    harness.Config
	times     int
	often     map[failpoint.Step]int
	unreached map[failpoint.Step]string
}

// layouts are clones, and copies through the file cache where the internal tenant's quota allows only the
// first image-volume.
var layouts = []layout{
	{
		name: "clones", times: 2, config: harness.Config{MaxCount: 1},
		// The daemon's start reaps backend and file cache; then the script does, with something to reap.
		often:     map[failpoint.Step]int{failpoint.Reap: 4},
		unreached: map[failpoint.Step]string{failpoint.Copy: "every volume is a clone"},
	},
	{
		name: "over quota", times: 1, config: harness.Config{MaxVolumes: 1, CacheMaxCount: 1},
		unreached: map[failpoint.Step]string{
			failpoint.Detach: "the one image-volume goes after its clones",
		},
	},
}

// TestKilledAfterEachStep is the crash matrix. A daemon in an empty namespace plays the script and kills
// itself after a step. It is started again, and once it has settled that, what it says and what the pools
// hold is right; then the script goes on with the act that got no answer, and in the end all is as in a
// run without a kill.
func TestKilledAfterEachStep(t *testing.T) {
	library := shelf.Make(t)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			m := harness.KillMatrix{Times: l.times, Often: l.often, Unreached: l.unreached, Order: harness.AtOnce}
			l.config.Images = library
			m.New = func(t *testing.T, _ string) *harness.Player { return newPlayer(t, l.config).Player }
			m.Run(t)
		})
	}
}
