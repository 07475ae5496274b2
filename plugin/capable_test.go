package plugin_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/journal"
)

// capable is a backend in memory with what a backend may be able to do besides.
type capable struct {
	*backendtest.Memory

	mu      sync.Mutex
	adopted map[backends.ImageVolumeID]backends.VolumeName
	images  map[string][]byte               // what lies on the backend itself, by location
	after   func(step string)               // is called when a step was done
	strays  map[backends.ImageVolumeID]bool // no listing names them, and Retire does not find them
	odd     bool                            // there are strays that cannot be recovered, or read
}

func newCapable() *capable {
	return &capable{
		Memory: backendtest.NewMemory(backendtest.MemoryConfig{}), images: make(map[string][]byte),
		adopted: make(map[backends.ImageVolumeID]backends.VolumeName), after: func(string) {},
		strays: make(map[backends.ImageVolumeID]bool),
	}
}

func (c *capable) CanAdopt() bool { return true }

func (c *capable) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	if spec.Adopt != "" && !c.has(spec.Adopt) {
		return nil, fmt.Errorf("adopt %s: %w", spec.Adopt, backends.ErrNotExist)
	}
	adopt := spec.Adopt
	spec.Adopt = "" // the memory below has an image-volume of its own instead
	stage, err := c.Memory.Stage(ctx, spec)
	if err == nil {
		c.mu.Lock()
		c.adopted[spec.ID] = adopt
		c.mu.Unlock()
		c.after("stage")
	}
	return &capableStage{stage, c}, err
}

type capableStage struct {
	backends.ImageVolumeStage
	c *capable
}

func (s *capableStage) Commit(ctx context.Context, d backends.Description) (backends.ImageVolume, error) {
	iv, err := s.ImageVolumeStage.Commit(ctx, d)
	s.c.after("commit")
	return iv, err
}

// has tells whether there is a volume of any maker.
func (c *capable) has(name backends.VolumeName) bool {
	f, err := c.OpenVolume(context.Background(), name)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

func (c *capable) adoptedBy(id string) backends.VolumeName {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.adopted[backends.ImageVolumeID(id)]
}

func (c *capable) CanCloneDirect(location string) bool { return location != "" }

func (c *capable) CloneDirect(ctx context.Context, location string, spec backends.VolumeSpec) (backends.Volume, error) {
	content, ok := c.images[location]
	if !ok {
		return backends.Volume{}, fmt.Errorf("clone %s: %w", location, backends.ErrNotExist)
	}
	stage, err := c.CreateVolume(ctx, spec)
	if err != nil {
		return backends.Volume{}, err
	}
	if _, err := stage.WriteAt(content, 0); err != nil {
		return backends.Volume{}, err
	}
	v, err := stage.Commit(ctx)
	c.after("direct")
	return v, err
}

// wantContent checks that a volume begins with content.
func (c *capable) wantContent(t *testing.T, name string, content []byte) {
	t.Helper()
	f, err := c.OpenVolume(t.Context(), backends.VolumeName(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(io.NewSectionReader(f, 0, int64(len(content))))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("volume %s differs from its image (%v)", name, err)
	}
}

// cinderlike is an internal tenant whose service makes the volumes that become image-volumes.
type cinderlike struct {
	on    *capable
	after func() // is called when a claim was made

	mu        sync.Mutex
	claims    map[internaltenant.ClaimID]internaltenant.Claim
	made      int
	err       error // of Claim, Claims and Usage
	elsewhere bool  // volumes land on another backend
}

func newCinderlike(on *capable) *cinderlike {
	return &cinderlike{on: on, claims: make(map[internaltenant.ClaimID]internaltenant.Claim), after: func() {}}
}

func (o *cinderlike) Claim(ctx context.Context, s internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	c, err := o.claim(ctx, s)
	if err == nil {
		o.after()
	}
	return c, err
}

func (o *cinderlike) claim(ctx context.Context, s internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return internaltenant.Claim{}, o.err
	}
	for _, c := range o.claims {
		if c.EntryID == s.EntryID && c.Attempt == s.Attempt {
			return c, nil
		}
	}
	o.made++
	id := fmt.Sprintf("%08d", o.made)
	c := internaltenant.Claim{
		ID: internaltenant.ClaimID(id), ProjectID: "p", UserID: "u", Gigabytes: internaltenant.Gigabytes(s.VirtualBytes),
		EntryID: s.EntryID, Attempt: s.Attempt, Volume: "volume-" + id,
	}
	if !o.elsewhere {
		if err := o.on.MakeForeign(ctx, backends.VolumeName(c.Volume), nil); err != nil {
			return internaltenant.Claim{}, err
		}
	}
	o.claims[c.ID] = c
	return c, nil
}

func (o *cinderlike) MakesVolumes(string) bool { return true }

func (o *cinderlike) Settle(_ context.Context, id internaltenant.ClaimID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.claims[id]
	if !ok {
		return internaltenant.ErrUnknownClaim
	}
	c.InUse = true
	o.claims[id] = c
	return nil
}

func (o *cinderlike) Release(_ context.Context, id internaltenant.ClaimID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.claims, id)
	return nil
}

func (o *cinderlike) Claims(context.Context) ([]internaltenant.Claim, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []internaltenant.Claim
	for _, c := range o.claims {
		all = append(all, c)
	}
	return all, o.err
}

func (o *cinderlike) Usage(ctx context.Context) (internaltenant.Usage, error) {
	claims, err := o.Claims(ctx)
	u := internaltenant.Usage{ProjectID: "p", UserID: "u"}
	for _, c := range claims {
		u.Volumes.InUse++
		u.Gigabytes.InUse += c.Gigabytes
	}
	return u, err
}

// fail lets the tenant's service answer err; nil mends it.
func (o *cinderlike) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// wantClaims checks how many claims there are, and returns one of them.
func (o *cinderlike) wantClaims(t *testing.T, want int) (one internaltenant.Claim) {
	t.Helper()
	claims, _ := o.Claims(t.Context())
	if len(claims) != want {
		t.Fatalf("claims: got %+v, want %d", claims, want)
	}
	for _, c := range claims {
		one = c
	}
	return one
}

func withOwner(o internaltenant.Owner) option {
	return func(c *plugin.Config) {
		c.NewOwner = func(internaltenant.Ledger) (internaltenant.Owner, error) { return o, nil }
	}
}

// adoptingRig is a plugin whose image-volumes are volumes of the internal tenant's service. Its source's
// gate is open.
func adoptingRig(t *testing.T, options ...option) (*rig, *gatedSource, *capable, *cinderlike) {
	t.Helper()
	source, backend := newGatedSource(), newCapable()
	close(source.gate)
	owner := newCinderlike(backend)
	options = append([]option{withSource(source), withBackend(backend), withOwner(owner)}, options...)
	return newRig(t, t.TempDir(), lru.Bounds{MaxCount: 10}, options...), source, backend, owner
}

// restartFrom opens another plugin on a copy of a rig's state as it is now, as if its process had died
// here and another one had begun.
func restartFrom(t *testing.T, r *rig) *rig {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(state, os.DirFS(filepath.Join(r.dir, "state"))); err != nil {
		t.Fatal(err)
	}
	takeWitness(t, filepath.Join(r.dir, "state"), state)
	again := &rig{config: r.config, dir: r.dir}
	again.config.StateDir = state
	again.open(t)
	return again
}

// takeWitness lets a copy of a state directory be what the host's memory knows of, as if it were the original.
func takeWitness(t *testing.T, from, to string) {
	t.Helper()
	original, err := journal.WitnessPath("", filepath.Join(from, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	copied, err := journal.WitnessPath("", filepath.Join(to, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(original)
	if err == nil {
		err = os.WriteFile(copied, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(copied) })
}

// halt stops the first one who comes, until the test lets it go on.
type halt struct {
	once    atomic.Bool
	reached chan struct{} // closed when it has come
	goOn    chan struct{}
}

func newHalt() *halt { return &halt{reached: make(chan struct{}), goOn: make(chan struct{})} }

func (h *halt) here() {
	if h.once.CompareAndSwap(false, true) {
		close(h.reached)
		<-h.goOn
	}
}
