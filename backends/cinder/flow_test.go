package cinder_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder"
	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog/catalogtest"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// cloud is a daemon without its socket, before a Cinder.
type cloud struct {
	*plugin.Plugin
	name   string // of several hosts
	said   *log   // of one of several
	cinder *cindertest.Cinder
	images string
	config plugin.Config
}

// reopen ends the cache, and opens it under another configuration.
func (c *cloud) reopen(t *testing.T, change func(*plugin.Config)) {
	t.Helper()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	change(&c.config)
	var err error
	if c.Plugin, err = plugin.Open(t.Context(), c.config); err != nil {
		t.Fatal(err)
	}
}

func newCloud(t *testing.T, bounds lru.Bounds, change func(*cinder.Config)) *cloud {
	t.Helper()
	c := &cloud{cinder: cindertest.New(t), images: t.TempDir()}
	c.image(t, "debian")
	c.open(t, plugin.Config{StateDir: t.TempDir()}, bounds, change)
	return c
}

// open opens the daemon as the config says, which lacks its source, backend and tenant.
func (c *cloud) open(t *testing.T, config plugin.Config, bounds lru.Bounds, change func(*cinder.Config)) {
	t.Helper()
	member := c.cinder.Account(t)
	own := cinder.Config{Name: "lvm", Account: member, VolumeType: cindertest.Type, Pause: time.Millisecond, Patience: time.Minute, FillTime: time.Minute}
	if change != nil {
		change(&own)
	}
	backend, err := cinder.Open(own)
	if err != nil {
		t.Fatal(err)
	}
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: c.images})
	if err != nil {
		t.Fatal(err)
	}
	config.Sources = []imagesource.Source{library}
	config.Backends = []plugin.BackendConfig{{Name: "lvm", Backend: backend, Bounds: bounds, VolumeType: cindertest.Type}}
	config.NewOwner = func(ledger internaltenant.Ledger) (internaltenant.Owner, error) {
		return newTenant(config.StateDir, member, ledger)
	}
	c.config = config
	if config.Catalog.URL == "" {
		catalogtest.InState(t, config.StateDir)
	}
	if c.Plugin, err = plugin.Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func (c *cloud) image(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.images, name+".raw"), make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lend asks for what a hook asks for.
func (c *cloud) lend(t *testing.T, image, volume string) plugin.Answer {
	t.Helper()
	a, err := c.CreateVolume(t.Context(), c.request(image, volume))
	if err != nil {
		t.Errorf("lend %s to %s: %v", image, volume, err)
	}
	return a
}

func (*cloud) request(image, volume string) plugin.Request {
	return plugin.Request{
		Backend: "lvm", Image: "library:" + image + ".raw", Volume: backends.VolumeName(volume), SizeBytes: 1 << 30, VolumeType: cindertest.Type,
		Lend: true, Place: "host@lvm#pool", Deadline: time.Now().Add(10 * time.Minute),
	}
}

func (c *cloud) end(t *testing.T, a plugin.Answer, how backends.Return) {
	t.Helper()
	if err := c.Lending().EndLoan(t.Context(), a.Loan, how); err != nil {
		t.Errorf("end loan %s as %s: %v", a.Loan, how, err)
	}
}

func TestAnImageVolumeIsFilledByCinderAndLent(t *testing.T) {
	c := newCloud(t, lru.Bounds{MaxCount: 5}, nil)
	first := c.lend(t, "debian", "v1")
	if first.Outcome != plugin.Filled || first.Loan == "" || first.Place != "host@lvm#pool" || first.LentUntil == nil {
		t.Fatalf("first: %+v", first)
	}
	all := c.cinder.All()
	if len(all) != 1 || all[0].ID != string(first.Generation) || all[0].ImageRef != "debian.raw" || all[0].Status != "available" || all[0].Metadata["readonly"] != "True" {
		t.Fatalf("Cinder has %+v", all)
	}
	second := c.lend(t, "debian", "v2")
	if second.Outcome != plugin.Hit || second.Generation != first.Generation || second.Loan == first.Loan {
		t.Errorf("second: %+v", second)
	}
	loans, err := c.Lending().Loans(t.Context())
	if err != nil || len(loans) != 2 || loans[0].Volume != "v1" || loans[0].Backend != "lvm" {
		t.Errorf("loans: %+v, %v", loans, err)
	}
	for _, how := range []backends.Return{backends.Made, backends.Made, backends.NotMade} { // repeating it says nothing
		c.end(t, first, how)
	}
	if n, err := c.Lending().EndLoansAt(t.Context(), "lvm", "host@nfs"); err != nil || n != 0 {
		t.Errorf("loans of another place: %d, %v", n, err)
	}
	if n, err := c.Lending().EndLoansAt(t.Context(), "lvm", "host@lvm"); err != nil || n != 1 {
		t.Errorf("loans of the place: %d, %v", n, err)
	}
	if e, err := c.Entry(t.Context(), first.EntryID); err != nil || e.Place != "host@lvm#pool" || e.Volumes != 1 {
		t.Errorf("entry: %+v, %v", e, err)
	}
	if loans, err = c.Lending().Loans(t.Context()); err != nil || len(loans) != 0 {
		t.Errorf("loans after their ends: %+v, %v", loans, err)
	}
	if err := c.Lending().EndLoan(t.Context(), second.Loan, "lost"); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("an end that is none: %v", err)
	}
	found, err := c.Check(t.Context(), plugin.CheckOptions{})
	if err != nil || len(found.Problems) != 0 {
		t.Errorf("check: %+v, %v", found, err)
	}
}

// A driver that allows 32 clones of one volume serves 1,000 volumes: each generation takes 32, and all are one entry.
func TestAThousandVolumesByGenerations(t *testing.T) {
	const volumes, limit, hooks = 1000, 32, 8
	c := newCloud(t, lru.Bounds{MaxCount: 200}, nil)
	var mu sync.Mutex
	clones := make(map[backends.GenerationID]int)
	driver := func(from backends.GenerationID) backends.Return {
		mu.Lock()
		defer mu.Unlock()
		if clones[from] == limit {
			return backends.Full
		}
		clones[from]++
		return backends.Made
	}
	names := make(chan string)
	var working sync.WaitGroup
	for range hooks {
		working.Go(func() {
			for name := range names {
				for how := backends.Full; how == backends.Full; {
					a := c.lend(t, "debian", name)
					if a.Loan == "" {
						t.Errorf("%s: %+v", name, a)
						break
					}
					how = driver(a.Generation)
					c.end(t, a, how)
				}
			}
		})
	}
	for i := range volumes {
		names <- fmt.Sprintf("v%d", i)
	}
	close(names)
	working.Wait()
	if most := (volumes + limit - 1) / limit; len(clones) != most {
		t.Errorf("%d generations, want %d", len(clones), most)
	}
	entries, err := c.Entries(t.Context(), plugin.EntryFilter{})
	if err != nil || len(entries) != 1 || entries[0].HeldBytes != int64(len(clones))<<30 {
		t.Fatalf("entries: %+v, %v", entries, err)
	}
	if found, err := c.Check(t.Context(), plugin.CheckOptions{}); err != nil || len(found.Problems) != 0 {
		t.Errorf("check: %+v, %v", found, err)
	}
	if _, err := c.DeleteEntry(t.Context(), entries[0].ID, plugin.ForceDetach(false)); err != nil {
		t.Fatal(err)
	}
	if left := c.cinder.All(); len(left) != 0 {
		t.Errorf("Cinder still has %d volumes, one of them %+v", len(left), left[0])
	}
}

func TestAGenerationCountsAgainstTheBounds(t *testing.T) {
	for name, bounds := range map[string]lru.Bounds{"bytes": {MaxBytes: 2 << 30}, "count": {MaxCount: 2}} {
		t.Run(name, func(t *testing.T) { checkGenerationCounts(t, bounds) })
	}
}

func checkGenerationCounts(t *testing.T, bounds lru.Bounds) {
	c := newCloud(t, bounds, func(cfg *cinder.Config) { cfg.MaxClones = 1 })
	c.image(t, "other")
	c.end(t, c.lend(t, "other", "o"), backends.Made)
	c.end(t, c.lend(t, "debian", "v1"), backends.Made)
	c.end(t, c.lend(t, "debian", "v2"), backends.Made) // the other one goes for it
	third := c.lend(t, "debian", "v3")
	if third.Outcome != plugin.Bypassed || third.Loan != "" {
		t.Errorf("beyond the bound: %+v", third)
	}
	entries, err := c.Entries(t.Context(), plugin.EntryFilter{})
	if err != nil || len(entries) != 1 || entries[0].HeldBytes != 2<<30 || len(c.cinder.All()) != 2 {
		t.Errorf("entries: %+v, %v; Cinder has %d volumes", entries, err, len(c.cinder.All()))
	}
	if other := c.lend(t, "other", "o"); other.Outcome != plugin.Filled { // both generations go for it
		t.Errorf("another image: %+v", other)
	}
	if all := c.cinder.All(); len(all) != 1 || all[0].ImageRef != "other.raw" {
		t.Errorf("Cinder has %+v", all)
	}
}

func TestAnEvictionWaitsForTheLoan(t *testing.T) {
	c := newCloud(t, lru.Bounds{MaxCount: 1}, nil)
	c.image(t, "other")
	lent := c.lend(t, "debian", "v1")
	entry := lent.EntryID
	deleted := make(chan error, 1)
	go func() {
		_, err := c.DeleteEntry(t.Context(), entry, plugin.ForceDetach(false))
		deleted <- err
	}()
	for { // it has begun
		e, err := c.Entry(t.Context(), entry)
		if err != nil {
			t.Fatal(err)
		}
		if e.State == "evicting" {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("it did not begin")
		}
	}
	if all := c.cinder.All(); len(all) != 1 || all[0].Metadata["clonecache_committed"] == "" {
		t.Errorf("while it is lent, Cinder has %+v", all)
	}
	again := c.lend(t, "debian", "v2") // of a new image-volume
	if again.Generation == lent.Generation {
		t.Errorf("what is evicting was lent: %+v", again)
	}
	c.end(t, again, backends.Made)
	c.end(t, lent, backends.Made)
	err := <-deleted
	if errors.Is(err, plugin.ErrBusy) { // its patience ended before the loan did
		_, err = c.DeleteEntry(t.Context(), entry, plugin.ForceDetach(false))
	}
	if err != nil {
		t.Errorf("delete: %v", err)
	}
	for _, v := range c.cinder.All() {
		if v.ID == string(lent.Generation) {
			t.Errorf("Cinder still has %+v", v)
		}
	}
}

func TestWhatCannotBeLentIsLeftToCinder(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*cindertest.Cinder)
		reason  plugin.Reason
	}{
		"the tenant may not read the image":   {func(f *cindertest.Cinder) { f.Hidden["debian.raw"] = true }, plugin.ReasonUnsuitable},
		"the quota is full":                   {func(f *cindertest.Cinder) { f.MaxVolumes = 0 }, plugin.ReasonOverQuota},
		"Cinder cannot fill the image-volume": {func(f *cindertest.Cinder) { f.Failing = true }, plugin.ReasonUnavailable},
		"it lies in another pool":             {func(f *cindertest.Cinder) { f.Place = "host@lvm#other" }, plugin.ReasonUnsuitable},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, lru.Bounds{}, nil)
			c.cinder.With(func() { test.prepare(c.cinder) })
			a := c.lend(t, "debian", "v1")
			if a.Outcome != plugin.Bypassed || a.Reason != test.reason || a.Loan != "" {
				t.Errorf("got %+v, want reason %s", a, test.reason)
			}
			if loans, err := c.Lending().Loans(t.Context()); err != nil || len(loans) != 0 {
				t.Errorf("loans: %+v, %v", loans, err)
			}
			for _, v := range c.cinder.All() {
				if v.Status != "available" {
					t.Errorf("Cinder is left with %+v", v)
				}
			}
		})
	}
}

// One that somebody deleted in Cinder is noticed by whoever it is lent to, and the image is cached anew.
func TestOneThatIsGoneIsCachedAnew(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	lent := c.lend(t, "debian", "v1")
	c.cinder.With(func() { delete(c.cinder.Volumes, string(lent.Generation)) })
	c.end(t, lent, backends.Gone)
	again := c.lend(t, "debian", "v1")
	if again.Outcome != plugin.Filled || again.Generation == lent.Generation {
		t.Errorf("got %+v", again)
	}
	c.end(t, again, backends.Made)
}

// Programs without the hook ask for volumes as ever.
func TestAVolumeThroughTheAPI(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	a, err := c.CreateVolume(t.Context(), plugin.Request{Backend: "lvm", Image: "library:debian.raw", Volume: "mine", SizeBytes: 2 << 30})
	if err != nil || a.Outcome != plugin.Filled || a.SizeBytes != 2<<30 {
		t.Fatalf("got %+v, %v", a, err)
	}
	again, err := c.CreateVolume(t.Context(), plugin.Request{Backend: "lvm", Image: "library:debian.raw", Volume: "mine", SizeBytes: 2 << 30})
	if err != nil || again.VolumeID != a.VolumeID {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	var made []cindertest.Volume
	for _, v := range c.cinder.All() {
		if v.Source != "" {
			made = append(made, v)
		}
	}
	if len(made) != 1 || made[0].ID != string(a.VolumeID) || made[0].Name != "mine" || made[0].Size != 2 {
		t.Errorf("Cinder made %+v", made)
	}
	if err := c.DeleteVolume(t.Context(), "lvm", "mine"); err != nil {
		t.Error(err)
	}
	if all := c.cinder.All(); len(all) != 1 {
		t.Errorf("Cinder has %+v", all)
	}
}

// A process that died between the claim of a generation and its mark leaves a volume of Cinder's: the next growth takes it,
// or it goes with the entry.
func TestAGenerationThatWasLeftIsTakenOrGoes(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	first := c.lend(t, "debian", "v1")
	leave := func(id, generation string) {
		c.cinder.With(func() {
			left := *c.cinder.Volumes[string(first.Generation)]
			left.ID, left.Metadata = id, map[string]string{
				"clonecache_generation": generation, "clonecache_content": "image", "clonecache_state": "reserved", "clonecache_place": c.cinder.Place,
			}
			for _, key := range []string{"clonecache_catalog", "clonecache_entry_id", "clonecache_attempt", "clonecache_backend", "clonecache_image"} {
				left.Metadata[key] = c.cinder.Volumes[string(first.Generation)].Metadata[key]
			}
			c.cinder.Volumes[id] = &left
		})
	}
	leave("00000000-0000-4000-8000-000000000002", "2")
	c.end(t, first, backends.Full)
	second := c.lend(t, "debian", "v1")
	if second.Generation != "00000000-0000-4000-8000-000000000002" || len(c.cinder.All()) != 2 {
		t.Errorf("lent %+v; Cinder has %d volumes", second.Lent, len(c.cinder.All()))
	}
	c.end(t, second, backends.Made)

	leave("00000000-0000-4000-8000-000000000003", "3")
	if found, err := c.Check(t.Context(), plugin.CheckOptions{}); err != nil || len(found.Problems) != 0 {
		t.Errorf("while the entry is there: %+v, %v", found, err)
	}
	if _, err := c.DeleteEntry(t.Context(), first.EntryID, plugin.ForceDetach(false)); err != nil {
		t.Fatal(err)
	}
	if all := c.cinder.All(); len(all) != 0 {
		t.Errorf("once the entry has gone, Cinder has %+v", all)
	}
	if found, err := c.Check(t.Context(), plugin.CheckOptions{}); err != nil || len(found.Problems) != 0 {
		t.Errorf("check: %+v, %v", found, err)
	}
}
