package imagesource

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

const (
	verifyBlock  = 1 << 20  // of one buffer; each ends at a multiple of it in the stream
	verifyFirst  = 64 << 10 // of the first, in which headers are that somebody waits for
	verifyBlocks = 8        // buffers at most, so that reading ahead is bounded to 8 MiB
)

// VerifyingReader hands on what another reader yields, and hashes every byte of it. Reading ahead,
// hashing and what the consumer does with the bytes overlap: one goroutine reads, one hashes, and
// both work on the same buffers that the consumer is given. Only Bytes may be called from another
// goroutine than the one that reads.
type VerifyingReader struct {
	source    io.Reader
	want      Digest
	algorithm Algorithm
	hash      hash.Hash

	free     chan *block // used buffers
	toHash   chan *block
	toReader chan *block
	end      error // why the source ended; set before toReader is closed

	stop     chan struct{}
	closed   sync.Once
	closeErr error
	fetched  chan struct{} // closed when the fetching goroutine is gone
	hashed   chan struct{} // closed when the hashing goroutine is gone

	current *block
	rest    []byte // of current, not read yet
	ended   error  // what Read returns from now on
	bytes   atomic.Int64
}

// block is a buffer that both the hash and the consumer use before it is used again.
type block struct {
	buffer []byte
	n      int
	users  atomic.Int32
}

// Verify starts reading r, to compare its digest with want at the end. A want that is zero is no
// expectation; its algorithm, if it has one, is computed then, else SHA-256. The caller must Close the
// VerifyingReader; that closes r too where it is an io.Closer, which must make a Read that waits return.
func Verify(r io.Reader, want Digest) *VerifyingReader {
	v := &VerifyingReader{
		source:   r,
		want:     want,
		free:     make(chan *block, verifyBlocks),
		toHash:   make(chan *block, verifyBlocks),
		toReader: make(chan *block, verifyBlocks),
		stop:     make(chan struct{}),
		fetched:  make(chan struct{}),
		hashed:   make(chan struct{}),
	}
	v.algorithm, v.hash = want.Algorithm.hash()
	go v.fetch()
	go v.digest()
	return v
}

// fetch reads the source to its end, or until stop. Neither send can block: there are no more blocks
// than places for them.
func (v *VerifyingReader) fetch() {
	defer close(v.fetched)
	defer close(v.toReader)
	defer close(v.toHash)
	for made, at := 0, 0; ; {
		b, fresh := v.block(made < verifyBlocks)
		if b == nil {
			v.end = os.ErrClosed
			return
		}
		if fresh {
			made++
		}
		var err error
		b.n, err = readAll(v.source, b.buffer[:blockAt(at)])
		at += b.n
		if b.n > 0 {
			b.users.Store(2)
			v.toHash <- b
			v.toReader <- b
		}
		if err != nil {
			v.end = err
			return
		}
	}
}

// block takes a used buffer, else makes one if it may, else waits; nil once the reader is closed.
func (v *VerifyingReader) block(mayMake bool) (b *block, fresh bool) {
	select {
	case <-v.stop:
		return nil, false
	case b := <-v.free:
		return b, false
	default:
	}
	if mayMake {
		return &block{buffer: make([]byte, verifyBlock)}, true
	}
	select {
	case <-v.stop:
		return nil, false
	case b := <-v.free:
		return b, false
	}
}

// blockAt is how long the block is that begins there in the stream.
func blockAt(at int) int {
	if at == 0 {
		return verifyFirst
	}
	return verifyBlock - at%verifyBlock
}

// readAll reads until p is full or the source has ended. It returns an error of r's as it is.
func readAll(r io.Reader, p []byte) (n int, err error) {
	for empty := 0; n < len(p) && err == nil; {
		var more int
		more, err = r.Read(p[n:])
		n += more
		if more > 0 || err != nil {
			empty = 0
		} else if empty++; empty == 100 {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// digest hashes what fetch read, in order.
func (v *VerifyingReader) digest() {
	defer close(v.hashed)
	for b := range v.toHash {
		v.hash.Write(b.buffer[:b.n])
		v.release(b)
	}
}

// release gives a buffer back once both its users are done.
func (v *VerifyingReader) release(b *block) {
	if b.users.Add(-1) == 0 {
		v.free <- b
	}
}

// next makes rest hold the next bytes; it returns the source's error once all were consumed.
func (v *VerifyingReader) next() error {
	if v.current != nil {
		v.release(v.current)
		v.current = nil
	}
	if v.ended != nil {
		return v.ended
	}
	b, ok := <-v.toReader
	if !ok {
		v.ended = v.end
		return v.ended
	}
	v.current, v.rest = b, b.buffer[:b.n]
	return nil
}

// Read implements io.Reader. It returns the source's errors as they are.
func (v *VerifyingReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(v.rest) == 0 {
		if err := v.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, v.rest)
	v.rest = v.rest[n:]
	v.bytes.Add(int64(n))
	return n, nil
}

// ReadBlock hands over the bytes that come next, at most 1 MiB, without copying them. They must not be
// changed, and are valid until release, which is called once, from any goroutine: there are 8 such
// blocks, and without a free one nothing is read ahead. Errors as Read has them, without bytes.
func (v *VerifyingReader) ReadBlock() (p []byte, release func(), err error) {
	if len(v.rest) == 0 {
		if err := v.next(); err != nil {
			return nil, nil, err
		}
	}
	b, p := v.current, v.rest
	v.current, v.rest = nil, nil
	v.bytes.Add(int64(len(p)))
	return p, func() { v.release(b) }, nil
}

// WriteTo implements io.WriterTo, without copying. w must not keep what it is given.
func (v *VerifyingReader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(v.rest) == 0 {
			if err := v.next(); err != nil {
				if errors.Is(err, io.EOF) {
					return written, nil
				}
				return written, err
			}
		}
		n, err := w.Write(v.rest)
		n = max(0, min(n, len(v.rest)))
		short := n < len(v.rest)
		v.rest = v.rest[n:]
		v.bytes.Add(int64(n))
		written += int64(n)
		if err != nil {
			return written, err
		}
		if short {
			return written, io.ErrShortWrite
		}
	}
}

// Bytes is how many bytes the consumer has had. It may be called at any time, for progress.
func (v *VerifyingReader) Bytes() int64 { return v.bytes.Load() }

// Sum is the digest of all bytes. It is zero until Read has returned io.EOF (or WriteTo nil): what the
// consumer leaves unread must be read too, io.Copy to io.Discard does that.
func (v *VerifyingReader) Sum() Digest {
	if !errors.Is(v.ended, io.EOF) {
		return Digest{}
	}
	<-v.hashed
	return digestOf(v.algorithm, v.hash)
}

// Check compares the digest with what was expected. ErrDigestMismatch names both. It is an error of
// its own, never nil, where the stream was not read to its end.
func (v *VerifyingReader) Check() error {
	got := v.Sum()
	if got.IsZero() {
		return fmt.Errorf("digest is not known: %d bytes read and not the end", v.Bytes())
	}
	if v.want.IsZero() || got == v.want {
		return nil
	}
	return fmt.Errorf("%w: expected %s, got %s after %d bytes", ErrDigestMismatch, v.want, got, v.Bytes())
}

// Close stops reading ahead and waits until that has stopped. Sum and Check remain as they were.
// Repeating it is harmless.
func (v *VerifyingReader) Close() error {
	v.closed.Do(func() {
		close(v.stop)
		if c, ok := v.source.(io.Closer); ok {
			v.closeErr = c.Close()
		}
		<-v.fetched
		<-v.hashed
		v.rest = nil
		if v.ended == nil {
			v.ended = os.ErrClosed
		}
	})
	return v.closeErr
}
