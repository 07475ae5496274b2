package powerloss

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
)

// mountImage mounts the file at image, by a loop device that goes with the mount, and returns the device.
func mountImage(kind fstest.Kind, image, dir string) (device string, err error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	loop, err := attach(f)
	if err != nil {
		return "", fmt.Errorf("loop device for %s: %w", image, err)
	}
	defer loop.Close()
	if err := unix.Mount(loop.Name(), dir, string(kind), 0, format[kind].mount); err != nil {
		return "", fmt.Errorf("mount %s: %w", kind, err)
	}
	return loop.Name(), nil
}

// attach finds a free loop device for f. Another process may be after the same one.
func attach(f *os.File) (*os.File, error) {
	control, err := os.Open("/dev/loop-control")
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		loop, err := os.OpenFile("/dev/loop"+strconv.Itoa(number), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop, nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
	}
}

// unmount unmounts what mountImage mounted. btrfs would take the next disk on that device for the one
// that it has seen there, so it is told to forget it. No command may be starting meanwhile: until it has
// begun, it holds what other tests had open, which keeps the filesystem busy.
func unmount(kind fstest.Kind, device, dir string) error {
	syscall.ForkLock.Lock()
	err := unix.Unmount(dir, 0)
	syscall.ForkLock.Unlock()
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	if kind != fstest.Btrfs {
		return nil
	}
	control, err := os.OpenFile("/dev/btrfs-control", os.O_RDWR, 0)
	if err != nil {
		return nil //nolint:nilerr // nothing is remembered without it
	}
	defer control.Close()
	args := btrfsVolArgs{}
	copy(args.name[:], device)
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, control.Fd(), btrfsForgetDev, uintptr(unsafe.Pointer(&args)))
	return nil
}

// btrfsVolArgs is struct btrfs_ioctl_vol_args of linux/btrfs.h.
type btrfsVolArgs struct {
	_    int64 // a descriptor, of other calls
	name [4088]byte
}

const btrfsForgetDev = 0x50009405 // BTRFS_IOC_FORGET_DEV
