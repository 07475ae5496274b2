package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// wanting is a clock that a test moves on.
type wanting struct{ later atomic.Int64 }

func (w *wanting) add(d time.Duration) { w.later.Add(int64(d)) }

func (w *wanting) option(c *plugin.Config) {
	c.Now = func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
}

func clonable() *backendtest.Memory {
	return backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
}

// leftHalfMade leaves what a fill that died has staged.
func leftHalfMade(t *testing.T, on backends.Backend) {
	t.Helper()
	d := backends.Description{EntryID: "dead", Attempt: 1}
	if _, err := on.Stage(t.Context(), backends.StageSpec{ID: "cc-dead-1", VirtualBytes: mib, Description: d}); err != nil {
		t.Fatal(err)
	}
}

func countImageVolumes(t *testing.T, on backends.Backend) (n int) {
	t.Helper()
	for _, err := range on.ListImageVolumes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

const charged = "INSERT INTO claims (id, project_id, entry_id, attempt, backend, image_id, gigabytes, in_use, created_at) VALUES ('claim', 'p', 'dead', 1, 'local', 'library:dead', 1, 0, 0)"

// What no entry names goes a day after the start, and what an entry names without being there; not before, and nothing else.
func TestOrphansAreCleanedOnceADay(t *testing.T) {
	for _, c := range []struct {
		name  string
		left  func(*testing.T, *rig, *backendtest.Memory)
		holds int // image-volumes, at the end
		has   int // entries
	}{
		{"half made", func(t *testing.T, _ *rig, m *backendtest.Memory) { leftHalfMade(t, m) }, 1, 1},
		{"a claim for nothing", func(t *testing.T, r *rig, _ *backendtest.Memory) { r.inCatalog(t, charged) }, 1, 1},
		{"whole, as the catalog is from before it", func(t *testing.T, _ *rig, m *backendtest.Memory) { committed(t, m, "entry") }, 2, 2},
		{"gone, and named", func(t *testing.T, r *rig, m *backendtest.Memory) {
			if _, err := m.Retire(t.Context(), backends.ImageVolumeID(r.wantEntries(t, 1)[0].ImageVolume)); err != nil {
				t.Fatal(err)
			}
		}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var at wanting
			memory := clonable()
			r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory), withQuota(0, 0), at.option)
			r.image(t, "disk.raw", 64<<10)
			r.create(t, "library:disk.raw", "v", 0)
			if err := r.DeleteVolume(t.Context(), "local", "v"); err != nil {
				t.Fatal(err)
			}
			c.left(t, r, memory)
			at.add(23 * time.Hour)
			plugin.CleanDue(t.Context(), r.Plugin)
			if got, err := r.Check(t.Context(), plugin.CheckOptions{}); err != nil || len(got.Problems) != 1 {
				t.Fatalf("before it is due: %+v, %v, want one problem", got, err)
			}
			at.add(4 * time.Hour)
			plugin.CleanDue(t.Context(), r.Plugin)
			checkClean(t, r)
			r.wantEntries(t, c.has)
			if n := countImageVolumes(t, memory); n != c.holds {
				t.Errorf("%d image-volumes, want %d", n, c.holds)
			}
		})
	}
}

// Where everything agrees, the store is listed once, and rests for a day.
func TestLookingForOrphansListsAStoreOnce(t *testing.T) {
	var at wanting
	faulty := backendtest.NewFaulty(clonable())
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(faulty), at.option)
	r.image(t, "disk.raw", 64<<10)
	r.create(t, "library:disk.raw", "v", 0)
	before := faulty.Calls(backendtest.MethodListImageVolumes)
	look := func(after time.Duration, want int) {
		t.Helper()
		at.add(after)
		plugin.CleanDue(t.Context(), r.Plugin)
		if got := faulty.Calls(backendtest.MethodListImageVolumes) - before; got != want {
			t.Errorf("after %v: listed %d times, want %d", after, got, want)
		}
	}
	look(0, 0)
	look(27*time.Hour, 1)
	look(23*time.Hour, 1)
	look(4*time.Hour, 2)
	r.set(t, plugin.Limits{CleanEvery: -1})
	if s, err := r.Status(t.Context()); err != nil || s.Clean.Every != 0 || s.Clean.NextAt != nil {
		t.Errorf("status: %+v, %v, want that it is never due", s.Clean, err)
	}
	look(100*time.Hour, 2)
	r.set(t, plugin.Limits{CleanEvery: time.Hour})
	look(0, 3)
	s, err := r.Status(t.Context())
	if wait := s.Clean.NextAt.Sub(s.Clean.LastAt); err != nil || s.Clean.Every != 3600 || wait < time.Hour || wait > 66*time.Minute {
		t.Errorf("status: %+v, %v, want an hour, or a tenth more", s.Clean, err)
	}
}

// Where a store does not answer, that one is looked at again, and by and by: nothing was found that all should be compared for.
func TestAStoreThatDoesNotAnswerIsLookedAtAgain(t *testing.T) {
	var at wanting
	faulty := backendtest.NewFaulty(clonable())
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(faulty), at.option)
	before := faulty.Calls(backendtest.MethodListImageVolumes)
	look := func(after time.Duration, want int) {
		t.Helper()
		at.add(after)
		plugin.CleanDue(t.Context(), r.Plugin)
		r.Tidy(t.Context())
		if got := faulty.Calls(backendtest.MethodListImageVolumes) - before; got != want {
			t.Errorf("after %v: listed %d times, want %d", after, got, want)
		}
	}
	faulty.FailBefore(backendtest.MethodListImageVolumes, before+1, backends.ErrUnavailable)
	look(27*time.Hour, 1)
	look(time.Minute, 1)
	look(9*time.Minute, 2)
	look(20*time.Hour, 2)
	look(7*time.Hour, 3)
}

// A claim that was made for a backend which is not configured stays until a human has decided: all is not compared for it each day.
func TestAClaimOfABackendThatIsGoneIsNoOrphan(t *testing.T) {
	var at wanting
	var said bytes.Buffer
	log := logrus.New()
	log.SetOutput(&said)
	r, _, _, owner := adoptingRig(t, at.option, func(c *plugin.Config) { c.Log = log })
	owner.mu.Lock()
	owner.claims["stray"] = internaltenant.Claim{ID: "stray", EntryID: "nobody", Volume: "volume-stray", Gigabytes: 1, Backend: "gone"}
	owner.mu.Unlock()
	at.add(27 * time.Hour)
	plugin.CleanDue(t.Context(), r.Plugin)
	log.SetOutput(io.Discard)
	if strings.Contains(said.String(), "do not agree") {
		t.Errorf("all is reconciled:\n%s", said.String())
	}
	r.wantProblem(t, plugin.CheckOptions{}, "unknown-claim", "does not need them")
}

// Of several hosts one looks each time; the next one looks once that has rested, also where the first is gone.
func TestOneOfSeveralHostsLooksForOrphans(t *testing.T) {
	var at wanting
	c := newCluster(t, 1, lru.Bounds{}, at.option)
	first, firsts := c.faulty(t, "host-1")
	second, seconds := c.faulty(t, "host-2")
	listed := func() [2]int {
		return [2]int{firsts.Calls(backendtest.MethodListImageVolumes), seconds.Calls(backendtest.MethodListImageVolumes)}
	}
	was := listed()
	want := func(when string, one, two int) {
		t.Helper()
		if got := listed(); got != [2]int{was[0] + one, was[1] + two} {
			t.Errorf("%s: listed %v times, was %v, want %d and %d more", when, got, was, one, two)
		}
	}
	at.add(27 * time.Hour)
	plugin.CleanDue(t.Context(), first.Plugin)
	want("first", 1, 0)
	plugin.CleanDue(t.Context(), second.Plugin)
	want("the other one, at once", 1, 0)
	at.add(27 * time.Hour)
	c.sql(t, `UPDATE duties SET done_at = done_at - 97200000000 WHERE duty = 'clean'`)
	c.lose(t, "host-1")
	plugin.CleanDue(t.Context(), second.Plugin)
	want("a day later", 1, 1)
}

// What another host fills just now is no orphan, and what it began while the store was listed is none either.
func TestWhatAnotherHostMakesIsNoOrphan(t *testing.T) {
	for _, during := range []bool{false, true} {
		var at wanting
		c := newCluster(t, 1, lru.Bounds{}, at.option)
		looks, faulty := c.faulty(t, "host-1")
		content := random(4 * mib)
		c.source.put("disk", "1", content)
		at.add(27 * time.Hour)
		var made <-chan served
		begin := func() {
			made = c.start(t, 0, "v")
			c.half(t)
		}
		if during {
			hold := faulty.Hold(backendtest.MethodListImageVolumes, faulty.Calls(backendtest.MethodListImageVolumes)+1)
			looked := make(chan struct{})
			go func() {
				defer close(looked)
				plugin.CleanDue(t.Context(), looks.Plugin)
			}()
			<-hold.Reached()
			begin()
			hold.Release()
			<-looked
		} else {
			begin()
			plugin.CleanDue(t.Context(), looks.Plugin)
		}
		close(c.source.gate)
		if got := <-made; got.err != nil {
			t.Fatalf("during %v: %+v", during, got)
		} else {
			c.hosts[0].holds(t, got.Answer, content)
		}
		checkClean(t, looks)
	}
}

// A pool of 10,000 is looked at in 40 s, no faster, and a stop does not wait for that.
func TestLookingForOrphansTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := plugin.Unhurried(t.Context(), 10_000); err != nil || time.Since(begun) != 40*time.Second {
			t.Errorf("10,000 took %v, %v, want 40 s", time.Since(begun), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if err := plugin.Unhurried(ctx, 10_000); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("stopped after %v, %v, want a second", time.Since(begun), err)
		}
	})
}

// What is left out after all was compared is tried by the next minute, however often something had been left out before that.
func TestWhatIsLeftOutAnewIsTriedByTheNextMinute(t *testing.T) {
	var at wanting
	r, _, backend, owner := adoptingRig(t, at.option)
	clean := func() {
		leftHalfMade(t, backend.Memory)
		at.add(27 * time.Hour)
		plugin.CleanDue(t.Context(), r.Plugin)
	}
	r.reopen(t, func() { owner.fail(internaltenant.ErrUnavailable) })
	for range 20 {
		r.Tidy(t.Context())
	}
	owner.fail(nil)
	clean()
	checkClean(t, r)
	owner.fail(internaltenant.ErrUnavailable)
	clean()
	owner.fail(nil)
	owner.mu.Lock()
	owner.claims["stray"] = internaltenant.Claim{ID: "stray", EntryID: "nobody", Volume: "volume-stray", Gigabytes: 1, Backend: "local"}
	owner.mu.Unlock()
	r.wantProblem(t, plugin.CheckOptions{}, "unknown-claim", "does not need them")
	r.Tidy(t.Context())
	checkClean(t, r)
}
