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
