//go:build openstack

package openstack

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is the unit in which extents are compared, in bytes.
const block = 4096

// mapping is struct fiemap of linux/fiemap.h with room for some extents.
type mapping struct {
	start, length        uint64
	flags, mapped, count uint32
	_                    uint32
	extents              [64]extent
}

// extent is struct fiemap_extent.
type extent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

const (
	fiemap     = 0xc020660b // FS_IOC_FIEMAP
	syncFirst  = 1          // FIEMAP_FLAG_SYNC
	lastExtent = 1          // FIEMAP_EXTENT_LAST
)

// blocksOf tells where on its filesystem a file's data lies: each block by its place in the file.
func blocksOf(tb testing.TB, path string) map[uint64]uint64 {
	tb.Helper()
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	found := make(map[uint64]uint64)
	for from, more := uint64(0), true; more; {
		m := mapping{start: from, length: ^uint64(0) - from, flags: syncFirst}
		m.count = uint32(len(m.extents))
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), fiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
			tb.Fatalf("fiemap %s: %v", path, errno)
		}
		more = m.mapped > 0
		for _, e := range m.extents[:m.mapped] {
			for at := uint64(0); at < e.length; at += block {
				found[e.logical+at] = e.physical + at
			}
			from, more = e.logical+e.length, e.flags&lastExtent == 0
		}
	}
	return found
}

// sharedBlocks counts the blocks of a file that are another's too, at the same place in both.
func sharedBlocks(tb testing.TB, of, with string) (shared, all int) {
	tb.Helper()
	theirs := blocksOf(tb, with)
	for at, lies := range blocksOf(tb, of) {
		all++
		if there, ok := theirs[at]; ok && there == lies {
			shared++
		}
	}
	return shared, all
}
