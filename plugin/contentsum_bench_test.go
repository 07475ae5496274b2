package plugin_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// BenchmarkFill fills 1 GiB that has no zeroes; with -cpuprofile it shows what a fill's time goes to.
func BenchmarkFill(b *testing.B) {
	const size = 1 << 30
	for _, format := range []string{"raw", "qcow2"} {
		b.Run(format, func(b *testing.B) {
			r := newRig(b, fstest.Mount(b, fstest.XFS, 6<<30), lru.Bounds{MaxCount: 1})
			content := make([]byte, size)
			_, _ = rand.NewChaCha8([32]byte{}).Read(content)
			images := filepath.Join(r.dir, "images")
			b.SetBytes(size)
			var n int
			for b.Loop() {
				b.StopTimer()
				n++
				content[0], content[1] = byte(n), byte(n>>8)
				name := fmt.Sprintf("%d.%s", n, format)
				raw := filepath.Join(images, "content")
				if format == "raw" {
					raw = filepath.Join(images, name)
				}
				if err := os.WriteFile(raw, content, 0o600); err != nil {
					b.Fatal(err)
				}
				if format == "qcow2" {
					convert(b, raw, filepath.Join(images, name))
				}
				b.StartTimer()
				a, err := r.CreateVolume(b.Context(), plugin.Request{Image: "library:" + name, Volume: "v"})
				if err != nil || a.Outcome != plugin.Filled {
					b.Fatalf("%+v, %v", a, err)
				}
				b.StopTimer()
				if err := r.DeleteVolume(b.Context(), "local", "v"); err != nil {
					b.Fatal(err)
				}
				if err := os.Remove(filepath.Join(images, name)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// convert makes an uncompressed qcow2 image.
func convert(b *testing.B, raw, image string) {
	b.Helper()
	if out, err := exec.CommandContext(b.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image).CombinedOutput(); err != nil {
		b.Fatalf("qemu-img: %v: %s", err, out)
	}
}
