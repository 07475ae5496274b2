package plugin_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// named sets the format that an image's name claims; "": none.
func (s *gatedSource) named(id, format string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.DiskFormat, i.ClaimedBy = format, imagesource.ByName
	s.images[id] = i
}

func TestCompressedImagesBecomeTheDiskInside(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	disk := append(random(1*mib), make([]byte, 2*mib)...)
	qcow2 := diskimagetest.QCOW2{Content: disk, Order: diskimagetest.Shuffled}.Bytes()
	for _, c := range diskimage.Compressions() {
		for format, image := range map[string][]byte{"raw": disk, "qcow2": qcow2} {
			packed := diskimagetest.Compress(c, image)
			id := format + c.Suffix()
			source.put(id, "1", packed)
			source.named(id, "")
			source.promise(id, digestOf(packed))
			a := r.create(t, "gated:"+id, "v-"+id, 0)
			if a.Outcome != plugin.Filled || a.DownloadedBytes != int64(len(packed)) || a.SizeBytes != int64(len(disk)) {
				t.Errorf("%s: got %+v, want it filled from %d bytes", id, a, len(packed))
			}
			r.holds(t, a, disk)
			e, err := r.Entry(t.Context(), a.EntryID)
			if err != nil || e.DiskFormat != id || e.SourceBytes != int64(len(packed)) || e.Digest != digestOf(packed).String() {
				t.Errorf("%s: entry %+v, %v", id, e, err)
			}
			if again := r.create(t, "gated:"+id, "w-"+id, 0); again.Outcome != plugin.Hit {
				t.Errorf("%s again: got %+v, want hit", id, again)
			}
		}
	}
	checkClean(t, r)
	if report, err := r.Check(t.Context(), plugin.CheckOptions{Deep: true}); err != nil || len(report.Problems) > 0 {
		t.Errorf("deep check: %+v, %v", report, err)
	}
}

// The same bytes are two disks: what a service declares as raw, and what is inside of them.
func TestWhatIsRawByItsServiceIsNotUnpacked(t *testing.T) {
	disk := random(1 * mib)
	packed := diskimagetest.Compress(diskimage.Gzip, disk)
	want := map[string][]byte{"gated:service": packed, "gated:name": disk}
	for _, order := range [][]string{{"gated:service", "gated:name"}, {"gated:name", "gated:service"}} {
		r, source := gatedRig(t)
		close(source.gate)
		for _, id := range []string{"service", "name"} {
			source.put(id, "1", packed)
			source.promise(id, digestOf(packed))
		}
		source.named("name", "raw")
		for round, outcome := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
			for _, image := range order {
				a := r.create(t, image, image[6:]+string(rune('0'+round)), 2*mib)
				got := append(bytes.Clone(want[image]), make([]byte, 2*mib-len(want[image]))...)
				if a.Outcome != outcome {
					t.Errorf("%s of %v: got %+v, want %s", image, order, a, outcome)
				}
				r.holds(t, a, got)
			}
		}
		checkClean(t, r)
	}
}

// A disk that is raw by its name and raw by its service is one.
func TestRawByNameSharesWithRawByService(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	disk := random(1 * mib)
	for _, id := range []string{"service", "name"} {
		source.put(id, "1", disk)
		source.promise(id, digestOf(disk))
	}
	source.named("name", "raw")
	for _, image := range []string{"gated:service", "gated:name"} {
		for _, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} { // each is read once itself
			if a := r.create(t, image, image[6:]+string(want), 0); a.Outcome != want {
				t.Errorf("%s: got %+v, want %s", image, a, want)
			}
		}
	}
	r.wantEntries(t, 1)
}

func TestCompressedImagesThatAreRefusedLeaveNothing(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) {
		c.Backends[0].Fallback = ""
		c.AcceptCompression = []diskimage.Compression{diskimage.Gzip, diskimage.Zstd}
	})
	disk := random(2 * mib)
	gz := diskimagetest.Compress(diskimage.Gzip, disk)
	source.put("cut", "1", gz[:len(gz)-100])
	source.put("larger", "1", gz)
	source.put("bomb", "1", diskimagetest.Bomb(512))
	source.put("page", "1", append([]byte("<!doctype html>"), disk...))
	source.put("xz", "1", diskimagetest.Compress(diskimage.XZ, disk))
	source.put("wrong", "1", gz)
	source.promise("wrong", digestOf(disk))
	for image, want := range map[string]error{
		"cut": diskimage.ErrRefused, "larger": plugin.ErrTooSmall, "bomb": plugin.ErrTooSmall, "page": diskimage.ErrRefused,
		"xz": diskimage.ErrRefused, "wrong": imagesource.ErrDigestMismatch,
	} {
		size := int64(4 * mib)
		if image == "larger" {
			size = mib
		}
		source.named(image, "")
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:" + image, Volume: "v", SizeBytes: size})
		if !errors.Is(err, want) {
			t.Errorf("%s: got %+v, %v, want %v", image, a, err, want)
		}
		r.noVolume(t, "v")
		r.wantHeld(t, 0)
		checkClean(t, r)
	}
}
