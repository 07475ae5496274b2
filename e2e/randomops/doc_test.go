// Package randomops tries the plugin with random sequences of operations against a model of what it
// promises: requests, evictions, changed bounds, restarts, kills, lost catalogs, and things removed
// behind its back. After every operation the invariants I1 to I7 are looked up in the real directories.
// It also records concurrent histories of one entry and checks that they are linearizable.
//
// A run is told by its seed alone: SEED=n repeats one, OPS=n and SOAK=2h say how long to go on.
//
// # What the model models
//
// The model (type model) is the plugin's promise without its machinery. One operation happens at a time, and nothing is
// ever half done: there are no fills under way, no leases, no intents, no journal. It has
//
//   - five images: which content each has, at which revision, and which content's digest is promised beside it;
//   - two stores, the backend and the file cache, each with its bounds, and the internal tenant's quota;
//   - entries: store, content, the keys that find it, when it was last used, pinned, detached, superseded, and whether
//     its image-volume was lost behind the plugin's back;
//   - volumes: content, size, the request that made it, and the entry that it depends on, where clones depend on one;
//   - the counters of the report.
//
// For each operation (type op) the model predicts what the plugin answers (do), and what has changed. Evictions are
// predicted from the order of package lru: superseded entries first, then idle before in use, then by last use. Which
// bound is blamed is package lru's business, and not predicted.
//
// # What the model does not know
//
// Entry IDs, volume IDs and times are the plugin's: the model takes them from the result, and from then on they must
// stay. After a kill, the keys under which an entry may or may not be known are kept as such (maybe), until a request
// shows which. Where the catalog was lost, the model learns from the image-volumes which of them came back (rebuilt),
// and checks that no more went than the quota demands.
//
// # A kill
//
// Operation kill hands a batch to another process, which ends itself at its nth step. The plugin is opened again, and
// what it has then must be what the model has after the operations that were answered. The one that was under way may
// have been done, or not, or have come as far as an eviction or a fill (survive, between); it is repeated.
//
// # Several hosts
//
// Three hosts (type fleet) are processes of their own, on one catalog and one backend in memory, which the test serves to
// them over a socket (type Pool): it stands for a cluster, since a directory belongs to one daemon. Each operation is asked of
// any of them. Operation kill has one of them kill itself in a batch, while the others go on. They have no file cache: what
// the backend does not serve is bypassed. What a host still knows of entries that others have evicted, the model does not
// know: it takes either answer where both are right (func knewOnce, refusesSmall, learnFills). At the end each host
// checks, and says the same as the model of entries, counts and quota.
//
// The catalog is a SQLite file; with the tag databases it is on the server that the environment names. HOST_OPS and
// HOST_HISTORIES say how much is tried.
//
// # After each operation
//
// The answer is compared with the prediction, then what the stores, the catalog and the quota hold with the model, then
// the invariants (func invariants) are looked up in the real directories. A failure prints the sequence of operations,
// which is shrunk first, and the seed.
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
	if os.Getenv(hostEnv) != "" {
		if err := beHost(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
