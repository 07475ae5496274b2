package diskimage

import "encoding/binary"

// deflateOrder is the order in which code lengths of code lengths are sent.
var deflateOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// deflater decompresses whole DEFLATE streams. It is used by one goroutine at a time.
type deflater struct {
	lit     [litTableSize]uint32
	dist    [distTableSize]uint32
	pre     [128]uint32
	lengths [320]uint8
	fixed   bool // lit and dist hold the fixed codes

	in  []byte
	pos int    // of the next byte of in
	buf uint64 // bits taken from in, the next one lowest; above cnt are zeroes or the bits that follow
	cnt uint   // how many of buf count
	out []byte
	n   int // bytes of out that are filled
}

// cluster implements inflater.
func (z *deflater) cluster(out, in []byte) (used int, err error) {
	z.in, z.out = in, out
	z.pos, z.buf, z.cnt, z.n = 0, 0, 0, 0
	defer func() { z.in, z.out = nil, nil }()
	for last := false; !last; {
		if !z.need(3) {
			return 0, errDeflateInput
		}
		last = z.take(1) == 1
		switch z.take(2) {
		case 0:
			err = z.stored()
		case 1:
			err = z.fixedBlock()
		case 2:
			err = z.dynamicBlock()
		default:
			err = errDeflateBlock
		}
		if err != nil {
			return 0, err
		}
	}
	if z.n < len(out) {
		return 0, errDeflateShort
	}
	return z.pos - int(z.cnt>>3), nil
}

// need makes n bits (at most 48) available, if the input has them.
func (z *deflater) need(n uint) bool {
	for z.cnt < n {
		if z.pos >= len(z.in) {
			return false
		}
		z.buf |= uint64(z.in[z.pos]) << z.cnt
		z.pos++
		z.cnt += 8
	}
	return true
}

// want makes up to 48 bits available, fewer at the end of the input.
func (z *deflater) want() { z.need(48) }

// take consumes n bits, which must be available.
func (z *deflater) take(n uint) uint32 {
	v := z.buf & (1<<n - 1)
	z.buf >>= n
	z.cnt -= n
	return uint32(v)
}

func (z *deflater) stored() error {
	z.pos -= int(z.cnt >> 3)
	z.buf, z.cnt = 0, 0
	if z.pos+4 > len(z.in) {
		return errDeflateInput
	}
	n := int(binary.LittleEndian.Uint16(z.in[z.pos:]))
	if n != int(^binary.LittleEndian.Uint16(z.in[z.pos+2:])) {
		return errDeflateBlock
	}
	z.pos += 4
	switch {
	case n > len(z.in)-z.pos:
		return errDeflateInput
	case n > len(z.out)-z.n:
		return errDeflateOutput
	}
	z.n += copy(z.out[z.n:], z.in[z.pos:z.pos+n])
	z.pos += n
	return nil
}

func (z *deflater) fixedBlock() error {
	if !z.fixed {
		l := z.lengths[:288]
		for i := range l {
			switch {
			case i < 144, i >= 280:
				l[i] = 8
			case i < 256:
				l[i] = 9
			default:
				l[i] = 7
			}
		}
		if err := buildTable(z.lit[:], litTableBits, l, litEntries[:]); err != nil {
			return err
		}
		for i := range l[:32] {
			l[i] = 5
		}
		if err := buildTable(z.dist[:], distTableBits, l[:32], distEntries[:]); err != nil {
			return err
		}
		z.fixed = true
	}
	return z.symbols()
}

func (z *deflater) dynamicBlock() error {
	if !z.need(14) {
		return errDeflateInput
	}
	lits, dists, pres := int(z.take(5))+257, int(z.take(5))+1, int(z.take(4))+4
	if lits > 286 || dists > 30 {
		return errDeflateBlock
	}
	var pre [19]uint8
	for _, symbol := range deflateOrder[:pres] {
		if !z.need(3) {
			return errDeflateInput
		}
		pre[symbol] = uint8(z.take(3))
	}
	if err := buildTable(z.pre[:], 7, pre[:], preEntries[:]); err != nil {
		return err
	}
	z.fixed = false
	if err := z.codeLengths(lits + dists); err != nil {
		return err
	}
	if z.lengths[256] == 0 {
		return errDeflateCodes
	}
	if err := buildTable(z.lit[:], litTableBits, z.lengths[:lits], litEntries[:]); err != nil {
		return err
	}
	if err := buildTable(z.dist[:], distTableBits, z.lengths[lits:lits+dists], distEntries[:]); err != nil {
		return err
	}
	return z.symbols()
}

// preEntries: the symbols of code lengths are their own values.
var preEntries = func() (e [19]uint32) {
	for i := range e {
		e[i] = uint32(i) << valueShift
	}
	return e
}()

// codeLengths reads n code lengths, which are run-length coded.
func (z *deflater) codeLengths(n int) error {
	for i := 0; i < n; {
		z.need(14)
		e := z.pre[z.buf&127]
		if e == entryInvalid {
			return errDeflateSymbol
		}
		if uint(e&63) > z.cnt {
			return errDeflateInput
		}
		z.take(uint(e & 63))
		symbol := uint8(e >> valueShift)
		if symbol < 16 {
			z.lengths[i] = symbol
			i++
			continue
		}
		extra, repeat, value := uint(2), 3, uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return errDeflateBlock
			}
			value = z.lengths[i-1]
		case 17:
			extra = 3
		case 18:
			extra, repeat = 7, 11
		}
		if extra > z.cnt {
			return errDeflateInput
		}
		repeat += int(z.take(extra))
		if i+repeat > n {
			return errDeflateBlock
		}
		for range repeat {
			z.lengths[i] = value
			i++
		}
	}
	return nil
}

// symbols decodes a block's symbols: fast as long as neither end is near, then one by one.
func (z *deflater) symbols() error {
	for {
		done, err := z.fast()
		if done || err != nil {
			return err
		}
		if done, err = z.slow(); done || err != nil {
			return err
		}
	}
}

// slow decodes one symbol with every check. done: the block has ended.
func (z *deflater) slow() (done bool, err error) {
	z.want()
	e := z.lit[z.buf&(1<<litTableBits-1)]
	if e&(entryOdd|entryTable) == entryOdd|entryTable {
		e = z.lit[e>>valueShift+uint32(z.buf>>litTableBits)&(1<<(e>>codeShift&15)-1)]
	}
	if e == entryInvalid {
		return false, errDeflateSymbol
	}
	extra, ok := z.symbol(e)
	switch {
	case !ok:
		return false, errDeflateInput
	case e&entryOdd != 0:
		return true, nil
	case z.n == len(z.out):
		return false, errDeflateOutput
	case e&entryLiteral != 0:
		z.out[z.n] = byte(e >> valueShift)
		z.n++
		return false, nil
	}
	length := int(e>>valueShift + extra)
	z.want()
	e = z.dist[z.buf&(1<<distTableBits-1)]
	if e&(entryOdd|entryTable) == entryOdd|entryTable {
		e = z.dist[e>>valueShift+uint32(z.buf>>distTableBits)&(1<<(e>>codeShift&15)-1)]
	}
	if e == entryInvalid {
		return false, errDeflateSymbol
	}
	if extra, ok = z.symbol(e); !ok {
		return false, errDeflateInput
	}
	distance := int(e>>valueShift + extra)
	switch {
	case distance > z.n:
		return false, errDeflateSymbol
	case length > len(z.out)-z.n:
		return false, errDeflateOutput
	}
	copyMatch(z.out, z.n, distance, length)
	z.n += length
	return false, nil
}

// symbol consumes an entry's bits and returns the value of its extra bits.
func (z *deflater) symbol(e uint32) (extra uint32, ok bool) {
	total := uint(e & 63)
	if total > z.cnt {
		return 0, false
	}
	return z.take(total) >> (e >> codeShift & 15), true
}

// copyMatch repeats what stands distance before n.
func copyMatch(out []byte, n, distance, length int) {
	for end := n + length; n < end; {
		copied := copy(out[n:end], out[n-distance:n])
		n += copied
		distance += copied
	}
}
