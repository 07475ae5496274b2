package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/journal"
)

// copyState replaces a directory by a copy of another.
func copyState(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// toldWithoutTrace delivers volume v1, with a deadline, and puts the journal back to what it was between intent
// and answer: as a loss of power does, or a state directory that is restored.
func toldWithoutTrace(t *testing.T, r *rig, image string) plugin.Answer {
	t.Helper()
	live, saved := filepath.Join(r.dir, "state", "journal"), filepath.Join(t.TempDir(), "journal")
	a, err := r.CreateVolume(t.Context(), plugin.Request{
		Image: image, Volume: "v1", Deadline: time.Now().Add(time.Hour),
		Progress: func(p plugin.Progress) {
			if p.Phase == "cloning" {
				copyState(t, live, saved)
			}
		},
		Deliver: func(plugin.Answer) error { return nil },
	})
	if err != nil || a.Outcome != plugin.Hit {
		t.Fatalf("got %+v, %v, want a hit", a, err)
	}
	r.reopen(t, func() { copyState(t, saved, live) })
	return a
}

// wantKept wants volume v1 to be there and shown as kept for that reason; "" as an ordinary volume.
func wantKept(t *testing.T, r *rig, why journal.Kept) {
	t.Helper()
	volumes, err := r.ListVolumes(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	n := slices.IndexFunc(volumes, func(v plugin.VolumeView) bool { return v.Volume == "v1" })
	if n < 0 {
		t.Fatal("v1 is gone")
	}
	if volumes[n].Kept != why {
		t.Errorf("listed as kept: %q, want %q", volumes[n].Kept, why)
	}
	got, err := r.Check(t.Context(), plugin.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := slices.ContainsFunc(got.Problems, func(p plugin.Problem) bool { return p.Kind == "kept-volume" && p.ID == "v1" && p.Remedy != "" })
	if found != (why != "") {
		t.Errorf("check: got %+v, want kept-volume: %v", got.Problems, why != "")
	}
}

func wantKeptEvent(t *testing.T, r *rig, why journal.Kept) {
	t.Helper()
	events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventKept}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(events, func(e plugin.Event) bool { return e.Volume == "v1" && e.Reason == plugin.Reason(why) && e.Detail != "" }) {
		t.Errorf("events: got %+v, want v1 kept, %s", events, why)
	}
}

// A volume whose requester was told of it stays, though the journal has lost the answer, and what somebody says
// of it ends the matter.
func TestAVolumeWhoseAnswerTheJournalLostStays(t *testing.T) {
	for _, r := range []struct {
		name string
		then func(t *testing.T, r *rig)
		gone bool
	}{
		{"it is kept", func(t *testing.T, r *rig) {
			if err := r.KeepVolume(t.Context(), "", "v1"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"it is asked for again", func(t *testing.T, r *rig) {
			if a := r.create(t, "library:disk.raw", "v1", 0); a.Reason != plugin.ReasonRepeated {
				t.Errorf("got %+v, want the volume that is there", a)
			}
		}, false},
		{"it is deleted", func(t *testing.T, r *rig) {
			if err := r.DeleteVolume(t.Context(), "", "v1"); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"it is removed behind our back", func(t *testing.T, r *rig) {
			if err := os.Remove(filepath.Join(r.dir, "volumes", "v1")); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Clean(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			rig := newRig(t, fstest.Mount(t, fstest.XFS, 320*mib), lru.Bounds{})
			rig.image(t, "disk.raw", mib)
			rig.create(t, "library:disk.raw", "warm", 0)
			toldWithoutTrace(t, rig, "library:disk.raw")
			wantKeptEvent(t, rig, journal.Unproved)
			for range 2 {
				wantKept(t, rig, journal.Unproved)
				rig.reopen(t, func() {})
			}
			r.then(t, rig)
			if !r.gone {
				wantKept(t, rig, "")
			}
			checkClean(t, rig)
			rig.reopen(t, func() {})
			if !r.gone {
				wantKept(t, rig, "")
			}
			checkClean(t, rig)
		})
	}
}

// Of a volume that certainly nobody was told of, and that somebody has found all the same, it is asked once:
// it does not go when its guest shuts down.
func TestAVolumeThatSomebodyFoundStays(t *testing.T) {
	for _, how := range []backendtest.Usage{backendtest.Opens, backendtest.Snapshots, backendtest.Writes} {
		t.Run(string(how), func(t *testing.T) {
			r, _, backend, _ := directRig(t)
			stop := newHalt()
			backend.after = func(string) { stop.here() }
			ctx, die := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := r.CreateVolume(ctx, plugin.Request{Image: "gated:disk", Volume: "v1", Deadline: time.Now().Add(time.Hour)})
				ended <- err
			}()
			<-stop.reached
			end, err := backend.UseVolume(t.Context(), "v1", how)
			if err != nil {
				t.Fatal(err)
			}
			again := restartFrom(t, r)
			wantKept(t, again, journal.InUse)
			wantKeptEvent(t, again, journal.InUse)
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if _, err := again.Clean(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantKept(t, again, journal.InUse)
			again.reopen(t, func() {})
			if _, err := backend.StatVolume(t.Context(), "v1"); err != nil {
				t.Errorf("after its guest shut down, and a restart: %v", err)
			}
			if err := again.KeepVolume(t.Context(), "", "v1"); err != nil {
				t.Fatal(err)
			}
			checkClean(t, again)
			die()
			close(stop.goOn)
			<-ended
		})
	}
}

// takenBack are the ways in which a volume that was made is taken back: use is called when it is there.
var takenBack = map[string]func(t *testing.T, r *rig, backend *capable, use func()){
	"nobody takes the answer": func(t *testing.T, r *rig, _ *capable, use func()) {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deliver: func(plugin.Answer) error {
			use()
			return errGone
		}})
		if err != nil || a.Reason != plugin.ReasonUndelivered {
			t.Errorf("got %+v, %v, want it undelivered", a, err)
		}
	},
	"its time is over": func(t *testing.T, r *rig, backend *capable, use func()) {
		var late atomic.Bool
		r.reopen(t, func() {
			r.config.Now = func() time.Time {
				if late.Load() {
					return time.Now().Add(2 * time.Hour)
				}
				return time.Now()
			}
		})
		backend.after = func(string) {
			use()
			late.Store(true)
		}
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deadline: time.Now().Add(time.Hour)})
		if err != nil || a.Reason != plugin.ReasonDeadline {
			t.Errorf("got %+v, %v, want it too late", a, err)
		}
	},
	"its requester has gone": func(t *testing.T, r *rig, backend *capable, use func()) {
		ctx, leave := context.WithCancel(t.Context())
		backend.after = func(string) {
			use()
			leave()
		}
		if _, err := r.CreateVolume(ctx, plugin.Request{Image: "gated:disk", Volume: "v1"}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	},
}

// A volume that is taken back stays where somebody has it, whatever is done from then on, and once nobody uses it too.
func TestAVolumeThatIsTakenBackStaysIfSomebodyHasIt(t *testing.T) {
	for way, make := range takenBack {
		for _, how := range []backendtest.Usage{backendtest.Opens, backendtest.Snapshots, backendtest.Writes} {
			t.Run(fmt.Sprintf("%s, %s", way, how), func(t *testing.T) {
				r, _, backend, _ := directRig(t)
				var end func() error
				make(t, r, backend, func() {
					var err error
					if end, err = backend.UseVolume(t.Context(), "v1", how); err != nil {
						t.Error(err)
					}
				})
				backend.after = func(string) {}
				wantKeptWhateverIsDone(t, r)
				if err := end(); err != nil {
					t.Fatal(err)
				}
				wantKeptWhateverIsDone(t, r)
				r.reopen(t, func() {})
				wantKeptWhateverIsDone(t, r)
				if err := r.KeepVolume(t.Context(), backends.Name("local"), "v1"); err != nil {
					t.Fatal(err)
				}
				checkClean(t, r)
			})
		}
	}
}

// wantKeptWhateverIsDone does all that ends and removes things by itself.
func wantKeptWhateverIsDone(t *testing.T, r *rig) {
	t.Helper()
	wantKept(t, r, journal.InUse)
	r.Tidy(t.Context())
	if _, err := r.Clean(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true, Deep: true}); err != nil {
		t.Error(err)
	}
	wantKept(t, r, journal.InUse)
	wantKeptEvent(t, r, journal.InUse)
}
