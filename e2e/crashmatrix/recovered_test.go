package crashmatrix

import (
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/report"
)

// consistent checks what holds whenever a daemon is idle, with every byte of every image-volume read.
func (d *daemon) consistent(tb testing.TB) {
	tb.Helper()
	d.Consistent(tb)
	if err := checked(tb, d); err != nil {
		tb.Fatal(err)
	}
}

// volumes are the daemon's volumes by name. Each is one of the script's, and whole.
func (d *daemon) volumes(tb testing.TB) map[string]plugin.VolumeView {
	tb.Helper()
	found := make(map[string]plugin.VolumeView)
	for _, v := range d.Volumes(tb) {
		name := string(v.Volume)
		if _, ours := volumes[name]; !ours {
			tb.Errorf("a volume that nobody asked for: %s", name)
			continue
		}
		d.wholeVolume(tb, name, v.Path)
		found[name] = v
	}
	return found
}

// recovered checks a daemon that was killed after a step and started again. Before anything is
// repeated: it agrees with itself, what was answered is there and counted once, and what was not
// answered is there exactly if the step says that it had been made. Then the act is repeated.
func (d *daemon) recovered(tb testing.TB, step failpoint.Step) {
	tb.Helper()
	d.consistent(tb)
	there := d.volumes(tb)
	for _, a := range script[:d.at] {
		if _, ok := there[a.volume]; a.volume != "" && !ok {
			tb.Errorf("volume %s was answered and is gone", a.volume)
		}
	}
	d.unheard = requests(d.Report(tb)) - d.answered
	if got, want := d.unheard, d.mayCount(step); got < want[0] || got > want[1] {
		tb.Errorf("requests in the report beside the %d that were answered: got %d, want %d to %d", d.answered, got, want[0], want[1])
	}
	if d.at < len(script) && script[d.at].volume != "" {
		d.repeated(tb, step, there)
	}
}

// mayCount is how many requests the report may have at least and at most beside those that were
// answered: the one that the kill interrupted, if it had been noted.
func (d *daemon) mayCount(step failpoint.Step) [2]int64 {
	interrupted := d.at < len(script) && script[d.at].volume != ""
	switch {
	case interrupted && step == failpoint.Touch:
		return [2]int64{1, 1}
	case interrupted && step == failpoint.Flush: // which goes on beside
		return [2]int64{0, 1}
	}
	return [2]int64{0, 0}
}

// repeated repeats the interrupted request: one whose volume had been made gets that volume.
func (d *daemon) repeated(tb testing.TB, step failpoint.Step, there map[string]plugin.VolumeView) {
	tb.Helper()
	name := script[d.at].volume
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
	if err := script[d.at].do(tb, d); err != nil {
		tb.Fatalf("repeat the request for volume %s: %v", name, err)
	}
	d.at++
	after := d.volumes(tb)[name]
	if made && after.VolumeID != before.VolumeID {
		tb.Errorf("volume %s: the repeated request made another one", name)
	}
	if a := d.answer; made != (a.Reason == plugin.ReasonRepeated) {
		tb.Errorf("repeated request for %s, which was there: %t; got outcome %s, reason %s", name, made, a.Outcome, a.Reason)
	}
	if cached(step) && d.answer.DownloadedBytes > 0 {
		tb.Errorf("repeated request for %s, whose image-volume was there: it downloaded %d bytes once more", name, d.answer.DownloadedBytes)
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

// requests is how many requests a report has counted.
func requests(r report.Report) (n int64) {
	for _, of := range r.Total.Outcomes {
		n += of
	}
	return n
}
