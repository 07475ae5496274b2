package powerloss

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
)

// Disk is a disk with a mounted filesystem, of which everything is recorded until End.
type Disk struct {
	Dir string // where it is mounted

	kind     fstest.Kind
	work     string
	device   string
	marks    *os.File
	recorder *exec.Cmd
	input    io.Closer // the recorder ends with it
	mounted  bool
}

// Record makes a filesystem of sizeBytes, mounts it and records it. It skips the test, naming what is
// missing, where that cannot be done. What is left of it goes when the test ends.
func Record(tb testing.TB, kind fstest.Kind, sizeBytes int64) *Disk {
	tb.Helper()
	require(tb, kind)
	work, err := os.MkdirTemp("", "powerloss-")
	check(tb, err)
	d := &Disk{Dir: filepath.Join(work, "mnt"), kind: kind, work: work}
	tb.Cleanup(func() { d.abandon(tb) })
	for _, dir := range []string{d.Dir, filepath.Join(work, mountDir)} {
		check(tb, os.Mkdir(dir, 0o755))
	}
	d.format(tb, sizeBytes)
	d.start(tb)
	d.device, err = mountImage(kind, filepath.Join(work, mountDir, diskFile), d.Dir)
	check(tb, err)
	d.mounted = true
	return d
}

// format makes the filesystem, and keeps what the disk holds before anything is recorded.
func (d *Disk) format(tb testing.TB, sizeBytes int64) {
	tb.Helper()
	fresh := filepath.Join(d.work, "fresh")
	check(tb, os.WriteFile(fresh, nil, 0o600))
	check(tb, os.Truncate(fresh, sizeBytes))
	command := append(format[d.kind].mkfs[:len(format[d.kind].mkfs):len(format[d.kind].mkfs)], fresh)
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v: %s", command[0], err, out)
	}
	for _, file := range []string{diskFile, baseFile} {
		check(tb, copySparse(filepath.Join(d.work, file), fresh))
	}
	check(tb, os.Remove(fresh))
}

// start starts the recorder and waits until it serves.
func (d *Disk) start(tb testing.TB) {
	tb.Helper()
	d.recorder = exec.Command("/proc/self/exe")
	d.recorder.Env = append(os.Environ(), recorderEnv+"="+d.work)
	d.recorder.Stderr = os.Stderr
	input, err := d.recorder.StdinPipe()
	check(tb, err)
	output, err := d.recorder.StdoutPipe()
	check(tb, err)
	check(tb, d.recorder.Start())
	d.input = input
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "ready\n" {
		tb.Fatalf("the recorder did not come up: %q, %v", line, err)
	}
	d.marks, err = os.OpenFile(filepath.Join(d.work, mountDir, marksFile), os.O_WRONLY, 0)
	check(tb, err)
}

// Mark puts a text into the log: whatever had reached the disk when Mark was called comes before it. Texts
// are up to 64 KiB long. It may be called from several goroutines.
func (d *Disk) Mark(text []byte) error {
	_, err := d.marks.Write(text)
	return err
}

// End unmounts the filesystem and returns what was recorded.
func (d *Disk) End(tb testing.TB) *Recording {
	tb.Helper()
	check(tb, unmount(d.kind, d.device, d.Dir))
	d.mounted = false
	check(tb, d.marks.Close())
	check(tb, d.input.Close())
	err := d.recorder.Wait()
	d.recorder = nil
	if err != nil {
		tb.Fatalf("recorder: %v", err)
	}
	events, err := readLog(filepath.Join(d.work, logFile))
	check(tb, err)
	return newRecording(d.kind, filepath.Join(d.work, baseFile), events)
}

// abandon takes away whatever is left.
func (d *Disk) abandon(tb testing.TB) {
	if d.mounted && unmount(d.kind, d.device, d.Dir) != nil {
		_ = unix.Unmount(d.Dir, unix.MNT_DETACH)
	}
	if d.recorder != nil {
		if d.marks != nil {
			_ = d.marks.Close()
		}
		_ = d.input.Close()
		_ = d.recorder.Wait()
		_ = unix.Unmount(filepath.Join(d.work, mountDir), unix.MNT_DETACH)
	}
	if err := os.RemoveAll(d.work); err != nil {
		tb.Error(err)
	}
}
