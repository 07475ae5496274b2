package diskimage

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	maxPending    = 256 << 10 // extents that wait for their bytes: 6 MiB
	maxSpoolSpans = 256 << 10 // beyond, everything is spooled
)

// walker places a qcow2 stream in one pass. Where a table came before the clusters that it names, as in
// all that qemu-img writes, they are handed to the writers as they pass. What passes before its table
// is kept in the spool, and placed from there when the stream has ended.
type walker struct {
	*decoding
	*tables
	pos     int64 // what stands before in the file has been placed, kept or dropped
	carried []byte
	from    *block // that carried lies in

	regions []region // not yet passed, in the order of the file
	refs    []l2Ref  // all tables that are known, in the order of the file
	nextRef int      // the first of refs that has not been passed
	l1Left  bool     // the first level has not been read to its end
	pending extentQueue
	until   int64  // up to there something late lies ahead
	table   []byte // a table that is read from the spool
}

// region is a part of the file whose meaning the header gives.
type region struct {
	from, to int64
	read     func(piece []byte, off int64) error
}

// item is what comes next in the file.
type item struct {
	at   int64
	kind itemKind
}

type itemKind int

const (
	itemNone itemKind = iota
	itemRegion
	itemTable
	itemExtent
)

func newWalker(d *decoding) (*walker, error) {
	limit := int64(math.MaxInt64)
	if d.opts.SourceBytes >= 0 {
		limit = d.opts.SourceBytes
	}
	t, err := newTables(d.header, limit)
	if err != nil {
		return nil, err
	}
	w := &walker{decoding: d, tables: t, l1Left: true, pending: extentQueue{tables: t}}
	w.regions = []region{
		{0, t.cluster(), func([]byte, int64) error { return nil }},
		{t.refcountOffset, t.refcountOffset + t.refcountBytes, w.readRefcounts},
		{t.l1Offset, t.l1Offset + t.l1Size*8, w.readL1},
	}
	slices.SortFunc(w.regions, func(a, b region) int { return cmp.Compare(a.from, b.from) })
	return w, nil
}

// place implements placer: it walks over the block, item by item, and carries what is not whole over to
// the next block.
func (w *walker) place(ctx context.Context, b *block) error {
	w.attach(b)
	end := b.at + int64(len(b.data))
	for {
		next := w.next()
		if next.kind == itemNone || next.at >= end {
			break
		}
		if err := w.gap(b, next.at); err != nil {
			return err
		}
		whole, err := w.item(ctx, b, next)
		if err != nil {
			return err
		}
		if !whole {
			if b.last {
				return refuse(RuleTruncated, "file", fmt.Sprintf("%d bytes", end))
			}
			w.leave(b, next.at)
			return w.flush(ctx)
		}
	}
	if err := w.gap(b, end); err != nil {
		return err
	}
	return w.flush(ctx)
}

// attach puts what was carried over in front of the block's own bytes.
func (w *walker) attach(b *block) {
	n := len(w.carried)
	if n == 0 {
		return
	}
	w.own(b)
	copy(b.mem[w.carry-n:w.carry], w.carried)
	b.data = b.mem[w.carry-n : w.carry+len(b.data)]
	b.at -= int64(n)
	w.release(w.from)
	w.carried, w.from = nil, nil
}

// leave carries the block's bytes from off on over to the next block.
func (w *walker) leave(b *block, off int64) {
	w.carried, w.from = b.data[off-b.at:], b
	b.uses.Add(1)
}

// next is what comes next in the file. Only compressed clusters may begin before pos.
func (w *walker) next() item {
	x := item{at: math.MaxInt64}
	if len(w.regions) > 0 {
		x = item{max(w.pos, w.regions[0].from), itemRegion}
	}
	if w.tablesLeft() && w.refs[w.nextRef].host < x.at {
		x = item{w.refs[w.nextRef].host, itemTable}
	}
	if e, _, ok := w.pending.first(); ok && e.host < x.at {
		x = item{e.host, itemExtent}
	}
	return x
}

// tablesLeft reports whether there are tables that are known and have not been passed.
func (w *walker) tablesLeft() bool { return !w.l1Left && w.nextRef < len(w.refs) }

// keeping reports whether there may be more meaning in what passes than is known yet.
func (w *walker) keeping() bool { return w.l1Left || w.tablesLeft() || w.pos < w.until }

// keepAll: the spool has too many gaps to remember.
func (w *walker) keepAll() bool { return len(w.spool.kept) >= maxSpoolSpans }

// gap passes what nothing known claims, up to off.
func (w *walker) gap(b *block, off int64) error {
	if off <= w.pos {
		return nil
	}
	defer func() { w.pos = off }()
	if !w.keeping() {
		return nil
	}
	return w.spool.keep(b.data[w.pos-b.at:off-b.at], w.pos)
}

// item passes one item, as far as it is in the block. whole is false where nothing can be done before more
// of it has come.
func (w *walker) item(ctx context.Context, b *block, x item) (whole bool, err error) {
	switch x.kind {
	case itemRegion:
		return true, w.region(b)
	case itemTable:
		return w.tableItem(b)
	case itemExtent:
		return w.extent(ctx, b)
	default:
		return false, fmt.Errorf("unknown item %d", x.kind)
	}
}

// region passes a piece of a region, or all of it.
func (w *walker) region(b *block) error {
	r := w.regions[0]
	to := min(r.to, b.at+int64(len(b.data)))
	if to == r.to {
		w.regions = w.regions[1:]
	}
	piece, off := b.data[w.pos-b.at:to-b.at], w.pos-r.from
	w.pos = to
	return r.read(piece, off)
}

func (w *walker) readRefcounts(piece []byte, _ int64) error {
	if err := w.refcounts(piece); err != nil {
		return err
	}
	if w.pending.waiting+len(piece)/8 > maxPending {
		return nil // they are dropped or spooled like all that is not known
	}
	extents := w.pending.space()
	for i := range len(piece) / 8 {
		if off := int64(binary.BigEndian.Uint64(piece[i*8:])); off >= w.pos {
			extents = append(extents, extent{host: off, clusters: 1, size: extentHole})
		}
	}
	slices.SortFunc(extents, byHost)
	w.pending.add(extents)
	return nil
}

// readL1 reads a piece of the first level. Tables that came before it are in the spool, and read at once.
func (w *walker) readL1(piece []byte, off int64) error {
	known := len(w.refs)
	var err error
	if w.refs, err = w.l1(piece, off/8, w.refs); err != nil {
		return err
	}
	for i := range w.refs[known:] {
		ref := &w.refs[known+i]
		if ref.host >= w.pos {
			continue
		}
		table, err := w.tableFromSpool(*ref)
		if err != nil {
			return err
		}
		if err := w.readTable(table, ref); err != nil {
			return err
		}
	}
	if off+int64(len(piece)) == w.l1Size*8 {
		w.l1Left = false
		slices.SortFunc(w.refs, func(a, b l2Ref) int { return cmp.Compare(a.host, b.host) })
		w.nextRef, _ = slices.BinarySearchFunc(w.refs, w.pos, func(r l2Ref, pos int64) int { return cmp.Compare(r.host, pos) })
	}
	return nil
}

func (w *walker) tableFromSpool(ref l2Ref) ([]byte, error) {
	if w.table == nil {
		w.table = make([]byte, w.cluster())
	}
	if w.spool.available(ref.host, w.cluster()) < w.cluster() {
		return nil, refuse(RuleOverlap, "l1 entry", hex(ref.host))
	}
	return w.table, w.spool.read(w.table, ref.host)
}

// tableItem reads the second-level table that comes next, once it is whole.
func (w *walker) tableItem(b *block) (whole bool, err error) {
	ref := &w.refs[w.nextRef]
	at := ref.host - b.at
	if at+w.cluster() > int64(len(b.data)) {
		return false, nil
	}
	w.nextRef++
	w.pos = ref.host + w.cluster()
	table := b.data[at : at+w.cluster()]
	if err := w.readTable(table, ref); err != nil || ref.state == l2Placed {
		return true, err
	}
	return true, w.spool.keep(table, ref.host)
}

// readTable lets a table's extents wait for their bytes, or notes that they must come from the spool.
func (w *walker) readTable(table []byte, ref *l2Ref) error {
	extents, err := w.l2(table, ref.index, w.pending.space())
	if err != nil {
		return err
	}
	if err := w.claim(extents); err != nil {
		return err
	}
	ref.state = l2SomeLate
	if len(extents) > 0 && w.pending.waiting+len(extents) > maxPending {
		ref.state = l2AllLate
		w.until = max(w.until, w.end(extents))
	}
	split, _ := slices.BinarySearchFunc(extents, w.lateBefore(*ref), func(e extent, at int64) int { return cmp.Compare(e.host, at) })
	if !slices.ContainsFunc(extents[:split], func(e extent) bool { return e.size != extentHole }) {
		ref.state = l2Placed
	}
	w.pending.add(slices.Delete(extents, 0, split))
	return nil
}

// lateBefore: those of a table's extents that begin before it in the file must come from the spool.
func (w *walker) lateBefore(ref l2Ref) int64 {
	if ref.state == l2AllLate {
		return math.MaxInt64
	}
	return max(ref.host, w.l1Offset) // until the first level has come, nothing can be placed
}

// end is where the last of the extents ends in the file.
func (w *walker) end(extents []extent) int64 {
	last := extents[len(extents)-1]
	return last.host + w.bytes(last)
}

// extent passes the extent that comes next, or what is there of it.
func (w *walker) extent(ctx context.Context, b *block) (whole bool, err error) {
	x, n, _ := w.pending.first()
	have := b.data[x.host-b.at:]
	if x.size > 0 {
		return w.compressedExtent(ctx, b, x, have)
	}
	have = have[:min(int64(len(have)), n)]
	w.pos = x.host + int64(len(have))
	w.pending.consume(int64(len(have)))
	if x.size == extentHole {
		return true, nil
	}
	if w.keepAll() {
		err = w.spool.keep(have, x.host)
	}
	for len(have) > 0 && err == nil {
		n := min(len(have), jobBytes)
		err = w.plain(ctx, b, have[:n], x.guest)
		have, x.guest = have[n:], x.guest+int64(n)
	}
	return true, err
}

func (w *walker) compressedExtent(ctx context.Context, b *block, x extent, have []byte) (whole bool, err error) {
	size := int64(x.size)
	if int64(len(have)) < size {
		if !b.last {
			return false, nil
		}
		size = int64(len(have)) // the last sector need not be whole
	}
	w.pending.consume(int64(x.size))
	w.pos = max(w.pos, x.host+size)
	x.size = int32(size)
	if next, _, ok := w.pending.first(); ok {
		if err := x.clip(next); err != nil {
			return false, err
		}
	}
	c := piece{src: have[:x.size], guest: x.guest, host: x.host, compressed: true}
	beyond := x.guest >= w.qcow2Header.size // it is not decompressed, so that where it ends does not show
	switch {
	case w.keeping() && (w.keepAll() || beyond):
		err = w.spool.keep(have[:size], x.host)
	case w.keeping():
		c.slack = int64(x.size) // where this one really ends only shows when it is decompressed
	}
	if beyond || err != nil {
		return true, err
	}
	return true, w.add(ctx, b, c, w.cluster())
}

// finish implements placer: nothing may be missing, and what is in the spool is placed.
func (w *walker) finish(ctx context.Context, size int64) error {
	if w.l1Left || w.tablesLeft() || len(w.regions) > 0 {
		return refuse(RuleTruncated, "tables", fmt.Sprintf("beyond the file's %d bytes", size))
	}
	if err := w.pending.checkEnd(size); err != nil {
		return err
	}
	late := slices.DeleteFunc(w.refs, func(r l2Ref) bool { return r.state == l2Placed })
	if len(late) == 0 {
		return nil
	}
	if err := w.drain(ctx); err != nil {
		return err
	}
	w.spool.settle()
	slices.SortFunc(late, func(a, b l2Ref) int { return cmp.Compare(a.index, b.index) })
	l := lateReader{walker: w, fileSize: size}
	defer l.done()
	for _, ref := range late {
		if err := l.placeTable(ctx, ref); err != nil {
			return err
		}
		w.progress(w.fromSource(), w.written.Load())
	}
	return nil
}
