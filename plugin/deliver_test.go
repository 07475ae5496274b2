package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

var errGone = errors.New("broken pipe")

// memoryRig is a plugin on a backend in memory, whose clones depend on their image-volumes.
func memoryRig(t *testing.T, options ...option) (*rig, *gatedSource, *capable) {
	t.Helper()
	source, backend := newGatedSource(), newCapable()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, append([]option{withSource(source), withBackend(backend)}, options...)...)
	source.put("disk", "1", random(mib))
	return r, source, backend
}

func TestAVolumeWhoseAnswerNobodyTookIsRemoved(t *testing.T) {
	r, _, backend := memoryRig(t)
	for _, deliver := range []error{nil, errGone, nil} {
		var told plugin.Answer
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deliver: func(a plugin.Answer) error {
			told = a
			if !backend.has("v1") {
				t.Error("the answer was given out before there was a volume")
			}
			return deliver
		}})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case deliver == nil && (a.Outcome == plugin.Bypassed || told.VolumeID != a.VolumeID || !backend.has("v1")):
			t.Errorf("delivered: got %+v, told %+v, want one volume", a, told)
		case deliver != nil && (a.Reason != plugin.ReasonUndelivered || backend.has("v1")):
			t.Errorf("not delivered: got %+v, want no volume", a)
		}
		if err := r.DeleteVolume(t.Context(), "", "v1"); err != nil && deliver == nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true}); err != nil { // clones that went
		t.Fatal(err)
	}
	checkClean(t, r)
}

func TestAVolumeThatAnEarlierAnswerNamedStays(t *testing.T) {
	r, _, backend := memoryRig(t)
	r.create(t, "gated:disk", "v1", 0)
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deliver: func(plugin.Answer) error { return errGone }})
	if err != nil || a.Reason != plugin.ReasonRepeated || !backend.has("v1") {
		t.Errorf("got %+v, %v, want the volume that is there", a, err)
	}
}

func TestARepeatedRequestWaitsUntilTheFirstIsDelivered(t *testing.T) {
	r, _, backend := memoryRig(t)
	r.create(t, "gated:disk", "warm", 0)
	delivering, goOn := make(chan struct{}), make(chan struct{})
	first := make(chan plugin.Answer, 1)
	go func() {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deliver: func(plugin.Answer) error {
			close(delivering)
			<-goOn
			return errGone
		}})
		if err != nil {
			t.Error(err)
		}
		first <- a
	}()
	<-delivering
	second := make(chan plugin.Answer, 1)
	go func() { second <- r.create(t, "gated:disk", "v1", 0) }()
	close(goOn)
	if a := <-first; a.Reason != plugin.ReasonUndelivered {
		t.Errorf("the first: got %+v, want it undelivered", a)
	}
	if a := <-second; a.Reason != plugin.ReasonReady || !backend.has("v1") {
		t.Errorf("the second: got %+v, want a volume of its own", a)
	}
}

func TestAVolumeOfARequestWithADeadlineDoesNotOutliveItsProcess(t *testing.T) {
	for _, c := range []struct {
		name     string
		deadline time.Time
		at       string // where the process dies
		stays    bool
	}{
		{"no deadline, not answered", time.Time{}, "direct", true},
		{"a deadline, not answered", time.Now().Add(time.Hour), "direct", false},
		{"a deadline, being answered", time.Now().Add(time.Hour), "deliver", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, backend, _ := directRig(t)
			stop := newHalt()
			q := plugin.Request{Image: "gated:disk", Volume: "v1", Deadline: c.deadline}
			if c.at == "direct" {
				backend.after = func(string) { stop.here() }
			} else {
				q.Deliver = func(plugin.Answer) error { stop.here(); return nil }
			}
			ctx, die := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { _, err := r.CreateVolume(ctx, q); ended <- err }()
			<-stop.reached
			again := restartFrom(t, r)
			if got := backend.has("v1"); got != c.stays {
				t.Errorf("after the restart: got a volume %v, want %v", got, c.stays)
			}
			if a := again.create(t, "gated:disk", "v1", 0); (a.Reason == plugin.ReasonRepeated) != c.stays {
				t.Errorf("the repeated request: got %+v", a)
			}
			checkClean(t, again)
			die()
			close(stop.goOn)
			<-ended
		})
	}
}

func TestAVolumeThatCannotBeTakenBackNowGoesLater(t *testing.T) {
	source, memory := newGatedSource(), newCapable()
	close(source.gate)
	faulty := backendtest.NewFaulty(memory)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(faulty))
	source.put("disk", "1", random(mib))
	faulty.FailBefore(backendtest.MethodDeleteVolume, 1, backends.ErrUnavailable)
	q := plugin.Request{
		Image: "gated:disk", Volume: "v1", Deadline: time.Now().Add(time.Hour),
		Deliver: func(plugin.Answer) error { return errGone },
	}
	if a, err := r.CreateVolume(t.Context(), q); err != nil || a.Reason != plugin.ReasonUndelivered || !memory.has("v1") {
		t.Fatalf("got %+v, %v, want it undelivered and still there", a, err)
	}
	r.reopen(t, func() {})
	if memory.has("v1") {
		t.Error("the volume is still there after a restart")
	}
	checkClean(t, r)
}

func TestOnlySoManyRequestsWaitForFills(t *testing.T) {
	const most, requests = 3, 8
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) { c.Backends[0].MaxWaiting = most })
	source.put("disk", "1", random(mib))
	answers := make(chan plugin.Answer, requests)
	for i := range requests {
		go func() { answers <- r.create(t, "gated:disk", fmt.Sprintf("v%d", i), 0) }()
	}
	for range requests - most {
		if a := <-answers; a.Reason != plugin.ReasonManyWaiting || a.Outcome != plugin.Bypassed {
			t.Errorf("got %+v, want too many waiting", a)
		}
	}
	close(source.gate)
	for range most {
		if a := <-answers; a.Outcome != plugin.Filled && a.Outcome != plugin.Joined {
			t.Errorf("got %+v, want filled or joined", a)
		}
	}
	if a := r.create(t, "gated:disk", "later", 0); a.Outcome != plugin.Hit {
		t.Errorf("got %+v, want hit", a)
	}
	checkClean(t, r)
}

func TestWhatNoCloneSuitsIsBypassed(t *testing.T) {
	r, source, _ := memoryRig(t, func(c *plugin.Config) { c.Backends[0].VolumeType = "rbd1" })
	for _, c := range []struct {
		name string
		q    plugin.Request
		want plugin.Reason
	}{
		{"to be encrypted", plugin.Request{Encrypted: true, VolumeType: "rbd1"}, plugin.ReasonEncrypted},
		{"another type", plugin.Request{VolumeType: "luks"}, plugin.ReasonUnsuitable},
		{"its own type", plugin.Request{VolumeType: "rbd1"}, plugin.ReasonMiss},
		{"no type", plugin.Request{}, plugin.ReasonReady},
	} {
		c.q.Image, c.q.Volume = "gated:disk", backends.VolumeName("v-"+c.want)
		a, err := r.CreateVolume(t.Context(), c.q)
		if err != nil || a.Reason != c.want || a.ImageID != "gated:disk" {
			t.Errorf("%s: got %+v, %v, want reason %s", c.name, a, err, c.want)
		}
	}
	if got := source.opened.Load(); got != 1 {
		t.Errorf("the image was read %d times, want once", got)
	}
}

func TestJoinedRequestsSeeHowFarTheFillIs(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()))
	source.put("disk", "1", random(4*mib))
	first := make(chan plugin.Answer, 1)
	go func() { first <- r.create(t, "gated:disk", "v1", 0) }()
	<-source.half
	var seen atomic.Pointer[plugin.Progress]
	second := make(chan plugin.Answer, 1)
	go func() {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v2", Progress: func(p plugin.Progress) {
			if p.Phase == "joined" && p.ReadBytes > 0 {
				seen.CompareAndSwap(nil, &p)
			}
		}})
		if err != nil {
			t.Error(err)
		}
		second <- a
	}()
	waitFor(t, func() bool { return seen.Load() != nil })
	close(source.gate)
	<-first
	if a, p := <-second, seen.Load(); a.Outcome != plugin.Joined || p.TotalBytes != 4*mib || p.ReadBytes > p.TotalBytes {
		t.Errorf("got %+v after %+v, want joined after a part of the image's bytes", a, p)
	}
}

func TestARequestWhoseAnswerNobodyTookCountsOnce(t *testing.T) {
	r, _, _ := memoryRig(t)
	r.create(t, "gated:disk", "warm", 0)
	if _, err := r.CreateVolume(t.Context(), plugin.Request{
		Image: "gated:disk", Volume: "v1", Deliver: func(plugin.Answer) error { return errGone },
	}); err != nil {
		t.Fatal(err)
	}
	report, err := r.Report(t.Context(), "local", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var counted int64
	for _, n := range report.Total.Outcomes {
		counted += n
	}
	if counted != 2 {
		t.Errorf("2 requests count as %d: %v", counted, report.Total.Outcomes)
	}
}
