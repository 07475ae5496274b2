package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// What the images of the fills are: a disk of 2 GiB with 1.25 GiB of this machine's files in it.
const (
	diskBytes = 2 * gib
	dataBytes = 5 * gib / 4
)

// BenchmarkFillRaw compares fills from raw images with the tools that do the same by hand, each with its
// sync.
func BenchmarkFillRaw(b *testing.B) {
	for b.Loop() {
		s := newSite(b)
		raw := filepath.Join(s.web.Dir, "disk.raw")
		harness.MachineDisk(b, raw, diskBytes, dataBytes)
		s.link(b, "disk.raw")
		s.against(b, "fill: raw from a directory, to cp --sparse", "library:disk.raw", 1.15,
			"cp", "--sparse=always", raw, s.out)
		s.against(b, "fill: raw over HTTP, to curl -o", "web:disk.raw", 1.15,
			"curl", "-s", "-o", s.out, s.web.URL+"/disk.raw")
	}
}

// BenchmarkFillQCOW2 compares fills from qcow2 images with qemu-img's decoding into a file and its sync.
func BenchmarkFillQCOW2(b *testing.B) {
	for b.Loop() {
		s := newSite(b)
		raw := filepath.Join(s.web.Dir, "disk.raw")
		harness.MachineDisk(b, raw, diskBytes, dataBytes)
		for _, f := range []struct {
			name    string
			options []string
			goal    float64
		}{
			{"plain", nil, 1.15},
			{"zlib", []string{"-c"}, 1.0},
			{"zstd", []string{"-c", "-o", "compression_type=zstd"}, 1.0},
		} {
			image := filepath.Join(s.web.Dir, f.name+".qcow2")
			harness.Convert(b, raw, image, append(f.options, "-W", "-m", "8")...)
			s.link(b, f.name+".qcow2")
			s.against(b, "fill: qcow2 "+f.name+", to qemu-img convert", "library:"+f.name+".qcow2", f.goal,
				"qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-W", "-m", "8", image, s.out)
			check(b, os.Remove(image))
		}
	}
}

// BenchmarkOverlap shows that download, decoding and writing overlap: a fill from a throttled source takes
// as long as the slower of the download alone and the fill without throttling.
func BenchmarkOverlap(b *testing.B) {
	for b.Loop() {
		s := newSite(b)
		raw := filepath.Join(s.web.Dir, "disk.raw")
		harness.MachineDisk(b, raw, diskBytes, dataBytes)
		image := filepath.Join(s.web.Dir, "zlib.qcow2")
		harness.Convert(b, raw, image, "-c", "-W", "-m", "8")
		for _, rate := range []int64{100, 400} {
			limit := func(mibPerSecond int64) { s.web.SetRate(mibPerSecond * mib) }
			took := alternate(
				func(int) time.Duration {
					limit(rate)
					return timed(func() { harness.Must(b, "curl", "-s", "-o", "/dev/null", s.web.URL+"/zlib.qcow2") })
				},
				func(round int) time.Duration { limit(0); return s.fill(b, "web:zlib.qcow2", round) },
				func(round int) time.Duration { limit(rate); return s.fill(b, "web:zlib.qcow2", round) })
			atMost(b, fmt.Sprintf("overlap: at %d MiB/s, to the slower part", rate), ratio(took[2], max(took[0], took[1])), 1.1,
				fmt.Sprintf("%s; download %s, fill %s", seconds(took[2]), seconds(took[0]), seconds(took[1])))
		}
	}
}

// BenchmarkJoined compares a hundred simultaneous first requests with one fill and a hundred clones.
func BenchmarkJoined(b *testing.B) {
	const requests = 100
	for b.Loop() {
		s := newSite(b)
		harness.SmallDisk(b, filepath.Join(s.web.Dir, "herd.raw"), 3, gib, 512*mib)
		create := func(names ...string) {
			var all sync.WaitGroup
			for _, name := range names {
				all.Go(func() {
					_, err := s.client.CreateVolume(b.Context(), api.CreateRequest{Image: "web:herd.raw", Volume: backends.VolumeName(name)}, nil)
					if err != nil {
						b.Error(err)
					}
				})
			}
			all.Wait()
		}
		names := make([]string, requests)
		for i := range names {
			names[i] = fmt.Sprintf("v%d", i)
		}
		took := alternate(
			func(int) time.Duration {
				defer s.clear(b)
				return timed(func() { create("first"); create(names...) })
			},
			func(int) time.Duration {
				defer s.clear(b)
				return timed(func() { create(names...) })
			})
		atMost(b, "joined: 100 requests, to a fill and 100 clones", ratio(took[1], took[0]), 1.1,
			fmt.Sprintf("%s and %s", seconds(took[1]), seconds(took[0])))
	}
}

// BenchmarkMemory is the daemon's memory at the peak of a fill of a large, sparse image, over that before.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		s := newSite(b)
		harness.SmallDisk(b, filepath.Join(s.web.Dir, "large.raw"), 4, 20*gib, gib)
		harness.Convert(b, filepath.Join(s.web.Dir, "large.raw"), filepath.Join(s.web.Dir, "large.qcow2"), "-W", "-m", "8")
		for _, name := range []string{"large.raw", "large.qcow2"} {
			before := s.peakMemory(b)
			check(b, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.daemon.PID()), []byte("5"), 0))
			s.fill(b, "web:"+name, 0)
			grown := float64(s.peakMemory(b)-before) / mib
			atMost(b, "memory: peak in a fill of 20 GiB, "+name+", MiB", grown, 64, fmt.Sprintf("%d MiB before", before/mib))
		}
	}
}

// site is a daemon on an XFS, with its sources and room for what the tools write.
type site struct {
	daemon *harness.Daemon
	client *api.Client
	web    *harness.WebSource
	out    string // where the tools write, on the same filesystem
}

func newSite(b *testing.B) *site {
	b.Helper()
	harness.NeedTools(b, "qemu-img", "curl")
	dir := mount(b, 24*gib)
	web := harness.ServeWeb(b)
	d := daemon(b, harness.Config{Volumes: filepath.Join(dir, "volumes"), Web: map[string]string{"web": web.URL}})
	return &site{daemon: d, client: d.Client(b), web: web, out: filepath.Join(dir, "out")}
}

// link lets the library have a file of the web source too.
func (s *site) link(b *testing.B, name string) {
	b.Helper()
	target := filepath.Join(s.daemon.Config.Images, name)
	check(b, os.Link(filepath.Join(s.web.Dir, name), target))
	b.Cleanup(func() { os.Remove(target) })
}

// against compares a fill with a tool that writes s.out, and a sync of it. No fill can be faster than the
// digest of the image's bytes, which none of the tools computes: that is shown beside both.
func (s *site) against(b *testing.B, what, image string, goal float64, tool string, args ...string) {
	b.Helper()
	took := alternate(
		func(int) time.Duration {
			defer os.Remove(s.out)
			return timed(func() {
				harness.Must(b, tool, args...)
				harness.Must(b, "sync", s.out)
			})
		},
		func(round int) time.Duration { return s.fill(b, image, round) },
		func(int) time.Duration { return timed(func() { s.digest(b, image) }) })
	atMost(b, what, ratio(took[1], took[0]), goal,
		fmt.Sprintf("%s and %s; the digest alone %s", seconds(took[1]), seconds(took[0]), seconds(took[2])))
}

// digest reads an image of the web source from its file and computes its SHA-256, as a fill has to.
func (s *site) digest(b *testing.B, image string) {
	b.Helper()
	_, name, _ := strings.Cut(image, ":")
	f, err := os.Open(filepath.Join(s.web.Dir, name))
	check(b, err)
	v := imagesource.Verify(f, imagesource.Digest{})
	_, err = v.WriteTo(io.Discard)
	check(b, err)
	check(b, v.Check())
	check(b, v.Close())
}

// fill makes the first volume of an image, and then removes volume and entry.
func (s *site) fill(b *testing.B, image string, round int) time.Duration {
	b.Helper()
	defer s.clear(b)
	return timed(func() {
		a, err := s.client.CreateVolume(b.Context(), api.CreateRequest{Image: image, Volume: backends.VolumeName(fmt.Sprintf("v%d", round))}, nil)
		check(b, err)
		if a.Outcome != plugin.Filled {
			b.Fatalf("outcome: got %s (%s), want filled", a.Outcome, a.Detail)
		}
	})
}

// clear removes all volumes and entries.
func (s *site) clear(b *testing.B) {
	b.Helper()
	made, err := s.client.Volumes(b.Context(), "")
	check(b, err)
	for _, v := range made {
		check(b, s.client.DeleteVolume(b.Context(), v.Backend, v.Volume))
	}
	_, err = s.client.DeleteAllEntries(b.Context(), "", true)
	check(b, err)
}

// peakMemory is the daemon's largest resident set since it was last cleared, in bytes.
func (s *site) peakMemory(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.daemon.PID()))
	check(b, err)
	var peak int64
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &peak); n == 1 {
			return peak << 10
		}
	}
	b.Fatal("no VmHWM in the process's status")
	return 0
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
