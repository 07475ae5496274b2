package crashmatrix

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
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

	b := burst{Daemon: d, answered: []string{"first"}}
	random := rand.New(rand.NewPCG(1, 1))
	for round := range kills {
		b.loadAndKill(t, round, time.Duration(random.Int64N(int64(longestLoad))))
		d.Start(t)
		for _, name := range b.answered {
			if _, err := os.Stat(filepath.Join(c.Volumes, name)); err != nil {
				t.Fatalf("round %d: a volume that was answered: %v", round, err)
			}
		}
	}
	d.Consistent(t)
	there := d.Volumes(t)
	for _, v := range there {
		harness.SameContent(t, v.Path, disk, hitSize)
	}
	if got := requests(d.Report(t)); got < int64(len(b.answered)) || got > int64(len(there)) {
		t.Errorf("requests in the report: got %d; %d were answered, and %d volumes are there", got, len(b.answered), len(there))
	}
	t.Logf("%d kills, %d volumes answered, %d there", kills, len(b.answered), len(there))
	sameTree(t, staging(t, c), nil)
}

// burst is a daemon under hits.
type burst struct {
	*harness.Daemon

	mu       sync.Mutex
	answered []string // the names of volumes
}

// loadAndKill asks for volumes from several sides and kills the daemon after a while.
func (b *burst) loadAndKill(t *testing.T, round int, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for n := range requesters {
		client := b.Client(t)
		all.Go(func() { b.load(ctx, client, fmt.Sprintf("v-%d-%d", round, n)) })
	}
	<-time.After(after) // the moment of the kill is what varies
	b.Kill()
	cancel()
	all.Wait()
}

// load asks for one volume after another until the daemon is gone.
func (b *burst) load(ctx context.Context, client *api.Client, prefix string) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s-%d", prefix, i)
		_, err := client.CreateVolume(ctx, api.CreateRequest{Image: "library:one.raw", Volume: backends.VolumeName(name)}, nil)
		if err != nil {
			return
		}
		b.mu.Lock()
		b.answered = append(b.answered, name)
		b.mu.Unlock()
	}
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
