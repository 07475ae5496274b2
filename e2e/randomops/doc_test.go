// Package randomops tries the plugin with random sequences of operations against a model of what it
// promises: requests, evictions, changed bounds, restarts, kills, lost catalogs, and things removed
// behind its back. After every operation the invariants I1 to I7 are looked up in the real directories.
// It also records concurrent histories of one entry and checks that they are linearizable.
//
// A run is told by its seed alone: SEED=n repeats one, OPS=n and SOAK=2h say how long to go on.
package randomops

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(doomedEnv) != "" {
		if err := dieWorking(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
