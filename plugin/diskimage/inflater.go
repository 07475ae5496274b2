package diskimage

import (
	"errors"
)

// inflater decompresses clusters. It is used by one goroutine.
type inflater interface {
	// cluster fills dst from src and returns how much of src that took. src must begin with a whole stream
	// that gives exactly as much; what follows is ignored.
	cluster(dst, src []byte) (used int, err error)
}

func newInflater(c compression) inflater {
	if c == zstd {
		return &zstdInflater{}
	}
	return &deflater{}
}

var (
	errShortFrame     = errors.New("zstd frame is cut off")
	errClusterShort   = errors.New("compressed data gives less than a cluster")
	errClusterOverrun = errors.New("compressed data gives more than a cluster")
)
