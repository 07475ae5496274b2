package rawfile

import "os"

// withDescriptor makes a system call on a file that another goroutine may close meanwhile: its descriptor is not given to another
// file before the call has ended. os.ErrClosed.
func withDescriptor(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return os.ErrClosed
	}
	var done error
	if err := raw.Control(func(fd uintptr) { done = call(int(fd)) }); err != nil {
		return os.ErrClosed
	}
	return done
}
