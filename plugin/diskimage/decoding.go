package diskimage

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"
)

// placer knows where the stream's bytes go. It is used by one goroutine.
type placer interface {
	// place hands a block's content on. What it keeps for later it has retained.
	place(ctx context.Context, b *block) error
	// finish is called when the stream has ended, size bytes long.
	finish(ctx context.Context, size int64) error
}

// decoding is one run of Decode: one goroutine reads the stream, one knows where content goes, and the
// writers decompress and write.
type decoding struct {
	*pipeline
	opts     Options
	stream   io.Reader
	lender   BlockReader // what comes behind stream, in blocks of its own; nil: nothing
	inside   *unwrapper  // that unpacks stream; nil: none does
	progress func(read, written int64)
	read     int64
	tail     []byte // the stream's last bytes
}

func newDecoding(r *Reader, dst io.WriterAt, progress func(read, written int64)) *decoding {
	if progress == nil {
		progress = func(read, written int64) {}
	}
	d := &decoding{
		pipeline: newPipeline(r, dst),
		opts:     r.opts,
		progress: progress,
		inside:   r.inside,
		tail:     make([]byte, 0, 2*footerBytes),
	}
	d.stream, d.lender = r.head.rest()
	return d
}

func (d *decoding) stats() Stats {
	s := Stats{SourceBytes: d.fromSource(), VirtualBytes: d.size, WrittenBytes: d.written.Load(), ScratchBytes: d.spool.bytes}
	if d.header == nil {
		s.VirtualBytes = d.read
	}
	return s
}

// fromSource is how much was read of the image as it is published.
func (d *decoding) fromSource() int64 {
	if d.inside != nil {
		return d.inside.source.read.Load()
	}
	return d.read
}

// run owns all goroutines of a Decode; the scratch space is free when it returns.
func (d *decoding) run(ctx context.Context) error {
	place, err := d.placer()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	blocks := make(chan *block, 1)
	g.Go(func() error {
		defer close(blocks)
		return d.readBlocks(ctx, blocks)
	})
	g.Go(func() error {
		defer close(d.jobs)
		return d.placeBlocks(ctx, place, blocks)
	})
	for range writers {
		w := &writer{pipeline: d.pipeline}
		g.Go(func() error { return w.run(ctx) })
	}
	released := make(chan struct{})
	go func() {
		defer close(released)
		<-ctx.Done() // the first error, or the end
		d.releaseJobs()
	}()
	err = errors.Join(g.Wait(), d.spool.close())
	<-released
	if err == nil {
		d.progress(d.fromSource(), d.written.Load())
	}
	return err
}

func (d *decoding) placer() (placer, error) {
	if d.header == nil {
		return &rawPlacer{pipeline: d.pipeline, max: d.opts.maxVirtual(), opts: d.opts}, nil
	}
	return newWalker(d)
}

// readBlocks reads the stream to its end; the last block, which may be empty, is marked.
func (d *decoding) readBlocks(ctx context.Context, blocks chan<- *block) error {
	announced := d.opts.SourceBytes
	for at, ended := int64(0), false; !ended; {
		b, err := d.take(ctx)
		if err != nil {
			return err
		}
		err = d.fill(b)
		b.at, at, ended = at, at+int64(len(b.data)), b.last
		if err != nil {
			return sourceError(at, err)
		}
		switch {
		case announced >= 0 && at > announced:
			return sourceError(announced, ErrSourceLonger)
		case announced >= 0 && ended && at < announced:
			return sourceError(at, io.ErrUnexpectedEOF)
		}
		select {
		case blocks <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// fill reads what comes next of the stream into a block, which has then some of it unless it is the last.
func (d *decoding) fill(b *block) error {
	if d.stream == nil {
		var err error
		b.data, b.lent, err = d.lender.ReadBlock()
		if b.last = errors.Is(err, io.EOF); b.last {
			err = nil
		}
		return err
	}
	n, ended, err := readFull(d.stream, d.memory(b)[d.carry:])
	b.data, b.last = b.mem[d.carry:d.carry+n], ended
	if ended && d.lender != nil {
		d.stream, b.last = nil, false
	}
	return err
}

// placeBlocks passes the stream through the placer, then judges its end.
func (d *decoding) placeBlocks(ctx context.Context, place placer, blocks <-chan *block) error {
	ended := false
	for b := range blocks {
		d.read += int64(len(b.data))
		d.keepTail(b.data)
		if ended = b.last; ended {
			if err := d.judgeTail(); err != nil {
				return err
			}
		}
		if err := place.place(ctx, b); err != nil {
			return err
		}
		d.release(b)
		d.progress(d.fromSource(), d.written.Load())
	}
	if !ended {
		return nil // readBlocks has the reason
	}
	if err := place.finish(ctx, d.read); err != nil {
		return err
	}
	return d.flush(ctx)
}

func (d *decoding) keepTail(data []byte) {
	data = data[max(0, len(data)-footerBytes):]
	d.tail = append(d.tail, data...)
	if drop := len(d.tail) - footerBytes; drop > 0 {
		d.tail = d.tail[:copy(d.tail, d.tail[drop:])]
	}
}

// judgeTail looks for the formats that show only at the end.
func (d *decoding) judgeTail() error {
	format := formatAtEnd(d.tail)
	if format == "" {
		return nil
	}
	found := []detector{{format: format}}
	if d.header != nil {
		found = append(found, detector{format: QCOW2})
	}
	if _, err := settle(found, false, d.opts); err != nil {
		return err
	}
	return forFormat(refuse(RuleNoDecoder, "disk_format", format), format)
}

// rawPlacer: the stream is the disk.
type rawPlacer struct {
	*pipeline
	opts Options
	max  int64
}

func (r *rawPlacer) place(ctx context.Context, b *block) error {
	if end := b.at + int64(len(b.data)); end > r.max {
		return checkVirtual(end, r.opts)
	}
	if err := r.plain(ctx, b, b.data, b.at); err != nil {
		return err
	}
	return r.flush(ctx)
}

func (r *rawPlacer) finish(context.Context, int64) error { return nil }
