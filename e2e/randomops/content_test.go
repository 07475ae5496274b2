package randomops

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"sync"
)

// contentSizes are the images' contents, in bytes: many small ones, since each is compared after each
// operation.
var contentSizes = []int{64 << 10, 64 << 10, 128 << 10, 192 << 10, 256 << 10, 512 << 10, 1 << 20}

const page = 4 << 10

// contentBytes are the bytes of a content: pieces of noise and pieces of zeroes, the same in each process.
var contentBytes = sync.OnceValue(func() [][]byte {
	all := make([][]byte, len(contentSizes))
	for i, size := range contentSizes {
		noise := rand.NewChaCha8([32]byte{byte(i + 1)})
		b := make([]byte, size)
		for at := 0; at < size; at += page {
			if !hole(at) {
				_, _ = noise.Read(b[at : at+page]) // it never fails
			}
		}
		all[i] = b
	}
	return all
})

// hole tells whether the piece of 64 KiB that this offset is in is zeroes: pieces are what is not written.
func hole(at int) bool { return at>>16%3 == 1 }

// contentHeld is what the bytes of a content occupy where zeroes are not stored.
func contentHeld(c int) int64 {
	held := int64(0)
	for at := 0; at < contentSizes[c]; at += page {
		if !hole(at) {
			held += page
		}
	}
	return held
}

// digests are the contents' digests, as sha256:hex.
var digests = sync.OnceValue(func() []string {
	all := make([]string, len(contentSizes))
	for i, b := range contentBytes() {
		sum := sha256.Sum256(b)
		all[i] = "sha256:" + hex.EncodeToString(sum[:])
	}
	return all
})

// contentOf finds the content of a digest, or -1.
func contentOf(digest string) int {
	for i, d := range digests() {
		if d == digest {
			return i
		}
	}
	return -1
}

// contentSize is the size of a content in bytes.
func contentSize(c int) int64 { return int64(contentSizes[c]) }

// isContent tells whether got is a content, and zeroes beyond.
func isContent(got []byte, c int) bool {
	want := contentBytes()[c]
	return len(got) >= len(want) && bytes.Equal(got[:len(want)], want) && len(bytes.TrimLeft(got[len(want):], "\x00")) == 0
}

// listed tells whether an image's digest stands in a list beside it.
func listed(image int) bool { return strings.HasPrefix(imageNames[image], "sums/") }
