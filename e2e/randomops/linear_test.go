package randomops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// histories is how many short concurrent histories each test records and checks.
const histories = 100

// action is what a client did, or a fill.
type action string

const (
	request  action = "request" // a volume
	filling  action = "fill"    // reported by the plugin, from its start to its end
	evicting action = "evict"
	pinning  action = "pin"
	freeing  action = "unpin"
	changing action = "change" // the image, to version
)

type input struct {
	action  action
	version int // of changing
}

// output is what it came to.
type output struct {
	outcome plugin.Outcome // of a request
	version int            // of the image, as the volume's bytes tell
	done    bool           // of the others: there was an entry to do it to; of a fill: it went well
}

// entryState is an entry as its users see it.
type entryState struct{ ready, pinned bool }

// entryModel is one entry: fills make it, evictions end it unless it is pinned, and whoever gets a volume
// from it found it ready at some moment of the request.
var entryModel = porcupine.Model{
	Init: func() any { return entryState{} },
	Step: func(state, in, out any) (bool, any) {
		s, r := state.(entryState), out.(output)
		switch in.(input).action {
		case request:
			return s.ready || r.outcome == plugin.Bypassed, s
		case filling:
			return !r.done || !s.ready, entryState{ready: s.ready || r.done, pinned: s.pinned}
		case evicting:
			if r.done {
				return s.ready && !s.pinned, entryState{}
			}
			return !s.ready || s.pinned, s
		case pinning, freeing:
			if r.done {
				return s.ready, entryState{ready: true, pinned: in.(input).action == pinning}
			}
			return !s.ready, s
		case changing:
		}
		return false, s
	},
	DescribeOperation: describe,
}

// versionModel is the image: whoever gets a volume gets the content that the image had at some moment of
// the request, whatever else went on.
var versionModel = porcupine.Model{
	Init: func() any { return 1 },
	Step: func(state, in, out any) (bool, any) {
		if i := in.(input); i.action == changing {
			return true, i.version
		}
		r := out.(output)
		return r.version == 0 || r.version == state.(int), state
	},
	DescribeOperation: describe,
}

func describe(in, out any) string { return fmt.Sprintf("%v -> %v", in, out) }

func TestHistoriesOfAnEntryAreLinearizable(t *testing.T) {
	for _, c := range []struct {
		name    string
		info    backends.Info
		model   porcupine.Model
		actions []action
	}{
		{"clones", backends.Info{}, entryModel, []action{request, request, request, evicting, evicting, pinning, freeing}},
		{"copies", backends.Info{NoClone: "none wanted"}, entryModel, []action{request, request, request, evicting, pinning, freeing}},
		{"versions of clones", backends.Info{}, versionModel, []action{request, request, request, evicting, changing}},
		{"versions of copies", backends.Info{NoClone: "none wanted"}, versionModel, []action{request, request, request, evicting, changing}},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkHistories(t, newLab(t, c.info), histories, c.model, c.actions)
		})
	}
}

// checkHistories records histories, one after the other, and checks each.
func checkHistories(t *testing.T, l *lab, histories int, model porcupine.Model, actions []action) {
	t.Helper()
	seen := map[string]int{}
	for n := range max(histories/slower, min(histories, 10)) {
		h := l.history(t, n, actions)
		if result, info := porcupine.CheckOperationsVerbose(model, h, time.Minute); result != porcupine.Ok {
			t.Fatalf("history %d is %s:\n%s\nlongest part that is not: %v", n, result, tell(h), info.PartialLinearizationsOperations())
		}
		for _, o := range h {
			r := o.Output.(output)
			seen[fmt.Sprintf("%s %s %t", o.Input.(input).action, r.outcome, r.done)]++
		}
	}
	t.Log(seen)
}

// tell writes a history as its clients saw it.
func tell(history []porcupine.Operation) string {
	var b bytes.Buffer
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, o := range history {
		fmt.Fprintf(&b, "%4d to %4d: client %d: %s\n", o.Call, o.Return, o.ClientId, describe(o.Input, o.Output))
	}
	return b.String()
}

// lab is one plugin or several on a backend in memory, and what records their histories.
type lab struct {
	hosts   []*plugin.Plugin
	source  *versions
	backend *backendtest.Memory
	store   backends.Name // that holds the entry
	fills   *fillRecorder
	clock   *atomic.Int64 // each event has a time of its own
}

func newLab(t *testing.T, info backends.Info) *lab {
	t.Helper()
	l := &lab{
		source: &versions{bytes: map[string][]int{}}, store: "local", clock: new(atomic.Int64),
		backend: backendtest.NewMemory(backendtest.MemoryConfig{Info: info}),
	}
	if !l.backend.Info().CanClone {
		l.store = "files"
	}
	l.fills = &fillRecorder{store: l.store, clock: l.clock}
	dir := inMemory(t)
	cache, err := filecache.Open(t.Context(), filecache.Config{Name: "files", Path: filepath.Join(dir, "files")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	p, err := plugin.Open(t.Context(), plugin.Config{
		StateDir: filepath.Join(dir, "state"), Sources: []imagesource.Source{l.source}, Observer: l.fills,
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: l.backend, Fallback: "files"}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: cache}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	l.hosts = append(l.hosts, p)
	return l
}

// inMemory is a directory that no disk is waited for, where there is such.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "randomops-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// history lets four clients at one image that was never there before, and records what they see.
func (l *lab) history(t *testing.T, n int, actions []action) []porcupine.Operation {
	t.Helper()
	const clients, each = 4, 4
	image := "image-" + strconv.Itoa(n)
	l.source.change(image, 1)
	l.fills.begin()
	random := rand.New(rand.NewPCG(uint64(n), 1))
	var mu sync.Mutex
	var history []porcupine.Operation
	var running sync.WaitGroup
	var version atomic.Int64
	version.Store(1)
	for client := range clients {
		var todo []action
		var asked []*plugin.Plugin
		for range each {
			todo = append(todo, actions[random.IntN(len(actions))])
			asked = append(asked, l.hosts[random.IntN(len(l.hosts))])
		}
		running.Go(func() {
			for i, a := range todo {
				in := input{action: a}
				if a == changing {
					in.version = int(version.Add(1))
				}
				call := l.clock.Add(1)
				out, err := l.act(t.Context(), asked[i], in, image, fmt.Sprintf("v-%d-%d-%d", n, client, i))
				back := l.clock.Add(1)
				if err != nil {
					t.Errorf("%s: %v", a, err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
	l.tidy(t)
	return append(history, l.fills.end(clients)...)
}

func (l *lab) act(ctx context.Context, p *plugin.Plugin, in input, image, volume string) (output, error) {
	switch in.action {
	case request:
		return l.request(ctx, p, image, volume)
	case evicting:
		r, err := p.DeleteAllEntries(ctx, l.store, true)
		return output{done: len(r.Removed) == 1}, err
	case pinning, freeing:
		return l.pin(ctx, p, in.action == pinning)
	case changing:
		l.source.change(image, in.version)
		return output{}, nil
	case filling:
	}
	return output{}, fmt.Errorf("no client does %q", in.action)
}

func (l *lab) request(ctx context.Context, p *plugin.Plugin, image, volume string) (output, error) {
	a, err := p.CreateVolume(ctx, plugin.Request{Image: "versions:" + image, Volume: backends.VolumeName(volume)})
	if errors.Is(err, imagesource.ErrChanged) { // while it was read: no volume, as without the cache
		return output{outcome: plugin.Bypassed}, nil
	}
	if err != nil || a.Outcome == plugin.Bypassed {
		return output{outcome: a.Outcome}, err
	}
	r, err := l.backend.OpenVolume(ctx, backends.VolumeName(volume))
	if err != nil {
		return output{}, err
	}
	defer r.Close()
	got, err := io.ReadAll(io.NewSectionReader(r, 0, a.SizeBytes))
	if err != nil {
		return output{}, err
	}
	version := int(got[0])
	if !bytes.Equal(got, content(version)) {
		return output{}, fmt.Errorf("%s: not the bytes of any one version", a.Outcome)
	}
	return output{outcome: a.Outcome, version: version}, nil
}

// pin pins or unpins the entry that is ready. One that is being evicted at the time is none.
func (l *lab) pin(ctx context.Context, p *plugin.Plugin, on bool) (output, error) {
	entries, err := p.Entries(ctx, plugin.EntryFilter{Backend: l.store, State: "ready"})
	if err != nil || len(entries) == 0 {
		return output{}, err
	}
	e, err := p.SetPinned(ctx, entries[0].ID, plugin.Pinning(on))
	if errors.Is(err, catalog.ErrNotFound) {
		return output{}, nil
	}
	return output{done: e.State == "ready"}, err
}

// tidy leaves nothing for the next history to trip over.
func (l *lab) tidy(t *testing.T) {
	t.Helper()
	p := l.hosts[0]
	entries, err := p.Entries(t.Context(), plugin.EntryFilter{State: "ready"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := p.SetPinned(t.Context(), e.ID, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.DeleteAllEntries(t.Context(), "", true); err != nil {
		t.Fatal(err)
	}
	volumes, err := p.ListVolumes(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		if err := p.DeleteVolume(t.Context(), v.Backend, v.Volume); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
}
