package diskimage

import "encoding/binary"

const (
	fastInput  = 16            // bytes of input that one round may look at
	fastOutput = 3 + 258 + 2*8 // bytes of output that one round may touch
)

// fast decodes symbols as long as a round's input and output are there for sure. done: the block has ended.
// The bits of buf above cnt are afterwards those that follow in the input.
func (z *deflater) fast() (done bool, err error) {
	in, out := z.in, z.out
	pos, n := z.pos, z.n
	buf, cnt := z.buf, z.cnt
	lit, dist := &z.lit, &z.dist
	for pos <= len(in)-fastInput && n <= len(out)-fastOutput {
		buf |= binary.LittleEndian.Uint64(in[pos:]) << (cnt & 63)
		pos += int(63-cnt) >> 3
		cnt |= 56
		e := lit[buf&(1<<litTableBits-1)]
		if e&entryLiteral != 0 {
			room := out[n : n+3 : n+3]
			room[0] = byte(e >> valueShift)
			n++
			buf >>= e & 63
			cnt -= uint(e & 63)
			e = lit[buf&(1<<litTableBits-1)]
			if e&entryLiteral != 0 {
				room[1] = byte(e >> valueShift)
				n++
				buf >>= e & 63
				cnt -= uint(e & 63)
				e = lit[buf&(1<<litTableBits-1)]
				if e&entryLiteral != 0 {
					room[2] = byte(e >> valueShift)
					n++
					buf >>= e & 63
					cnt -= uint(e & 63)
					continue
				}
			}
			buf |= binary.LittleEndian.Uint64(in[pos:]) << (cnt & 63)
			pos += int(63-cnt) >> 3
			cnt |= 56
		}
		if e&entryOdd != 0 {
			if e&entryTable != 0 {
				e = lit[e>>valueShift+uint32(buf>>litTableBits)&(1<<(e>>codeShift&15)-1)]
			}
			if e&(entryOdd|entryLiteral) != 0 {
				if e == entryInvalid {
					err = errDeflateSymbol
					break
				}
				buf >>= e & 63
				cnt -= uint(e & 63)
				if e&entryLiteral == 0 {
					done = true
					break
				}
				out[n] = byte(e >> valueShift)
				n++
				continue
			}
		}
		length := int(e>>valueShift) + int(buf&(1<<(e&63)-1)>>(e>>codeShift&15))
		buf >>= e & 63
		cnt -= uint(e & 63)
		d := dist[buf&(1<<distTableBits-1)]
		if d&entryOdd != 0 {
			if d&entryTable != 0 {
				d = dist[d>>valueShift+uint32(buf>>distTableBits)&(1<<(d>>codeShift&15)-1)]
			}
			if d == entryInvalid {
				err = errDeflateSymbol
				break
			}
		}
		distance := int(d>>valueShift) + int(buf&(1<<(d&63)-1)>>(d>>codeShift&15))
		buf >>= d & 63
		cnt -= uint(d & 63)
		if distance > n {
			err = errDeflateSymbol
			break
		}
		if distance >= 8 {
			copyWords(out[n:n+length+16], out[n-distance:], length)
		} else {
			copyMatch(out, n, distance, length)
		}
		n += length
	}
	z.pos, z.n, z.buf, z.cnt = pos, n, buf, cnt
	return done, err
}

// copyWords copies length bytes in words, and up to 15 more; to may begin 8 bytes behind from, or further.
func copyWords(to, from []byte, length int) {
	for {
		binary.LittleEndian.PutUint64(to, binary.LittleEndian.Uint64(from))
		binary.LittleEndian.PutUint64(to[8:], binary.LittleEndian.Uint64(from[8:]))
		if length <= 16 {
			return
		}
		to, from, length = to[16:], from[16:], length-16
	}
}
