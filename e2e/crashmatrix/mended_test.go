package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// mendings is how often a daemon is restarted while it mends, unless CLONECACHE_MENDINGS says another number.
const mendings = 15

// longestBustle is after what time the daemon is restarted at the latest.
const longestBustle = 150 * time.Millisecond

// consistentEvery is after how many of them all is compared.
const consistentEvery = 5

// Restarted and killed again and again in the midst of `check --repair`, `clean`, its own reconcile, requests, deletions
// and evictions, a daemon loses nothing: each volume that was answered and not deleted is there with its bytes, the
// pinned image is never filled twice, and catalog, backend and quota agree.
func TestMendingAcrossRestartsLosesNothing(t *testing.T) {
	needDaemon(t)
	l := layouts[0]
	c := l.in(l.mount(t))
	c.MaxCount, c.CacheMaxCount, c.Images = 3, 2, t.TempDir()
	b := &bustle{images: c.Images, answered: map[string]string{}, codes: map[string]int{}}
	for n := range bustleImages {
		harness.SmallDisk(t, filepath.Join(c.Images, image(n)), uint64(n+1), hitSize, hitSize/2)
	}
	b.Daemon = harness.Start(t, c)
	b.client = b.Client(t)
	b.pin(t)
	random := rand.New(rand.NewPCG(9, uint64(rounds(t))))
	for round := range rounds(t) {
		b.round(t, round, random)
		b.allThere(t)
		if round%consistentEvery == consistentEvery-1 {
			b.Consistent(t)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	b.Consistent(t)
	b.allWhole(t)
	t.Logf("%d restarts; %d volumes are left of %d that were answered; errors: %v", rounds(t), len(b.answered), b.total, b.codes)
}

func rounds(tb testing.TB) int {
	tb.Helper()
	words := os.Getenv("CLONECACHE_MENDINGS")
	if words == "" {
		return mendings
	}
	n, err := strconv.Atoi(words)
	if err != nil {
		tb.Fatalf("CLONECACHE_MENDINGS=%s: %v", words, err)
	}
	return n
}

// bustleImages is how many images there are: more than are cached. The first one is pinned.
const bustleImages = 6

func image(n int) string { return fmt.Sprintf("%d.raw", n) }

// bustle is all that goes on at once with one daemon.
type bustle struct {
	*harness.Daemon
	client *api.Client
	images string

	mu       sync.Mutex
	answered map[string]string // image by volume, of those that must be there
	total    int
	codes    map[string]int // of errors
}

// pin caches the first image and pins it.
func (b *bustle) pin(t *testing.T) {
	t.Helper()
	b.create(t, image(0), "pinned", plugin.Filled)
	for _, e := range b.Entries(t) {
		if _, err := b.client.SetPinned(t.Context(), e.ID, true); err != nil {
			t.Fatal(err)
		}
	}
}

// round does everything at once, and restarts the daemon meanwhile, in the orderly way or not.
func (b *bustle) round(t *testing.T, round int, random *rand.Rand) {
	t.Helper()
	repair := func(ctx context.Context) error {
		_, err := b.client.Check(ctx, api.CheckRequest{Repair: true}, nil)
		return err
	}
	clean := func(ctx context.Context) error { _, err := b.client.Clean(ctx); return err }
	evict := func(ctx context.Context) error {
		_, err := b.client.DeleteAllEntries(ctx, "", plugin.ForceDetach(round%2 == 0))
		return err
	}
	doomed := b.anyVolume()
	other, another := image(1+random.IntN(bustleImages-1)), image(1+random.IntN(bustleImages-1))
	after := time.Duration(random.Int64N(int64(longestBustle)))
	var all sync.WaitGroup
	for _, do := range []func(context.Context) error{repair, clean, repair, clean, evict} {
		all.Go(func() { b.note(t, do(t.Context())) })
	}
	all.Go(func() { b.create(t, image(0), fmt.Sprintf("hit-%d", round), plugin.Hit) })
	all.Go(func() { b.create(t, other, fmt.Sprintf("a-%d", round), "") })
	all.Go(func() { b.create(t, another, fmt.Sprintf("b-%d", round), "") })
	all.Go(func() { b.remove(t, doomed) })
	<-time.After(after) // the moment of the restart is what varies
	if round%3 == 0 {
		b.Terminate()
		<-b.Ended()
	} else {
		b.Kill()
	}
	b.Start(t)
	all.Wait()
	b.create(t, image(0), fmt.Sprintf("hit-again-%d", round), plugin.Hit)
}

// create asks for a volume; want is how it must be made if it is answered, "": anyhow.
func (b *bustle) create(t *testing.T, image, volume string, want plugin.Outcome) {
	a, err := b.client.CreateVolume(t.Context(), api.CreateRequest{
		Image: "library:" + image, Volume: backends.VolumeName(volume), SizeBytes: hitSize, Deadline: time.Now().Add(time.Minute),
	}, nil)
	if err != nil {
		b.note(t, err)
		return
	}
	if want != "" && a.Outcome != want && a.Reason != plugin.ReasonStopping {
		t.Errorf("volume %s: got %s, %s (%s), want %s", volume, a.Outcome, a.Reason, a.Detail, want)
	}
	if a.Outcome != plugin.Bypassed {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.answered[volume] = image
		b.total++
	}
}

// anyVolume is one that may go.
func (b *bustle) anyVolume() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.answered {
		return name
	}
	return ""
}

// remove deletes a volume. From the first try on it need not be there.
func (b *bustle) remove(t *testing.T, volume string) {
	b.mu.Lock()
	delete(b.answered, volume)
	b.mu.Unlock()
	b.note(t, b.client.DeleteVolume(t.Context(), "", backends.VolumeName(volume)))
}

// note counts an error, which each call may get whose daemon went away.
func (b *bustle) note(t *testing.T, err error) {
	if err == nil {
		return
	}
	code := "lost"
	var told *api.Error
	if errors.As(err, &told) {
		code = told.Code
	}
	if code == "internal" {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.codes[code]++
}

// allThere wants each volume that was answered to be there.
func (b *bustle) allThere(t *testing.T) {
	t.Helper()
	for name := range b.answered {
		if _, err := os.Stat(filepath.Join(b.Config.Volumes, name)); err != nil {
			t.Errorf("a volume that was answered: %v", err)
		}
	}
}

// allWhole compares all volumes that must be there with their images.
func (b *bustle) allWhole(t *testing.T) {
	t.Helper()
	for name, image := range b.answered {
		harness.SameContent(t, filepath.Join(b.Config.Volumes, name), filepath.Join(b.images, image), hitSize)
	}
}
