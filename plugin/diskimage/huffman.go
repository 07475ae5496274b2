package diskimage

import (
	"errors"
	"math/bits"
)

// DEFLATE (RFC 1951), decoded in one go: a cluster's whole input and output are in memory, so that
// neither a window nor a state between calls is needed, and most bounds are checked once a symbol.
const (
	litTableBits  = 11
	distTableBits = 8
	litTableSize  = 2342 // with all second tables, for 288 codes of at most 15 bits
	distTableSize = 402  // for 32 codes
	maxCodeBits   = 15
)

// An entry of a decoding table: the value in the upper 16 bits, the flags, the code's length in bits 8 to
// 11, and in the lowest 6 bits how many bits the symbol takes with its extra bits.
const (
	entryLiteral = 1 << 15
	entryOdd     = 1 << 14 // not a literal, length or distance
	entryEnd     = 1 << 13 // with entryOdd: end of block
	entryTable   = 1 << 12 // with entryOdd: go on in the table at the value, with so many bits more as bits 8 to 11 say
	entryInvalid = entryOdd
	valueShift   = 16
	codeShift    = 8
)

var (
	errDeflateCodes  = errors.New("deflate: codes are over-subscribed or incomplete")
	errDeflateSymbol = errors.New("deflate: invalid symbol or distance")
	errDeflateBlock  = errors.New("deflate: invalid block")
	errDeflateInput  = errors.New("deflate: data is cut off")
	errDeflateOutput = errors.New("deflate: more than a cluster")
	errDeflateShort  = errors.New("deflate: less than a cluster")
)

// The entries of symbols, without the code's length: a table each.
var (
	litEntries  = makeLitEntries()
	distEntries = makeDistEntries()
)

func makeLitEntries() (entries [288]uint32) {
	base := uint32(3)
	for i := range entries {
		e := &entries[i]
		switch {
		case i < 256:
			*e = uint32(i)<<valueShift | entryLiteral
		case i == 256:
			*e = entryOdd | entryEnd
		case i < 285:
			extra := uint32(max(0, (i-261)/4))
			*e = base<<valueShift | extra
			base += 1 << extra
		case i == 285:
			*e = 258 << valueShift
		default:
			*e = entryInvalid
		}
	}
	return entries
}

func makeDistEntries() (entries [32]uint32) {
	base := uint32(1)
	for i := range entries {
		extra := uint32(max(0, i/2-1))
		entries[i] = base<<valueShift | extra
		base += 1 << extra
		if i >= 30 {
			entries[i] = entryInvalid
		}
	}
	return entries
}

// buildTable fills table from the codes' lengths. Codes of up to tableBits are looked up at once; longer
// ones through a second table behind. As in zlib, one code of one bit may stand alone, or there may be none.
func buildTable(table []uint32, tableBits int, lengths []uint8, entries []uint32) error {
	var count [maxCodeBits + 1]int
	for _, n := range lengths {
		count[n]++
	}
	longest := maxCodeBits
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	left := 1
	for n := 1; n <= maxCodeBits; n++ {
		if left = left<<1 - count[n]; left < 0 {
			return errDeflateCodes
		}
	}
	if left > 0 {
		if longest > 1 {
			return errDeflateCodes
		}
		for i := range table[:1<<tableBits] {
			table[i] = entryInvalid
		}
	}
	var next [maxCodeBits + 2]int
	for n := 1; n <= maxCodeBits; n++ {
		next[n+1] = next[n] + count[n]
	}
	var sorted [288]uint16 // symbols by length, then by value
	offsets := next
	for symbol, n := range lengths {
		if n > 0 {
			sorted[offsets[n]] = uint16(symbol)
			offsets[n]++
		}
	}
	fillTable(table, tableBits, longest, &count, sorted[:next[maxCodeBits+1]], entries)
	return nil
}

// fillTable goes through the symbols in the order of their codes.
func fillTable(table []uint32, tableBits, longest int, count *[maxCodeBits + 1]int, sorted []uint16, entries []uint32) {
	code, used := uint32(0), 1<<tableBits
	second, secondBits, secondPrefix := 0, 0, -1
	at := 0
	for n := 1; n <= longest; n++ {
		for i := count[n]; i > 0; i-- {
			e := entries[sorted[at]] + uint32(n)<<codeShift + uint32(n)
			if entries[sorted[at]] == entryInvalid {
				e = entryInvalid
			}
			at++
			reversed := int(bits.Reverse32(code) >> (32 - n))
			code++
			if n <= tableBits {
				for j := reversed; j < 1<<tableBits; j += 1 << n {
					table[j] = e
				}
				continue
			}
			if prefix := reversed & (1<<tableBits - 1); prefix != secondPrefix {
				second, secondPrefix = used, prefix
				secondBits = secondTableBits(n, tableBits, longest, i, count)
				used += 1 << secondBits
				table[prefix] = entryOdd | entryTable | uint32(second)<<valueShift | uint32(secondBits)<<codeShift
			}
			for j := reversed >> tableBits; j < 1<<secondBits; j += 1 << (n - tableBits) {
				table[second+j] = e
			}
		}
		code <<= 1
	}
}

// secondTableBits is how many bits a second table needs, whose first code has n bits; left of these remain.
func secondTableBits(n, tableBits, longest, left int, count *[maxCodeBits + 1]int) int {
	b := n - tableBits
	for room := 1<<b - left; room > 0 && n < longest; {
		n++
		b++
		room = room<<1 - count[n]
	}
	return b
}
