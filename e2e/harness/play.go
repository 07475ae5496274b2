package harness

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/report"
)

// Act is one call into a daemon.
type Act struct {
	Volume  string // that it makes; "": none
	Deletes string // a volume; "": none
	Do      func(testing.TB, *Player) error
}

// Player is a daemon that plays a script, once or, after a kill, from where it was.
type Player struct {
	*Daemon
	Client *api.Client
	Script []Act

	// Idle checks what holds whenever the daemon is idle. Whole are its volumes by name, each of which it
	// has checked to be one of the script's and to have all of its bytes. Held is all that there is after
	// it has ended, one line each, in order, without what differs between two runs that did the same.
	Idle  func(testing.TB)
	Whole func(testing.TB) map[string]plugin.VolumeView
	Held  func(testing.TB) []string

	At       int           // the act that was not answered
	Answered int64         // requests for volumes that were
	Answer   plugin.Answer // the last one to a request for a volume
	Unheard  int64         // those that the daemon counted, and was killed before its answer arrived
}

// ErrBypassed: the daemon made no volume.
var ErrBypassed = errors.New("no volume was made")

// Create is an act that makes a volume from an image.
func Create(r api.CreateRequest) Act {
	return Act{Volume: string(r.Volume), Do: func(tb testing.TB, p *Player) error {
		a, err := p.Client.CreateVolume(tb.Context(), r, nil)
		if err != nil {
			return err
		}
		p.Answered++
		p.Answer = a
		if a.Outcome == plugin.Bypassed {
			return fmt.Errorf("%w: %s: %s", ErrBypassed, a.Reason, a.Detail)
		}
		return nil
	}}
}

// DeleteVolume is an act that deletes a volume; one that is gone already is as good.
func DeleteVolume(name string) Act {
	return Act{Deletes: name, Do: func(tb testing.TB, p *Player) error {
		err := p.Client.DeleteVolume(tb.Context(), "", backends.VolumeName(name))
		var told *api.Error
		if errors.As(err, &told) && told.Code == "volume_not_found" {
			return nil
		}
		return err
	}}
}

// DeepCheck is an act that lets the daemon compare all it has, image-volumes byte by byte.
func DeepCheck() Act {
	return Act{Do: func(tb testing.TB, p *Player) error {
		c, err := p.Client.Check(tb.Context(), api.CheckRequest{Deep: true}, nil)
		if wrong := Wrong(c); err == nil && len(wrong) > 0 {
			tb.Errorf("deep check found problems: %+v", wrong)
		}
		return err
	}}
}

// Clean is an act that removes what nothing needs.
func Clean() Act {
	return Act{Do: func(tb testing.TB, p *Player) error {
		_, err := p.Client.Clean(tb.Context())
		return err
	}}
}

// Count is an act that lets the catalog count what was answered, and tells it.
func Count() Act {
	return Act{Do: func(tb testing.TB, p *Player) error {
		_, err := p.Client.Report(tb.Context(), "", "")
		return err
	}}
}

// Play goes on with the script until its end and stops the daemon, or until the daemon is gone.
func (p *Player) Play(tb testing.TB) (killed bool) {
	tb.Helper()
	for ; p.At < len(p.Script); p.At++ {
		err := p.Script[p.At].Do(tb, p)
		if err == nil {
			continue
		}
		if p.ended() && p.Killed() {
			return true
		}
		tb.Fatalf("act %d (volume %q): %v\n%s", p.At, p.Script[p.At].Volume, err, p.tail())
	}
	p.Stop(tb)
	return p.Killed()
}

// ended tells whether the process is gone after a call that failed; a kill shows there a moment earlier.
func (p *Player) ended() bool {
	select {
	case <-p.Ended():
		return true
	case <-time.After(limit):
		return false
	}
}

// Recovered checks a daemon that was killed after a step and started again. Before anything is
// repeated: it agrees with itself, what was answered is there and counted once, and what was not
// answered is there exactly if the step says that it had been made. Then the act is repeated.
func (p *Player) Recovered(tb testing.TB, step failpoint.Step) {
	tb.Helper()
	p.Idle(tb)
	there := p.Present(tb)
	p.Unheard = Requests(p.Report(tb)) - p.Answered
	if got, want := p.Unheard, p.mayCount(step); got < want[0] || got > want[1] {
		tb.Errorf("requests in the report beside the %d that were answered: got %d, want %d to %d", p.Answered, got, want[0], want[1])
	}
	if p.asking() {
		p.repeated(tb, step, there)
	}
}

// Present are the daemon's volumes by name: what the acts so far have made is there, and what they have
// deleted is not.
func (p *Player) Present(tb testing.TB) map[string]plugin.VolumeView {
	tb.Helper()
	there := p.Whole(tb)
	want := make(map[string]bool)
	for _, a := range p.Script[:p.At] {
		if a.Volume != "" {
			want[a.Volume] = true
		}
		if a.Deletes != "" {
			want[a.Deletes] = false
		}
	}
	if p.At < len(p.Script) { // it may have come to its end
		delete(want, p.Script[p.At].Deletes)
	}
	for name, wanted := range want {
		if _, is := there[name]; is != wanted {
			tb.Errorf("volume %s is there: %t, want %t", name, is, wanted)
		}
	}
	return there
}

// asking tells whether the act that got no answer asks for a volume.
func (p *Player) asking() bool { return p.At < len(p.Script) && p.Script[p.At].Volume != "" }

// mayCount is how many requests the report may have at least and at most beside those that were
// answered: the one that the kill interrupted, if it had been noted.
func (p *Player) mayCount(step failpoint.Step) [2]int64 {
	switch {
	case p.asking() && step == failpoint.Touch:
		return [2]int64{1, 1}
	case p.asking() && step == failpoint.Flush: // which goes on beside
		return [2]int64{0, 1}
	}
	return [2]int64{0, 0}
}

// repeated repeats the interrupted request: one whose volume had been made gets that volume.
func (p *Player) repeated(tb testing.TB, step failpoint.Step, there map[string]plugin.VolumeView) {
	tb.Helper()
	name := p.Script[p.At].Volume
	before, made := there[name]
	switch step {
	case failpoint.Clone, failpoint.Copy, failpoint.Touch:
		if !made {
			tb.Errorf("volume %s had been made and is gone", name)
		}
	case failpoint.Flush:
	default:
		if made {
			tb.Errorf("volume %s is there after %s", name, step)
		}
	}
	if err := p.Script[p.At].Do(tb, p); err != nil {
		tb.Fatalf("repeat the request for volume %s: %v", name, err)
	}
	p.At++
	after := p.Present(tb)[name]
	if made && after.VolumeID != before.VolumeID {
		tb.Errorf("volume %s: the repeated request made another one", name)
	}
	if a := p.Answer; made != (a.Reason == plugin.ReasonRepeated) {
		tb.Errorf("repeated request for %s, which was there: %t; got outcome %s, reason %s", name, made, a.Outcome, a.Reason)
	}
	if cached(step) && p.Answer.DownloadedBytes > 0 {
		tb.Errorf("repeated request for %s, whose image-volume was there: it downloaded %d bytes once more", name, p.Answer.DownloadedBytes)
	}
}

// cached tells whether a request that was killed after a step had its image cached.
func cached(step failpoint.Step) bool {
	switch step {
	case failpoint.Commit, failpoint.Publish, failpoint.Settle, failpoint.Intent, failpoint.Clone, failpoint.Copy, failpoint.Touch:
		return true
	}
	return false
}

// Requests is how many requests a report has counted.
func Requests(r report.Report) (n int64) {
	for _, of := range r.Total.Outcomes {
		n += of
	}
	return n
}
