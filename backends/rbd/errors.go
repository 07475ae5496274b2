//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/clonecache/clonecache/backends"
)

// errno is the number that Ceph answered with; 0 if err is not Ceph's.
func errno(err error) syscall.Errno {
	var coded interface{ ErrorCode() int }
	if !errors.As(err, &coded) {
		return 0
	}
	code := coded.ErrorCode()
	return syscall.Errno(max(code, -code))
}

func is(err error, want syscall.Errno) bool { return errno(err) == want }

// meaning is which decision of a caller an answer of Ceph's stands for.
var meaning = map[syscall.Errno]error{
	syscall.ENOENT:    backends.ErrNotExist,
	syscall.EEXIST:    backends.ErrExist,
	syscall.ENOTEMPTY: backends.ErrInUse, // an image with snapshots or clones
	syscall.EBUSY:     backends.ErrInUse, // an image that somebody has open
	syscall.ENOSPC:    backends.ErrNoSpace,
	syscall.EDQUOT:    backends.ErrNoSpace,
	syscall.ETIMEDOUT: backends.ErrUnavailable,
	syscall.ENOTCONN:  backends.ErrUnavailable,
	syscall.ESHUTDOWN: backends.ErrUnavailable, // this client was blocklisted
	syscall.EROFS:     backends.ErrUnavailable, // the image's lock was lost
	syscall.EAGAIN:    backends.ErrUnavailable,
}

// explain gives Ceph's answer its meaning, and keeps its text.
func explain(err error) error {
	code := errno(err)
	if code == 0 {
		return err
	}
	if m, ok := meaning[code]; ok {
		return fmt.Errorf("%w (%s: %w)", m, code.Error(), err)
	}
	if code == syscall.EPERM || code == syscall.EACCES {
		return fmt.Errorf("ceph refuses this user: %w", err)
	}
	return err
}

// ignore forgets an answer that is as good as success.
func ignore(err error, as ...syscall.Errno) error {
	for _, code := range as {
		if is(err, code) {
			return nil
		}
	}
	return err
}
