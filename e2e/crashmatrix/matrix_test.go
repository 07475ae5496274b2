package crashmatrix

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin/failpoint"
)

// TestKilledAfterEachStep is the crash matrix. A daemon on an empty directory plays the script and kills
// itself after a step. It is started again, and what it says and has on disk at once is right; then the
// script goes on with the act that got no answer, and in the end all is as in a run without a kill.
func TestKilledAfterEachStep(t *testing.T) {
	library := makeImages(t)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			m := &matrix{layout: l, library: library, mount: l.mount(t)}
			m.want = m.undisturbed(t)
			for _, step := range failpoint.All() {
				t.Run(string(step), func(t *testing.T) { m.killAfter(t, step) })
			}
		})
	}
}

// matrix is the crash matrix of one layout.
type matrix struct {
	layout
	library string
	mount   string
	want    ending
}

// ending is what is compared at the end of the script.
type ending struct {
	tree      []string
	evictions int64
}

func (m *matrix) daemon(t *testing.T, name string) *daemon {
	t.Helper()
	dir := filepath.Join(m.mount, name)
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := m.in(dir)
	c.Images = m.library
	return newDaemon(t, c)
}

func (m *matrix) undisturbed(t *testing.T) ending {
	t.Helper()
	d := m.daemon(t, "undisturbed")
	d.Start(t)
	if d.play(t) {
		t.Fatal("the daemon was killed, and nobody did it")
	}
	return m.ending(t, d)
}

// ending starts a daemon that has played the script once more, and checks all that must hold then.
func (m *matrix) ending(t *testing.T, d *daemon) ending {
	t.Helper()
	d.KillAfter = ""
	d.Start(t)
	d.consistent(t)
	found := d.volumes(t)
	for name := range volumes {
		if _, there := found[name]; !there {
			t.Errorf("volume %s is missing", name)
		}
	}
	r := d.Report(t)
	if got, want := requests(r), d.answered+d.unheard; got != want {
		t.Errorf("requests in the report at the end: got %d, want %d", got, want)
	}
	e := ending{evictions: r.Total.Evictions}
	d.Stop(t)
	e.tree = d.tree(t)
	return e
}

func (m *matrix) killAfter(t *testing.T, step failpoint.Step) {
	for n := 1; n <= m.times; n++ {
		if !m.killAfterNth(t, step, n) {
			switch declared := m.unreached[step]; {
			case n == 1 && declared == "":
				t.Error("no act reaches this step, and it is not declared as unreached")
			case n > 1 && declared != "":
				t.Errorf("this step is reached, though %s", declared)
			}
			return
		}
	}
}

// killAfterNth tells whether the step was reached n times, so that there was a kill.
func (m *matrix) killAfterNth(t *testing.T, step failpoint.Step, n int) bool {
	t.Helper()
	d, killed := m.kill(t, step, n)
	if killed {
		t.Logf("killed after %s, time %d, in act %d", step, n, d.at)
		m.finish(t, d, step)
	}
	return killed
}

// kill lets a new daemon play the script until it kills itself after a step's nth time.
func (m *matrix) kill(t *testing.T, step failpoint.Step, n int) (d *daemon, killed bool) {
	t.Helper()
	d = m.daemon(t, fmt.Sprintf("%s-%d", step, n))
	d.KillAfter = fmt.Sprintf("%s:%d", step, n)
	if err := d.TryStart(t); err == nil {
		return d, d.play(t)
	} else if !d.Killed() {
		t.Fatal(err)
	}
	return d, true
}

// finish starts a daemon that was killed after a step, lets it go on with the script, and compares.
func (m *matrix) finish(t *testing.T, d *daemon, step failpoint.Step) {
	t.Helper()
	d.KillAfter = ""
	d.Start(t)
	d.recovered(t, step)
	if d.play(t) {
		t.Fatal("the daemon was killed again, and nobody did it")
	}
	got := m.ending(t, d)
	if got.evictions != m.want.evictions {
		t.Errorf("evictions in the report: got %d, want %d", got.evictions, m.want.evictions)
	}
	sameTree(t, got.tree, m.want.tree)
}
