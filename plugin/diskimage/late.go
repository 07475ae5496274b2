package diskimage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// lateReader places what is in the spool, once the stream has ended.
type lateReader struct {
	*walker
	fileSize int64
	extents  []extent
	block    *block // being filled
	used     int
}

// placeTable places those extents of one second-level table that passed before it did, in the disk's order.
func (l *lateReader) placeTable(ctx context.Context, ref l2Ref) error {
	table, err := l.tableFromSpool(ref)
	if err != nil {
		return err
	}
	if l.extents, err = l.l2(table, ref.index, l.extents[:0]); err != nil {
		return err
	}
	before := l.lateBefore(ref)
	late := slices.DeleteFunc(l.extents, func(x extent) bool { return x.host >= before || x.size == extentHole })
	slices.SortFunc(late, func(a, b extent) int { return cmp.Compare(a.guest, b.guest) })
	for _, x := range late {
		if x.size > 0 {
			err = l.placeCompressed(ctx, x)
		} else {
			err = l.placePlain(ctx, x)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lateReader) placePlain(ctx context.Context, x extent) error {
	last := x.host + int64(x.clusters-1)<<l.clusterBits
	if last >= l.fileSize {
		return refuse(RuleTruncated, "l2 entry", fmt.Sprintf("%#x, but the file ends at %#x", last, l.fileSize))
	}
	for left := min(l.bytes(x), l.fileSize-x.host); left > 0; {
		n := min(left, blockBytes)
		src, err := l.read(ctx, x.host, n, n)
		if err != nil {
			return err
		}
		if err := l.plain(ctx, l.block, src, x.guest); err != nil {
			return err
		}
		x.host, x.guest, left = x.host+n, x.guest+n, left-n
	}
	return nil
}

// placeCompressed: what of it shares its last sector with others may not have been kept, nor be needed.
func (l *lateReader) placeCompressed(ctx context.Context, x extent) error {
	src, err := l.read(ctx, x.host, int64(x.size), 1)
	if err != nil {
		return err
	}
	if x.guest >= l.qcow2Header.size {
		return nil
	}
	return l.add(ctx, l.block, piece{src: src, guest: x.guest, host: x.host, compressed: true}, l.cluster())
}

// read reads what is in the spool of the n bytes at off, at least the first so many, into a block.
func (l *lateReader) read(ctx context.Context, off, n, least int64) ([]byte, error) {
	have := l.spool.available(off, n)
	if have < least {
		return nil, refuse(RuleOverlap, "l2 entry", hex(off))
	}
	if l.block == nil || l.used+int(have) > len(l.block.mem) {
		if err := l.nextBlock(ctx); err != nil {
			return nil, err
		}
	}
	src := l.block.mem[l.used : l.used+int(have)]
	l.used += int(have)
	return src, l.spool.read(src, off)
}

func (l *lateReader) nextBlock(ctx context.Context) error {
	if err := l.flush(ctx); err != nil {
		return err
	}
	l.done()
	b, err := l.take(ctx)
	if err != nil {
		return err
	}
	l.memory(b)
	l.block, l.used = b, 0
	return nil
}

// done gives the block back.
func (l *lateReader) done() {
	if l.block != nil {
		l.release(l.block)
	}
	l.block = nil
}
