// Package smallfile reads files that a person names: configurations, secrets, certificates. Such a name may be
// anything, and a device never ends.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Most is how long such a file may be, in bytes: far more than any configuration or list of certificates.
const Most = 4 << 20

// ErrNotSmall: the name is that of a directory, a device, a socket, or a file beyond Most.
var ErrNotSmall = errors.New("not a small file")

// Read is all that is in a file, or comes out of a pipe. ErrNotSmall; else errors are those of os.Open.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path) // before it is opened: opening a device may do something
	if err != nil {
		var of *fs.PathError
		if errors.As(err, &of) {
			of.Op = "open" // as a person sees it
		}
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() && mode.Type() != fs.ModeNamedPipe {
		return nil, fmt.Errorf("%w: %s is %s: name a file", ErrNotSmall, path, kindOf(mode))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, Most+1))
	if err != nil {
		return nil, err
	}
	if len(content) > Most {
		return nil, fmt.Errorf("%w: %s is longer than %d MiB: name the right one", ErrNotSmall, path, Most>>20)
	}
	return content, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "no file"
}
