package crashmatrix

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin/api"
)

const (
	kills       = 100
	requesters  = 4
	hitSize     = 256 << 10 // of image and volume, in bytes
	longestLoad = 60 * time.Millisecond
)

// Killed at any moment in bursts of hits, a daemon leaves whole volumes or none: each one that was
// answered is there, each one that is there has its image's bytes, and the report has counted each one
// that was answered, and none twice.
func TestKilledInBurstsOfHits(t *testing.T) {
	needDaemon(t)
	l := layouts[0]
	c := l.in(l.mount(t))
	c.Images = t.TempDir()
	disk := filepath.Join(c.Images, "one.raw")
	harness.SmallDisk(t, disk, 1, hitSize, hitSize)
	d := harness.Start(t, c)
	d.Create(t, harness.Volume{Image: "library:one.raw", Name: "first"})

	b := harness.Burst{Daemon: d, Requesters: requesters, Request: api.CreateRequest{Image: "library:one.raw"}}
	random := rand.New(rand.NewPCG(1, 1))
	for round := range kills {
		b.LoadAndKill(t, fmt.Sprintf("v-%d", round), time.Duration(random.Int64N(int64(longestLoad))))
		d.Start(t)
		for _, name := range b.Answered() {
			if _, err := os.Stat(filepath.Join(c.Volumes, name)); err != nil {
				t.Fatalf("round %d: a volume that was answered: %v", round, err)
			}
		}
	}
	d.Consistent(t)
	there, answered := d.Volumes(t), 1+len(b.Answered())
	for _, v := range there {
		harness.SameContent(t, v.Path, disk, hitSize)
	}
	if got := harness.Requests(d.Report(t)); got < int64(answered) || got > int64(len(there)) {
		t.Errorf("requests in the report: got %d; %d were answered, and %d volumes are there", got, answered, len(there))
	}
	for _, a := range b.Bypassed() {
		t.Errorf("volume %s was not made: %s: %s", a.Volume, a.Reason, a.Detail)
	}
	t.Logf("%d kills, %d volumes answered, %d there", kills, answered, len(there))
	harness.SameLines(t, staging(t, c), nil)
}

// staging lists what lies where volumes and image-volumes are made.
func staging(tb testing.TB, c harness.Config) []string {
	tb.Helper()
	var left []string
	for _, f := range harness.Files(tb, filepath.Join(c.Volumes, ".clonecache", "staging")) {
		left = append(left, f.Path)
	}
	return left
}
