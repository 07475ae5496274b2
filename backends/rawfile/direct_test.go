package rawfile

import "testing"

// Space is set aside in the order of the file, with what lies between neighbours, and never much more
// than what is written.
func TestSpaceIsSetAsideInOrder(t *testing.T) {
	const mib = 1 << 20
	for name, writes := range map[string][]struct{ off, n, from, to int64 }{
		"one after the other": {
			{0, mib, 0, 2 * mib}, {mib, mib, 2 * mib, 2 * mib}, {2 * mib, mib, 2 * mib, 6 * mib},
			{3 * mib, mib, 6 * mib, 6 * mib}, {4 * mib, mib, 6 * mib, 6 * mib}, {5 * mib, 2 * mib, 6 * mib, 13 * mib},
		},
		"the second before the first": {{0, mib, 0, 2 * mib}, {3 * mib, mib, 2 * mib, 4 * mib}, {2 * mib, mib, 4 * mib, 4 * mib}},
		"far apart":                   {{0, mib, 0, 2 * mib}, {50 * mib, mib, 50 * mib, 52 * mib}},
		"backwards":                   {{50 * mib, mib, 50 * mib, 52 * mib}, {0, mib, 52 * mib, 52 * mib}},
		"up to the end":               {{98 * mib, 2 * mib, 98 * mib, 100 * mib}},
	} {
		t.Run(name, func(t *testing.T) {
			s := space{size: 100 * mib}
			for _, w := range writes {
				from, to := s.next(w.off, w.n)
				if from != w.from || to != w.to {
					t.Errorf("%d bytes at %d: got [%d, %d), want [%d, %d)", w.n, w.off, from, to, w.from, w.to)
				}
				s.note(from, to, w.n)
			}
		})
	}
}

// However an image is made, no more is set aside than twice what is written, or 32 MiB more.
func TestSpareSpaceIsBounded(t *testing.T) {
	const size, piece = 1 << 40, 4 << 10
	for _, step := range []int64{2 * piece, 1 << 20, aheadBytes, aheadBytes + piece, 1 << 30} {
		s := space{size: size}
		for off := int64(0); off < size/step && off < 100_000; off++ {
			from, to := s.next(off*step, piece)
			s.note(from, to, piece)
			if s.asked > min(2*s.written, s.written+maxSpareBytes) {
				t.Fatalf("%d bytes every %d: %d were set aside for %d", piece, step, s.asked, s.written)
			}
		}
	}
}
