package diskimage_test

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// Images whose parts lie anywhere, as no qemu-img writes them but other programs may.
func TestDecodeAnyOrderOfTheFile(t *testing.T) {
	disks := contents(t)
	for name, order := range map[string]diskimagetest.Order{
		"tables first": diskimagetest.TablesFirst, "tables last": diskimagetest.TablesLast, "shuffled": diskimagetest.Shuffled,
	} {
		for _, storage := range []diskimagetest.Storage{diskimagetest.Plain, diskimagetest.Zlib, diskimagetest.Zstd} {
			for _, bits := range []int{9, 12, 16, 21} {
				for _, disk := range []string{"mixed", "sparse", "sector"} {
					if disk == "mixed" && bits < 16 && underRaceDetector {
						continue
					}
					t.Run(fmt.Sprintf("%s/%d/%d/%s", name, storage, bits, disk), func(t *testing.T) {
						t.Parallel()
						image := diskimagetest.QCOW2{
							ClusterBits: bits, Content: disks[disk], Storage: storage, Order: order, Seed: uint64(bits), ZeroFlags: 3,
						}.Bytes()
						s := checkDecodes(t, writeFile(t, "image", image))
						if order == diskimagetest.TablesFirst && s.ScratchBytes > 0 {
							t.Errorf("%d bytes of scratch for an image with its tables first", s.ScratchBytes)
						}
					})
				}
			}
		}
	}
}

func TestDecodeByteByByte(t *testing.T) {
	disk := contents(t)["mixed"][:150<<10]
	for _, order := range []diskimagetest.Order{diskimagetest.TablesFirst, diskimagetest.Shuffled} {
		image := diskimagetest.QCOW2{ClusterBits: 12, Content: disk, Storage: diskimagetest.Zlib, Order: order}.Bytes()
		for _, stream := range []io.Reader{
			iotest.OneByteReader(bytes.NewReader(image)), iotest.HalfReader(bytes.NewReader(image)),
		} {
			got, _, err := decode(t, stream, diskimage.Options{SourceBytes: -1, Scratch: newScratch(t)})
			if err != nil || !bytes.Equal(got, disk) {
				t.Errorf("order %d: %v, equal %v", order, err, bytes.Equal(got, disk))
			}
		}
	}
}

// What only a running guest, or a preallocation, leaves in an image.
func TestDecodeWhatGuestsLeave(t *testing.T) {
	const size = "24M"
	for _, c := range []struct {
		name    string
		options string
		writes  []string
	}{
		{"nothing", "", nil},
		{"preallocated metadata", "preallocation=metadata", nil},
		{"preallocated metadata, some data", "preallocation=metadata", []string{"write -P 7 1M 3M", "write -P 9 20M 4M"}},
		{"preallocated by falloc", "preallocation=falloc", []string{"write -P 7 1M 64k"}},
		{"preallocated in full", "preallocation=full", []string{"write -P 7 1M 64k"}},
		{"zero clusters", "", []string{"write -P 7 0 8M", "write -z 1M 2M", "write -z 15M 1M"}},
		{"zero clusters, unmapped", "", []string{"write -P 7 0 8M", "write -z -u 1M 2M"}},
		{"discarded", "", []string{"write -P 7 0 8M", "discard 1M 2M"}},
		{"discarded and used again", "", []string{"write -P 7 0 8M", "discard 1M 2M", "write -P 8 18M 4M"}},
		{"backwards", "", []string{"write -P 5 20M 1M", "write -P 4 15M 100k", "write -P 3 512 512", "write -P 2 2M 3000k"}},
		{"backwards in small clusters", "cluster_size=512", []string{"write -P 5 20M 1M", "write -P 4 15M 100k", "write -P 3 512 512", "write -P 2 2M 3000k"}},
		{"compressed among plain", "cluster_size=4k", []string{"write -P 5 8M 256k", "write -c -P 6 4M 1M", "write -P 7 4096k 12k", "write -c -P 8 1M 64k"}},
		{"compressed backwards", "cluster_size=64k", []string{"write -c -P 5 8M 256k", "write -c -P 6 4M 64k", "write -c -P 7 0 64k", "write -c -P 8 1M 64k"}},
		{"compressed backwards in small clusters", "cluster_size=1k", []string{"write -c -P 5 8M 256k", "write -c -P 6 4M 64k", "write -c -P 7 0 64k", "write -c -P 8 1M 64k"}},
		{"lazy refcounts", "lazy_refcounts=on", []string{"write -P 5 8M 256k"}},
		{"one bit refcounts", "refcount_bits=1", []string{"write -P 5 8M 256k"}},
	} {
		for _, compat := range []string{"0.10", "1.1"} {
			if compat == "0.10" && (c.options == "lazy_refcounts=on" || c.options == "refcount_bits=1") {
				continue
			}
			t.Run(c.name+"/"+compat, func(t *testing.T) {
				t.Parallel()
				image := filepath.Join(t.TempDir(), "image")
				options := "compat=" + compat
				if c.options != "" {
					options += "," + c.options
				}
				tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, size)
				for _, w := range c.writes {
					tool(t, "qemu-io", "-f", "qcow2", "-c", w, image)
				}
				checkDecodes(t, image)
			})
		}
	}
}

func TestDecodeAfterResize(t *testing.T) {
	for name, verbs := range map[string][][]string{
		"grown":             {{"resize", "-f", "qcow2", "IMAGE", "90M"}},
		"grown beyond l1":   {{"resize", "-f", "qcow2", "IMAGE", "2G"}, {"resize", "-f", "qcow2", "--shrink", "IMAGE", "20M"}},
		"shrunk":            {{"resize", "-f", "qcow2", "--shrink", "IMAGE", "3M"}},
		"shrunk to odd":     {{"resize", "-f", "qcow2", "--shrink", "IMAGE", "1049088"}},
		"snapshot and back": {{"snapshot", "-c", "s", "IMAGE"}, {"snapshot", "-d", "s", "IMAGE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := filepath.Join(t.TempDir(), "image")
			tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", image, "32M")
			tool(t, "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", "-c", "write -P 2 2M 7M", image)
			for _, verb := range verbs {
				for i := range verb {
					if verb[i] == "IMAGE" {
						verb[i] = image
					}
				}
				tool(t, "qemu-img", verb...)
			}
			if name == "grown beyond l1" {
				tool(t, "qemu-io", "-f", "qcow2", "-c", "write -P 3 15M 1M", image)
			}
			checkDecodes(t, image)
		})
	}
}
