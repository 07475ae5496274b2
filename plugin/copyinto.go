package plugin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

const (
	copyPiece   = 4 << 20 // bytes of one write
	copyWriters = 8       // writes in flight
)

// copyInto writes a cached file into a fresh stage and commits it: pieces of 4 MiB, several at a time. What
// lies in holes is not read, and pieces of zeroes are not written, since what was not written reads as zeroes.
func copyInto(ctx context.Context, src *os.File, stage backends.VolumeStage, progress func(copied int64)) (backends.Volume, error) {
	info, err := src.Stat()
	if err != nil {
		return backends.Volume{}, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(copyWriters)
	var copied atomic.Int64
	for off := int64(0); off < info.Size() && gctx.Err() == nil; {
		from, to, err := rawfile.NextData(src, off, info.Size())
		if err != nil {
			return backends.Volume{}, errors.Join(err, group.Wait())
		}
		if from == info.Size() {
			break
		}
		for off = max(off, from/copyPiece*copyPiece); off < to && gctx.Err() == nil; off += copyPiece {
			at := off
			group.Go(func() error {
				n, err := copyPieceAt(src, stage, at)
				progress(copied.Add(n))
				return err
			})
		}
	}
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return backends.Volume{}, err
	}
	return stage.Commit(ctx)
}

func copyPieceAt(src io.ReaderAt, dst io.WriterAt, off int64) (int64, error) {
	piece := make([]byte, copyPiece)
	n, err := src.ReadAt(piece, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	piece = piece[:n]
	if len(bytes.TrimLeft(piece, "\x00")) == 0 {
		return 0, nil
	}
	_, err = dst.WriteAt(piece, off)
	return int64(n), err
}
