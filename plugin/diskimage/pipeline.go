package diskimage

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

const (
	blockBytes   = 1 << 20  // of the stream, read at once
	jobBytes     = 1 << 20  // of the disk, written at once where it was compressed
	windowBytes  = 10 << 20 // all blocks together
	minBlocks    = 4
	writers      = 8        // goroutines that decompress and write
	gatherBelow  = 64 << 10 // smaller neighbours are copied together before they are written
	maxJobPieces = 1024
)

// block is a piece of the stream. It goes back to the free list when the last user is done.
type block struct {
	mem  []byte // room for what is carried over from the block before, then the block; nil until needed
	data []byte // of the stream: within mem, or lent
	lent func() // gives back what data lies in; nil where that is mem
	at   int64  // data's offset in the stream
	last bool   // nothing follows
	uses atomic.Int32
}

// piece is a range of the disk whose content stands in src, as it is or compressed.
type piece struct {
	src        []byte
	guest      int64
	host       int64 // where src stands in the file
	compressed bool
	slack      int64 // how much of src may belong to others as well, if it is not needed
}

// job is what one writer does at once. Its pieces lie in one block.
type job struct {
	block  *block
	pieces []piece
}

// pipeline connects one goroutine that reads the stream, one that knows where content goes, and the
// writers. What is in flight is bounded by the number of blocks.
type pipeline struct {
	dst      io.WriterAt
	header   *qcow2Header // nil for raw
	spool    spool
	size     int64 // of the disk: nothing is written beyond; grows with the stream for raw
	free     chan *block
	jobs     chan *job
	pool     sync.Pool // of *job
	written  atomic.Int64
	carry    int // room before a block, for what is carried over
	current  *job
	jobBytes int64 // of the current job, in the disk
}

func newPipeline(r *Reader, dst io.WriterAt) *pipeline {
	header := r.header
	p := &pipeline{dst: dst, size: r.info.VirtualBytes, header: header, spool: spool{scratch: r.opts.Scratch}, jobs: make(chan *job, 2*writers)}
	p.pool.New = func() any { return &job{} }
	if header != nil {
		p.carry = int(header.maxCompressed())
	}
	count := max(minBlocks, windowBytes/(blockBytes+p.carry))
	p.free = make(chan *block, count)
	for range count {
		p.free <- &block{}
	}
	return p
}

// take waits for a free block. It may have no memory yet.
func (p *pipeline) take(ctx context.Context) (*block, error) {
	select {
	case b := <-p.free:
		b.uses.Store(1)
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// memory is the block's own.
func (p *pipeline) memory(b *block) []byte {
	if b.mem == nil {
		b.mem = make([]byte, p.carry+blockBytes)
	}
	return b.mem
}

// own copies what was lent into the block's own memory.
func (p *pipeline) own(b *block) {
	if b.lent == nil {
		return
	}
	n := copy(p.memory(b)[p.carry:], b.data)
	b.data = b.mem[p.carry : p.carry+n]
	b.giveBack()
}

func (b *block) giveBack() {
	if b.lent != nil {
		b.lent()
		b.lent = nil
	}
}

// release ends one use of a block.
func (p *pipeline) release(b *block) {
	if b.uses.Add(-1) == 0 {
		b.giveBack()
		p.free <- b
	}
}

// plain hands src, whose content is the disk's at guest, to the writers.
func (p *pipeline) plain(ctx context.Context, b *block, src []byte, guest int64) error {
	return p.add(ctx, b, piece{src: src, guest: guest}, int64(len(src)))
}

// drain waits until all that was handed over is written.
func (p *pipeline) drain(ctx context.Context) error {
	if err := p.flush(ctx); err != nil {
		return err
	}
	all := make([]*block, 0, cap(p.free))
	for range cap(p.free) {
		b, err := p.take(ctx)
		if err != nil {
			return err
		}
		all = append(all, b)
	}
	for _, b := range all {
		p.release(b)
	}
	return nil
}

// add hands over a piece that is n bytes of the disk.
func (p *pipeline) add(ctx context.Context, b *block, x piece, n int64) error {
	j := p.current
	if j != nil && (j.block != b || p.jobBytes+n > jobBytes || len(j.pieces) >= maxJobPieces) {
		if err := p.flush(ctx); err != nil {
			return err
		}
		j = nil
	}
	if j == nil {
		j = p.pool.Get().(*job)
		j.block, p.current, p.jobBytes = b, j, 0
		b.uses.Add(1)
	}
	j.pieces = append(j.pieces, x)
	p.jobBytes += n
	return nil
}

// flush sends the current job to the writers.
func (p *pipeline) flush(ctx context.Context) error {
	j := p.current
	if j == nil {
		return nil
	}
	p.current = nil
	select {
	case p.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writer is one goroutine's state.
type writer struct {
	*pipeline
	inflate inflater
	out     []byte // gathered, not yet written
	at      int64  // of out in the disk
}

func (w *writer) run(ctx context.Context) error {
	for {
		select {
		case j, ok := <-w.jobs:
			if !ok {
				return nil
			}
			if err := w.do(ctx, j); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// releaseJobs gives back the blocks of jobs that no writer takes any more, until there are no more jobs:
// whoever lent them may have to lend them once more before the reading goroutine learns of the end.
func (p *pipeline) releaseJobs() {
	for j := range p.jobs {
		p.release(j.block)
	}
}

func (w *writer) do(ctx context.Context, j *job) error {
	defer w.release(j.block)
	for _, x := range j.pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.piece(x); err != nil {
			return err
		}
	}
	if err := w.flushOut(); err != nil {
		return err
	}
	j.block, j.pieces = nil, j.pieces[:0]
	w.pool.Put(j)
	return nil
}

func (w *writer) piece(x piece) error {
	if !x.compressed {
		if len(x.src) >= gatherBelow {
			if err := w.flushOut(); err != nil {
				return err
			}
			return w.write(x.src, x.guest)
		}
		room, err := w.room(x.guest, len(x.src))
		copy(room, x.src)
		return err
	}
	cluster := int(w.header.cluster())
	room, err := w.room(x.guest, cluster)
	if err != nil {
		return err
	}
	if w.inflate == nil {
		w.inflate = newInflater(w.header.compressionType)
	}
	used, err := w.inflate.cluster(room, x.src)
	if err != nil {
		return refuse(RuleCompressedData, "cluster", fmt.Sprintf("at %d of the disk: %v", x.guest, err))
	}
	if int64(used) < x.slack {
		return w.spool.keepSlack(x.src[used:x.slack], x.host+int64(used))
	}
	return nil
}

// room makes place for n bytes of the disk at guest behind what is gathered, writing that out first where
// it is no neighbour or the place is used up.
func (w *writer) room(guest int64, n int) ([]byte, error) {
	have := len(w.out)
	if have > 0 && (w.at+int64(have) != guest || have+n > cap(w.out)) {
		if err := w.flushOut(); err != nil {
			return nil, err
		}
		have = 0
	}
	if have+n > cap(w.out) {
		w.out = make([]byte, 0, max(jobBytes, n))
	}
	if have == 0 {
		w.at = guest
	}
	w.out = w.out[:have+n]
	return w.out[have:], nil
}

func (w *writer) flushOut() error {
	out := w.out
	w.out = w.out[:0]
	return w.write(out, w.at)
}

// write writes what is not zero of p, and nothing beyond the disk's end.
func (p *pipeline) write(b []byte, guest int64) error {
	if p.header != nil {
		b = b[:max(0, min(int64(len(b)), p.size-guest))]
	}
	for b, at := range nonZero(b, guest) {
		if _, err := p.dst.WriteAt(b, at); err != nil {
			return fmt.Errorf("%w: write at byte %d: %w", ErrTarget, at, err)
		}
		p.written.Add(int64(len(b)))
	}
	return nil
}
