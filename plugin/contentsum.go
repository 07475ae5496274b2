package plugin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/bits"
	"sync"

	"github.com/zeebo/xxh3"
)

// sumBlock is the block of which a content sum is made, in bytes. Fills write whole blocks, but for the
// disk's last one; of an image with smaller clusters (which are rare) there is no sum.
const sumBlock = 4096

// contentSum adds up, modulo 2^128, the hashes of all blocks that are not zero, each seeded with where the
// block stands: XXH3 (128 bits), seeded with the offset, of the block's own XXH3. It is therefore the same in whatever order and pieces a disk's content is written or read,
// and what is not written counts as what it reads as. It finds damage; it is no proof against somebody
// who wants two contents to have the same sum, which the digest of the image's bytes is. The zero value
// is the sum of zeroes. It may be used from several goroutines.
type contentSum struct {
	mu     sync.Mutex
	hi, lo uint64
	torn   bool // something else than whole blocks was written
}

var zeroBlock [sumBlock]byte

// add adds what stands at off of a disk of size bytes; of no block more than once.
func (s *contentSum) add(b []byte, off, size int64) {
	end := off + int64(len(b))
	torn := off%sumBlock != 0 || end%sumBlock != 0 && end != size
	var hi, lo, carry uint64
	for len(b) > 0 && !torn {
		n := min(sumBlock, len(b))
		if !bytes.Equal(b[:n], zeroBlock[:n]) {
			own := xxh3.Hash128(b[:n]).Bytes()
			h := xxh3.Hash128Seed(own[:], uint64(off))
			lo, carry = bits.Add64(lo, h.Lo, 0)
			hi, _ = bits.Add64(hi, h.Hi, carry)
		}
		b, off = b[n:], off+int64(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.torn = s.torn || torn
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, _ = bits.Add64(s.hi, hi, carry)
}

// String is "xxh3-4096:<32 hex digits>", or "" where it is not known.
func (s *contentSum) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torn {
		return ""
	}
	return fmt.Sprintf("xxh3-%d:%016x%016x", sumBlock, s.hi, s.lo)
}

// readSum reads size bytes, a disk's whole content, and returns their sum.
func readSum(ctx context.Context, content io.Reader, size int64) (string, error) {
	var sum contentSum
	buffer := make([]byte, 1<<20) // a multiple of sumBlock
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b := buffer[:min(int64(len(buffer)), size-off)]
		if _, err := io.ReadFull(content, b); err != nil {
			return "", fmt.Errorf("read at byte %d: %w", off, err)
		}
		sum.add(b, off, size)
		off += int64(len(b))
	}
	return sum.String(), nil
}
