package imagesource

import (
	"errors"
	"io"
)

// errorKeeper remembers that the reader itself failed, so that its failure is not taken for a fault of
// what was read.
type errorKeeper struct {
	reader io.Reader
	err    error
}

func (k *errorKeeper) Read(p []byte) (int, error) {
	n, err := k.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		k.err = err
	}
	return n, err
}
