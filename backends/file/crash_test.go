package file_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
)

// The test binary runs itself as a process that dies: crashEnv says what it does then.
const crashEnv = "CLONECACHE_FILE_CRASH"

func TestMain(m *testing.M) {
	if what := os.Getenv(crashEnv); what != "" {
		if err := crash(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // it should have been killed
	}
	os.Exit(m.Run())
}

// victim is a process's work that ends by its death.
type victim func(ctx context.Context, b *file.Backend) error

var victims = map[string]victim{
	"while an image-volume is staged": func(ctx context.Context, b *file.Backend) error {
		st, err := b.Stage(ctx, backends.StageSpec{ID: "dead-1", VirtualBytes: 64 << 20, Description: backends.Description{EntryID: "dead"}})
		if err != nil {
			return err
		}
		if _, err := st.WriteAt(bytes.Repeat([]byte{7}, 8<<20), 1<<20); err != nil {
			return err
		}
		return die()
	},
	"while a volume is written": func(ctx context.Context, b *file.Backend) error {
		st, err := b.CreateVolume(ctx, volumeSpec("dead"))
		if err != nil {
			return err
		}
		if _, err := st.WriteAt(bytes.Repeat([]byte{7}, 2<<20), 0); err != nil {
			return err
		}
		return die()
	},
	"while a file is copied": func(ctx context.Context, b *file.Backend) error {
		src, _, err := b.OpenImage(ctx, "e-1")
		if err != nil {
			return err
		}
		_, _, err = b.CopyFromFile(ctx, src, volumeSpec("dead"), func(int64) { _ = die() })
		return err
	},
}

func die() error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) }

// crash is what the process does that dies: "victim|filesystem|directory".
func crash(what string) error {
	part := strings.SplitN(what, "|", 3)
	for _, fs := range filesystems {
		if fs.name != part[1] {
			continue
		}
		b, err := file.OpenWithout(context.Background(), file.Config{Name: "local", Path: part[2]}, fs.take)
		if err != nil {
			return err
		}
		if part[0] == cloner {
			return cloneForEver(b)
		}
		return victims[part[0]](context.Background(), b)
	}
	return errors.New("no such filesystem")
}

func victimProcess(tb testing.TB, victim string, fs filesystem, dir string) *exec.Cmd {
	tb.Helper()
	self, err := os.Executable()
	must(tb, err)
	cmd := exec.CommandContext(tb.Context(), self)
	cmd.Env = append(os.Environ(), crashEnv+"="+victim+"|"+fs.name+"|"+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestAProcessThatDiesLeavesNothing(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		for name := range victims {
			t.Run(name, func(t *testing.T) {
				path := fresh(t, dir)
				b := fs.open(t, path)
				kept := commit(t, b, "e-1")
				must(t, b.Close())
				var died *exec.ExitError
				err := victimProcess(t, name, fs, path).Run()
				if !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the process was not killed: %v", err)
				}
				wantOnly(t, fs.open(t, path), path, kept.ID)
			})
		}
	})
}

// wantOnly complains if there is anything but the given image-volume once staged ones were retired, as
// a reconcile does.
func wantOnly(t *testing.T, b *file.Backend, path string, kept backends.ImageVolumeID) {
	t.Helper()
	for v, err := range b.ListImageVolumes(t.Context()) {
		must(t, err)
		switch {
		case v.ID == kept && v.State == backends.Committed:
		case v.State == backends.Staged && v.Description.EntryID == "dead":
			if r, err := b.Retire(t.Context(), v.ID); err != nil || !r.Gone || r.FreedBytes < 8<<20 {
				t.Errorf("retire what a dead process had staged: got %+v, %v", r, err)
			}
		default:
			t.Errorf("%+v was left", v)
		}
	}
	wantVolumes(t, b)
	_, err := b.Retire(t.Context(), kept)
	must(t, err)
	must(t, b.Close())
	b, err = file.Open(t.Context(), file.Config{Name: "local", Path: path}) // sweeps side files
	must(t, err)
	must(t, b.Close())
	wantEmpty(t, path)
}

const cloner = "clone for ever"

// cloneForEver clones, and says which clones it was told are there.
func cloneForEver(b *file.Backend) error {
	for n := 0; ; n++ {
		spec := volumeSpec(backends.VolumeName(strconv.Itoa(n)))
		if _, err := b.Clone(context.Background(), "e-1", spec); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// Clones are killed wherever they are: each is whole or not there, and those that were answered are there.
func TestKilledClonesAreWholeOrAbsent(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		if !fs.clones {
			return
		}
		for round := range 5 {
			path := fresh(t, dir)
			b := fs.open(t, path)
			commit(t, b, "e-1")
			must(t, b.Close())
			answered := killCloner(t, fs, path, 1+7*round)
			wantWhole(t, fs.open(t, path), answered)
		}
	})
}

// killCloner kills a process that clones after it has made some, and returns how many it answered.
func killCloner(t *testing.T, fs filesystem, path string, after int) int {
	t.Helper()
	cmd := victimProcess(t, cloner, fs, path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	answered := 0
	for lines := bufio.NewScanner(out); lines.Scan(); answered++ {
		if answered == after {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
	return answered
}

func wantWhole(t *testing.T, b *file.Backend, answered int) {
	t.Helper()
	found := 0
	for v, err := range b.ListVolumes(t.Context()) {
		must(t, err)
		found++
		spec := volumeSpec(v.Name)
		if got, err := b.Settle(t.Context(), spec); err != nil || got != backends.Whole {
			t.Errorf("volume %s: settle: got %v, %v, want it whole", v.Name, got, err)
		}
		wantContent(t, v.Path, "e-1", spec.SizeBytes)
	}
	if found < answered || found > answered+1 {
		t.Errorf("%d volumes are there, %d were answered", found, answered)
	}
	if got, err := b.Settle(t.Context(), volumeSpec(backends.VolumeName(strconv.Itoa(found)))); err != nil || got != backends.Absent {
		t.Errorf("settle the next one: got %v, %v, want it absent", got, err)
	}
	unfinished, err := filepath.Glob(filepath.Join(b.Info().Location, ".clonecache/staging/volumes/*"))
	if err != nil || len(unfinished) > 0 {
		t.Errorf("%q were left", unfinished)
	}
}

// wantContent complains if a file is not mark at 4096, and zeroes else.
func wantContent(t *testing.T, path, mark string, size int64) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	want := make([]byte, size)
	copy(want[4096:], mark)
	if !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes that are not those of %s, grown to %d", path, len(got), mark, size)
	}
}
