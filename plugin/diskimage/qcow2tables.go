package diskimage

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
)

// The bits of table entries.
const (
	entryOffset     = 0x00fffffffffffe00
	entryCopied     = 1 << 63 // "in use exactly once": says nothing to a reader
	entryCompressed = 1 << 62
	entryZero       = 1 << 0
	maxHostOffset   = 1 << 55
)

// What an extent's size says where it is not a number of compressed bytes.
const (
	extentPlain = 0
	extentHole  = -1 // allocated in the file, but the disk reads as zeroes there
)

// extent is a piece of the file that holds content of the disk.
type extent struct {
	host     int64 // offset in the file
	guest    int64 // offset in the disk
	clusters int32 // as many follow each other in both; 1 where compressed
	size     int32 // of the compressed bytes, or extentPlain or extentHole
}

// l2Ref is one second-level table: where it is, and which entry of the first level names it.
type l2Ref struct {
	host  int64
	index int32
	state l2State
}

// l2State is how far a table's extents have been placed.
type l2State int32

const (
	l2Waiting  l2State = iota // the table has not been read
	l2Placed                  // its extents are placed, or wait for their bytes
	l2SomeLate                // those that came before the table must come from the spool
	l2AllLate                 // all must come from the spool
)

// tables reads and checks an image's tables. What it has seen is claimed.
type tables struct {
	*qcow2Header
	limit  int64 // the file's size, or a bound no file reaches
	claims *claims
}

// newTables claims the header and the tables that it names.
func newTables(h *qcow2Header, limit int64) (*tables, error) {
	t := &tables{qcow2Header: h, limit: min(limit, maxHostOffset), claims: newClaims(h.clusterBits)}
	for _, r := range []struct {
		off, length int64
		field       string
	}{
		{0, h.cluster(), "header"},
		{h.refcountOffset, h.refcountBytes, "refcount_table_offset"},
		{h.l1Offset, h.l1Size * 8, "l1_table_offset"},
	} {
		if err := t.claims.whole(r.off, r.length, r.field); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// l1 appends the tables that a piece of the first level names; first is the index of its first entry. Those
// beyond the disk are what a saved state of the machine has left: they are read and claimed like all others,
// and nothing of them is placed.
func (t *tables) l1(piece []byte, first int64, refs []l2Ref) ([]l2Ref, error) {
	for i := range int64(len(piece) / 8) {
		e := binary.BigEndian.Uint64(piece[i*8:])
		if e == 0 {
			continue
		}
		off := int64(e & entryOffset)
		if e&^(entryOffset|entryCopied) != 0 || off == 0 || off%t.cluster() != 0 {
			return nil, refuse(RuleL1Table, "entry", hex(e))
		}
		if off > t.limit-t.cluster() {
			return nil, refuse(RuleTruncated, "l1 entry", hex(e))
		}
		if err := t.claims.whole(off, t.cluster(), "l1 entry"); err != nil {
			return nil, err
		}
		refs = append(t.grown(refs), l2Ref{host: off, index: int32(first + i)})
	}
	return refs, nil
}

// grown makes room for one more, for no more than there can be.
func (t *tables) grown(refs []l2Ref) []l2Ref {
	if n := len(refs); n == cap(refs) {
		return slices.Grow(refs, int(min(t.l1Size, int64(max(2*n, 64))))-n)
	}
	return refs
}

// refcounts claims the blocks that a piece of the reference count table names.
func (t *tables) refcounts(piece []byte) error {
	for i := range len(piece) / 8 {
		e := binary.BigEndian.Uint64(piece[i*8:])
		if e == 0 {
			continue
		}
		if e&^entryOffset != 0 || e%uint64(t.cluster()) != 0 {
			return refuse(RuleRefcountTable, "entry", hex(e))
		}
		if int64(e) >= t.limit {
			return refuse(RuleTruncated, "refcount table entry", hex(e))
		}
		if err := t.claims.whole(int64(e), t.cluster(), "refcount block"); err != nil {
			return err
		}
	}
	return nil
}

// l2 appends the extents of a second-level table in the order of the file.
func (t *tables) l2(table []byte, index int32, out []extent) ([]extent, error) {
	first := len(out)
	guest := int64(index) * t.l2Span()
	for i := range len(table) / 8 {
		e := binary.BigEndian.Uint64(table[i*8:])
		if e != 0 {
			x, err := t.entry(e, guest)
			if err != nil {
				return nil, err
			}
			out = t.join(out, first, x)
		}
		guest += t.cluster()
	}
	if !slices.IsSortedFunc(out[first:], byHost) {
		slices.SortFunc(out[first:], byHost)
	}
	return out, clipCompressed(out[first:])
}

// clipCompressed lets each compressed cluster end where the next begins, if not before: their lengths are
// in sectors. What they decompress to cannot be had several times from the same bytes, then.
func clipCompressed(extents []extent) error {
	for i := 1; i < len(extents); i++ {
		a, next := &extents[i-1], extents[i]
		if err := a.clip(next); err != nil {
			return err
		}
	}
	return nil
}

func (x *extent) clip(next extent) error {
	if x.size <= 0 || next.size <= 0 || next.host >= x.host+int64(x.size) {
		return nil
	}
	if next.host == x.host {
		return refuse(RuleOverlap, "compressed cluster", hex(x.host))
	}
	x.size = int32(next.host - x.host)
	return nil
}

// join appends x, or lengthens the last extent (of this table) where x continues it.
func (t *tables) join(out []extent, first int, x extent) []extent {
	if x.clusters == 0 {
		return out
	}
	if n := len(out); n > first && x.size <= 0 {
		last, length := &out[n-1], int64(out[n-1].clusters)<<t.clusterBits
		if last.size == x.size && last.host+length == x.host && last.guest+length == x.guest {
			last.clusters++
			return out
		}
	}
	return append(out, x)
}

// entry reads one entry of a second-level table. An extent of no clusters is a plain zero cluster.
func (t *tables) entry(e uint64, guest int64) (extent, error) {
	if e&entryCompressed != 0 {
		return t.compressedEntry(e, guest)
	}
	x := extent{host: int64(e & entryOffset), guest: guest, clusters: 1}
	zero := e&entryZero != 0
	switch {
	case e&^(entryOffset|entryCopied|entryZero) != 0, zero && t.version < 3, x.host == 0 && e != entryZero:
		return extent{}, refuse(RuleL2Table, "entry", hex(e))
	case x.host == 0:
		return extent{}, nil
	case x.host%t.cluster() != 0:
		return extent{}, refuse(RuleCluster, "l2 entry", hex(e))
	case x.host >= t.limit:
		return extent{}, refuse(RuleTruncated, "l2 entry", hex(e))
	case zero || guest >= t.size:
		x.size = extentHole
	}
	return x, nil
}

// compressedEntry: the file offset is a byte's; the length is in sectors beyond the one it lies in.
func (t *tables) compressedEntry(e uint64, guest int64) (extent, error) {
	shift := 62 - (t.clusterBits - 8)
	off := int64(e & (1<<shift - 1))
	sectors := int64(e>>shift&(1<<(t.clusterBits-8)-1)) + 1
	size := sectors*512 - off%512
	switch {
	case e&entryCopied != 0 || off == 0:
		return extent{}, refuse(RuleL2Table, "entry", hex(e))
	case off >= t.limit:
		return extent{}, refuse(RuleTruncated, "l2 entry", hex(e))
	case size > t.maxCompressed():
		return extent{}, refuse(RuleCluster, "l2 entry", hex(e))
	}
	size = min(size, t.limit-off) // the last sector need not be whole
	return extent{host: off, guest: guest, clusters: 1, size: int32(size)}, nil
}

// maxCompressed is the most that a compressed cluster may take in the file: what does not shrink is not
// compressed, and its last sector may be shared with what follows.
func (q *qcow2Header) maxCompressed() int64 { return q.cluster() + 512 }

// bytes is how much of the file an extent takes.
func (t *tables) bytes(x extent) int64 {
	if x.size > 0 {
		return int64(x.size)
	}
	return int64(x.clusters) << t.clusterBits
}

// claim speaks for the extents' places in the file.
func (t *tables) claim(extents []extent) error {
	for _, x := range extents {
		var err error
		if x.size > 0 {
			err = t.claims.parts(x.host, int64(x.size))
		} else {
			err = t.claims.whole(x.host, t.bytes(x), "l2 entry")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inspectTables applies the tables' rules to a whole file.
func inspectTables(ctx context.Context, file io.ReaderAt, size int64, h *qcow2Header) error {
	t, err := newTables(h, size)
	if err != nil {
		return err
	}
	piece := make([]byte, max(h.cluster(), 64<<10))
	err = eachPiece(file, h.refcountOffset, h.refcountBytes, piece, func(b []byte, _ int64) error { return t.refcounts(b) })
	if err != nil {
		return err
	}
	var refs []l2Ref
	err = eachPiece(file, h.l1Offset, h.l1Size*8, piece, func(b []byte, off int64) error {
		refs, err = t.l1(b, off/8, refs)
		return err
	})
	var extents []extent
	for _, ref := range refs {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := readAt(file, piece[:h.cluster()], ref.host); err != nil {
			return sourceError(ref.host, err)
		}
		if extents, err = t.l2(piece[:h.cluster()], ref.index, extents[:0]); err == nil {
			err = t.claim(extents)
		}
	}
	return err
}

// eachPiece reads length bytes at off through buf.
func eachPiece(file io.ReaderAt, off, length int64, buf []byte, do func(piece []byte, off int64) error) error {
	for at := int64(0); at < length; {
		b := buf[:min(int64(len(buf)), length-at)]
		if err := readAt(file, b, off+at); err != nil {
			return sourceError(off+at, err)
		}
		if err := do(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}
