package crashmatrix

import (
	"fmt"
	"testing"

	"github.com/clonecache/clonecache/plugin/failpoint"
)

// secondKills are the steps of a start that settles what a kill after the first step left.
var secondKills = []struct {
	first failpoint.Step
	again []failpoint.Step
}{
	{failpoint.Stage, []failpoint.Step{failpoint.Reap}},
	{failpoint.Commit, []failpoint.Step{failpoint.Reap}},
	{failpoint.Publish, []failpoint.Step{failpoint.Reap}},
	{failpoint.Intent, []failpoint.Step{failpoint.Reap}},
	{failpoint.Clone, []failpoint.Step{failpoint.Reap}},
	{failpoint.Touch, []failpoint.Step{failpoint.Reap}},
	{failpoint.Evict, []failpoint.Step{failpoint.Evict, failpoint.Retire, failpoint.Release, failpoint.Remove, failpoint.Reap}},
	{failpoint.Retire, []failpoint.Step{failpoint.Evict, failpoint.Retire, failpoint.Release, failpoint.Remove, failpoint.Reap}},
	{failpoint.Release, []failpoint.Step{failpoint.Evict, failpoint.Retire, failpoint.Release, failpoint.Remove, failpoint.Reap}},
}

// A daemon that is killed once more while it settles what an earlier kill left, and then once more,
// ends as one that was not killed.
func TestKilledAgainWhileRecovering(t *testing.T) {
	m := newMatrix(t, layouts[0], makeImages(t))
	m.Undisturbed(t)
	for _, kills := range secondKills {
		for _, again := range kills.again {
			t.Run(fmt.Sprintf("%s, then %s", kills.first, again), func(t *testing.T) {
				t.Parallel()
				p, killed := m.Kill(t, kills.first, 1)
				if !killed {
					t.Fatal("no act reaches the first step")
				}
				p.KillAfter = string(again)
				times := 2
				if again == failpoint.Remove { // there is nothing left to be removed
					times = 1
				}
				for range times {
					if err := p.TryStart(t); err == nil || !p.Killed() {
						t.Fatalf("no start reaches the step %s (%v)", again, err)
					}
				}
				m.Finish(t, p, kills.first)
			})
		}
	}
}
