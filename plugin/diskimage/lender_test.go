package diskimage_test

import "io"

// lender lends blocks of all sizes, and spoils each once it is given back.
type lender struct{ oddReader }

func (l *lender) ReadBlock() (p []byte, release func(), err error) {
	p = make([]byte, 1+l.rnd.IntN(1<<20))
	n, err := io.ReadFull(l.in, p)
	if n == 0 {
		return nil, nil, err
	}
	p = p[:n]
	return p, func() {
		for i := range p {
			p[i] = 0xee
		}
	}, nil
}
