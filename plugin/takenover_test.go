package plugin_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// Told "bypassed", Cinder's NFS driver writes the image into the file of the volume's name. Where that is
// still one which could not be removed, it is Cinder's from then on.
func TestAVolumeThatCinderHasTakenOverStays(t *testing.T) {
	dir := t.TempDir()
	volumes := filepath.Join(dir, "taken")
	real, err := file.Open(t.Context(), file.Config{Name: "local", Path: volumes})
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	faulty := backendtest.NewFaulty(real)
	r := newRig(t, dir, lru.Bounds{}, withBackend(faulty))
	r.image(t, "disk", mib)
	faulty.FailBefore(backendtest.MethodDeleteVolume, 1, backends.ErrUnavailable)
	a, err := r.CreateVolume(t.Context(), plugin.Request{
		Image: "library:disk", Volume: "volume-1", SizeBytes: 2 * mib, Deadline: time.Now().Add(time.Hour),
		Deliver: func(plugin.Answer) error { return errGone },
	})
	if err != nil || a.Outcome != plugin.Bypassed {
		t.Fatal(a, err)
	}
	path := filepath.Join(volumes, "volume-1")
	want := bytes.Repeat([]byte("user data "), 1000)
	changed := func() time.Time {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	for made := changed(); changed().Equal(made); { // the filesystem's clock ticks every few milliseconds
		if err := os.WriteFile(path, append(want, make([]byte, 2*mib-len(want))...), 0o660); err != nil {
			t.Fatal(err)
		}
	}
	r.reopen(t, func() {})
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("the volume with the user's data: %d bytes, %v", len(got), err)
	}
}
