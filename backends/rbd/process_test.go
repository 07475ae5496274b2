//go:build ceph

package rbd

import (
	"os/exec"
	"testing"
)

// A process is only gone if that is certain.
func TestAProcessIsGoneOnlyIfThatIsCertain(t *testing.T) {
	me := thisProcess()
	if me == (process{}) {
		t.Fatal("this process is not known")
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*process)) process {
		p := me
		change(&p)
		return p
	}
	for _, c := range []struct {
		name string
		p    process
		want bool
	}{
		{"this one", me, false},
		{"one that is not known", process{}, false},
		{"one that has ended", with(func(p *process) { p.PID = ended.Process.Pid }), true},
		{"one whose number is another's now", with(func(p *process) { p.Started = "1" }), true},
		{"of another boot", with(func(p *process) { p.PID, p.Boot = ended.Process.Pid, "another" }), false},
		{"of a container", with(func(p *process) { p.PID, p.Namespace = ended.Process.Pid, "pid:[1]" }), false},
	} {
		if got := c.p.gone(); got != c.want {
			t.Errorf("%s: gone is %v, want %v", c.name, got, c.want)
		}
	}
}
