package harness

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/plugin/failpoint"
)

// KillMatrix lets daemons play a script, kills each after another step, and compares all that is held in
// the end with a daemon that was not killed.
type KillMatrix struct {
	// Times is how often each step is killed after: the first, the second, … time that it is reached, as
	// far as the script reaches it so often.
	Times int
	// Often has a number of its own for some steps.
	Often map[failpoint.Step]int
	// Unreached are the steps that nothing takes, each with the reason.
	Unreached map[failpoint.Step]string
	// New makes a daemon on an empty place. The names differ.
	New   func(t *testing.T, name string) *Player
	Order Order

	want ending
	made atomic.Int64
}

// Order is how the kills of a matrix follow each other.
type Order int

// The zero Order is one after the other.
const (
	InTurn Order = iota
	AtOnce       // as parallel tests
)

// ending is what is compared at the end of a script.
type ending struct {
	held      []string
	evictions int64
}

// Undisturbed plays the script without a kill, for the others to be compared with.
func (m *KillMatrix) Undisturbed(t *testing.T) {
	t.Helper()
	p := m.New(t, "undisturbed")
	p.Start(t)
	if p.Play(t) {
		t.Fatal("the daemon was killed, and nobody did it")
	}
	m.want = m.ending(t, p)
	t.Logf("at the end there is:\n\t%s", strings.Join(m.want.held, "\n\t"))
}

// Run kills after every step of a daemon that makes volumes itself, and finishes each kill. A step that no act reaches fails, unless it
// is declared as unreached.
func (m *KillMatrix) Run(t *testing.T) {
	m.Undisturbed(t)
	for _, step := range failpoint.Made() {
		for n := 1; n <= max(m.Times, m.Often[step]); n++ {
			t.Run(fmt.Sprintf("%s %d", step, n), func(t *testing.T) {
				if m.Order == AtOnce {
					t.Parallel()
				}
				m.killAfter(t, step, n)
			})
		}
	}
}

func (m *KillMatrix) killAfter(t *testing.T, step failpoint.Step, n int) {
	p, killed := m.Kill(t, step, n)
	if !killed {
		if n == 1 && m.Unreached[step] == "" {
			t.Error("no act reaches this step, and it is not declared as unreached")
		}
		return
	}
	if declared := m.Unreached[step]; declared != "" {
		t.Errorf("this step is reached, though %s", declared)
	}
	t.Logf("killed in act %d", p.At)
	m.Finish(t, p, step)
}

// Kill lets a new daemon play the script until it kills itself after a step's nth time. killed tells
// whether it came so far.
func (m *KillMatrix) Kill(t *testing.T, step failpoint.Step, n int) (p *Player, killed bool) {
	t.Helper()
	p = m.New(t, fmt.Sprintf("%s-%d-%d", step, n, m.made.Add(1)))
	p.KillAfter = fmt.Sprintf("%s:%d", step, n)
	if err := p.TryStart(t); err == nil {
		return p, p.Play(t)
	} else if !p.Killed() {
		t.Fatal(err)
	}
	return p, true
}

// Finish starts a daemon that was killed after a step, lets it go on with the script, and compares.
func (m *KillMatrix) Finish(t *testing.T, p *Player, step failpoint.Step) {
	t.Helper()
	p.KillAfter = ""
	p.Start(t)
	p.Recovered(t, step)
	if p.Play(t) {
		t.Fatal("the daemon was killed again, and nobody did it")
	}
	got := m.ending(t, p)
	if got.evictions != m.want.evictions {
		t.Errorf("evictions in the report: got %d, want %d", got.evictions, m.want.evictions)
	}
	SameLines(t, got.held, m.want.held)
}

// ending starts a daemon that has played the script once more, and checks all that must hold then.
func (m *KillMatrix) ending(t *testing.T, p *Player) ending {
	t.Helper()
	p.KillAfter = ""
	p.Start(t)
	p.Idle(t)
	p.Present(t)
	p.NothingKept(t)
	r := p.Report(t)
	if got, want := Requests(r), p.Answered+p.Unheard; got != want {
		t.Errorf("requests in the report at the end: got %d, want %d", got, want)
	}
	p.Stop(t)
	return ending{held: p.Held(t), evictions: r.Total.Evictions}
}

// SameLines complains about every line in which two lists of what there is differ.
func SameLines(tb testing.TB, got, want []string) {
	tb.Helper()
	if slices.Equal(got, want) {
		return
	}
	only := func(a, b []string) string {
		var lines []string
		for _, line := range a {
			if !slices.Contains(b, line) {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\n\t")
	}
	tb.Errorf("there is, and should not be:\n\t%s\nand there is not, but should be:\n\t%s", only(got, want), only(want, got))
}
