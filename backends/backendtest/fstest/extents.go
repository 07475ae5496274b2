package fstest

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fiemap is struct fiemap of linux/fiemap.h, without its extents.
type fiemap struct {
	start, length uint64
	flags         uint32
	mapped        uint32
	count         uint32
	_             uint32
}

const (
	fiemapSync  = 1          // FIEMAP_FLAG_SYNC
	fiemapIoctl = 0xc020660b // FS_IOC_FIEMAP
)

// Extents counts the extents of a file, which is brought to disk for it.
func Extents(tb testing.TB, path string) int {
	tb.Helper()
	f, err := os.Open(path)
	check(tb, err)
	defer f.Close()
	m := fiemap{length: ^uint64(0), flags: fiemapSync}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl, uintptr(unsafe.Pointer(&m)))
	if errno != 0 {
		tb.Fatalf("fiemap %s: %v", path, errno)
	}
	return int(m.mapped)
}

// extent is struct fiemap_extent of linux/fiemap.h.
type extent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// unplaced are the flags of an extent whose place on the disk is not known, or is not its bytes' alone: unknown, delayed,
// encoded, encrypted, not aligned.
const unplaced = 0x2 | 0x4 | 0x8 | 0x80 | 0x100

// FlipBit changes one bit of what the disk holds of a file at an offset, below the filesystem: who reads the file from
// memory does not see it. The file has to have data there.
func (fs *Filesystem) FlipBit(tb testing.TB, path string, at int64) {
	tb.Helper()
	f, err := os.Open(path)
	check(tb, err)
	defer f.Close()
	m := struct {
		fiemap
		extent
	}{fiemap: fiemap{start: uint64(at), length: 1, flags: fiemapSync, count: 1}}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl, uintptr(unsafe.Pointer(&m)))
	if errno != 0 || m.mapped != 1 || m.extent.flags&unplaced != 0 {
		tb.Fatalf("fiemap %s at %d: %v, %+v", path, at, errno, m)
	}
	disk, err := os.OpenFile(fs.disk, os.O_RDWR, 0)
	check(tb, err)
	defer disk.Close()
	b, where := make([]byte, 1), int64(m.physical+uint64(at)-m.logical)
	_, err = disk.ReadAt(b, where)
	check(tb, err)
	b[0] ^= 1
	_, err = disk.WriteAt(b, where)
	check(tb, err)
}
