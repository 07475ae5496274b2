package diskimage

import "bytes"

const zeroPiece = 64 << 10 // zeroes are found in pieces of this size

var zeroes [4096]byte // a table

// allZero reports whether p is zeroes only.
func allZero(p []byte) bool {
	for len(p) > len(zeroes) {
		if !bytes.Equal(p[:len(zeroes)], zeroes[:]) {
			return false
		}
		p = p[len(zeroes):]
	}
	return bytes.Equal(p, zeroes[:len(p)])
}

// nonZero yields the pieces of p that are worth writing, each with its offset in the disk; p stands at
// off. Pieces end at multiples of 64 KiB of the disk.
func nonZero(p []byte, off int64) func(yield func([]byte, int64) bool) {
	return func(yield func([]byte, int64) bool) {
		begin, at := 0, 0
		for at < len(p) {
			end := min(len(p), at+zeroPiece-int((off+int64(at))%zeroPiece))
			if allZero(p[at:end]) {
				if begin < at && !yield(p[begin:at], off+int64(begin)) {
					return
				}
				begin = end
			}
			at = end
		}
		if begin < at {
			yield(p[begin:at], off+int64(begin))
		}
	}
}
