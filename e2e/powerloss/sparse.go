package powerloss

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// copySparse copies a file without its zeroes, which become holes. It replaces dst. What is copied often
// is best copied so once: holes cost nothing.
func copySparse(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return errors.Join(err, out.Close())
	}
	return errors.Join(copyData(out, in, info.Size()), out.Close())
}

func copyData(out, in *os.File, size int64) error {
	piece, zeroes := make([]byte, 64<<10), make([]byte, 64<<10)
	for off := int64(0); off < size; {
		data, err := unix.Seek(int(in.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for off = data; off < hole; off += int64(len(piece)) {
			p := piece[:min(int64(len(piece)), hole-off)]
			if _, err := in.ReadAt(p, off); err != nil {
				return err
			}
			if bytes.Equal(p, zeroes[:len(p)]) {
				continue
			}
			if _, err := out.WriteAt(p, off); err != nil {
				return err
			}
		}
		off = hole
	}
	return nil
}
