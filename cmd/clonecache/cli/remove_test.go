package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
)

// answering runs a command at whose terminal somebody answers.
func (d *served) answering(t *testing.T, in io.Reader, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := testEnv(&out, &errs)
	env.Now, env.In = time.Now, in
	exit = Run(t.Context(), env, append(args, "--server", d.server))
	return exit, out.String(), errs.String()
}

func TestAPersonIsAskedBeforeManyEntriesGo(t *testing.T) {
	d := startDaemon(t)
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	entries := func() int { return len(query[[]plugin.EntryView](t, d, exitOK, "entry", "list")) }

	plan := query[plugin.PruneResult](t, d, exitOK, "entry", "delete", "--all", "--dry-run")
	if len(plan.Planned) != 1 || !plan.Planned[0].Goes || plan.Planned[0].Why == "" || len(plan.Removed) != 0 || entries() != 1 {
		t.Errorf("dry run: got %+v, want one that would go, and it is still there", plan)
	}
	if exit, stdout, _ := d.run(t, "prune", "--dry-run"); exit != exitOK || !strings.Contains(stdout, "0 would go") {
		t.Errorf("prune --dry-run: got exit code %d and %q", exit, stdout)
	}
	for _, answer := range []string{"\n", "n\n", "yess\n", ""} {
		exit, _, stderr := d.answering(t, strings.NewReader(answer), "entry", "delete", "--all")
		if exit != exitError || !strings.Contains(stderr, "1 entries go") || !strings.Contains(stderr, "not confirmed") || entries() != 1 {
			t.Errorf("answer %q: got exit code %d and %q, want nothing removed", answer, exit, stderr)
		}
	}
	if exit, stdout, stderr := d.answering(t, strings.NewReader("y\n"), "entry", "delete", "--all"); exit != exitOK || !strings.Contains(stdout, "1 removed") || entries() != 0 {
		t.Errorf("yes: got exit code %d, %q, %q; want it removed", exit, stdout, stderr)
	}
	// Nothing would go, or --yes is given: nobody is asked.
	for _, args := range [][]string{{"prune"}, {"entry", "delete", "--all"}, {"prune", "--yes"}, {"entry", "delete", "--all", "-y"}} {
		if exit, _, stderr := d.answering(t, strings.NewReader(""), args...); exit != exitOK || strings.Contains(stderr, "[y/N]") {
			t.Errorf("%q: got exit code %d and %q", args, exit, stderr)
		}
	}
}

func TestAnInterruptEndsTheQuestion(t *testing.T) {
	d := startDaemon(t)
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	silent, keep := io.Pipe()
	defer keep.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	var out bytes.Buffer
	env := testEnv(&out, interruptAt{"[y/N]", interrupt})
	env.Now, env.In = time.Now, silent
	if exit := Run(ctx, env, []string{"entry", "delete", "--all", "--server", d.server}); exit != exitInterrupted {
		t.Errorf("got exit code %d, want %d", exit, exitInterrupted)
	}
	if got := query[[]plugin.EntryView](t, d, exitOK, "entry", "list"); len(got) != 1 {
		t.Errorf("got %+v, want the entry", got)
	}
}

// interruptAt interrupts once a text is written.
type interruptAt struct {
	text      string
	interrupt func()
}

func (w interruptAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.text)) {
		w.interrupt()
	}
	return len(p), nil
}

func TestWhatDoesNotGoWithOneEntry(t *testing.T) {
	for _, args := range [][]string{{"0197c2f4", "--dry-run"}, {"0197c2f4", "--backend", "b"}, {"0197c2f4", "--all"}, {}, {"0197", "0198"}} {
		if exit, _, stderr := local(t, append([]string{"entry", "delete"}, args...)...); exit != exitUsage {
			t.Errorf("%q: got exit code %d and %q, want %d", args, exit, stderr, exitUsage)
		}
	}
}
