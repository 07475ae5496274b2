package journal

import (
	"fmt"
	"maps"
	"slices"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// Begin appends an intent, before anything is done about it. i.Seq is ignored; a zero i.At is now. After
// an error the intent is not known, and nothing may be done. ErrFull, ErrTooLong, ErrClosed, or the
// filesystem's error (no space left).
func (j *Journal) Begin(i Intent) (seq int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.cfg.Now()
	i.Kept = ""
	if i.At.IsZero() {
		i.At = now
	}
	if j.total() >= j.bound() {
		err = ErrFull
	} else {
		seq, err = j.append(record{written: now, kind: kindBegin, intent: i})
	}
	if err != nil {
		return 0, fmt.Errorf("begin %s of volume %s: %w", i.Op, i.Spec.Name, err)
	}
	i.Seq = seq
	j.live[seq] = i
	return seq, nil
}

// Answer ends the intent, if any (0: none), and records the request, which it returns with its Seq. An
// error says that this does not survive a kill; for this process the intent is ended and the request is
// taken all the same: after a kill the intent is settled again, which is harmless. Where the journal is
// full, only answers that end an intent are still written: ErrFull for the others.
func (j *Journal) Answer(intentSeq int64, r catalog.Request) (catalog.Request, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var seq int64
	err := ErrFull
	_, ends := j.live[intentSeq]
	if ends || j.total() < j.bound() {
		seq, err = j.append(record{written: j.cfg.Now(), kind: kindAnswer, of: intentSeq, request: r})
	}
	if err != nil {
		if ends {
			j.witness.void()
		}
		j.seq++
		seq = j.seq
		err = fmt.Errorf("record answer for image %s: %w", r.ImageID, err)
	}
	delete(j.live, intentSeq)
	r.Seq = seq
	j.pending.add(r)
	return r, err
}

// Drop ends an intent that came to nothing, or was settled. One that is not known is harmless. An error
// means what it means for Answer.
func (j *Journal) Drop(intentSeq int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.live[intentSeq]; !ok {
		return nil
	}
	delete(j.live, intentSeq)
	if _, err := j.append(record{written: j.cfg.Now(), kind: kindDrop, of: intentSeq}); err != nil {
		j.witness.void()
		return fmt.Errorf("drop intent %d: %w", intentSeq, err)
	}
	return nil
}

// Keep notes that a whole volume of that intent stays, whatever happens; the intent stays unfinished. One
// that is not known is harmless. An error says that this is not on disk; after a kill the volume stays all
// the same, since then nothing proves that the journal is complete.
func (j *Journal) Keep(intentSeq int64, why Kept) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	i, ok := j.live[intentSeq]
	if !ok || i.Kept == why {
		return nil
	}
	i.Kept = why
	j.live[intentSeq] = i
	if _, err := j.append(record{written: j.cfg.Now(), kind: kindKeep, of: intentSeq, kept: why}); err != nil {
		j.witness.void()
		return fmt.Errorf("keep the volume of intent %d: %w", intentSeq, err)
	}
	return nil
}

// Take returns the requests that were answered since the last Take, for catalog.Record, and the sequence
// number that they go up to: what is answered later has a higher one. Where very many wait, because the
// catalog takes none, some stand for several requests (Times).
func (j *Journal) Take() (requests []catalog.Request, upTo int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	requests, j.pending.requests = j.pending.requests, nil
	return requests, j.seq
}

// PutBack returns what the last Take gave and the catalog did not take, for the next Take.
func (j *Journal) PutBack(requests []catalog.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending.putBack(requests)
}

// append gives the record the next sequence number and writes it. A number is never used twice, also
// where the write failed. j.mu is held.
func (j *Journal) append(r record) (int64, error) {
	if j.err != nil {
		return 0, j.err
	}
	if err := j.makeRoom(); err != nil {
		return 0, err
	}
	j.seq++
	r.seq = j.seq
	var err error
	if j.buf, err = j.current.salt.appendRecord(j.buf[:0], r); err != nil {
		return 0, err
	}
	if err := j.current.write(j.buf); err != nil {
		return 0, err
	}
	j.current.note(r)
	j.witness.grew(j.current.salt, j.current.size)
	return r.seq, nil
}

// makeRoom begins a new segment where the current one is full. If that cannot be done the current one
// goes on to twice its size. j.mu is held.
func (j *Journal) makeRoom() error {
	written := j.current.size - j.current.head
	if written < j.cfg.MaxBytes {
		return nil
	}
	if err := j.rotate(); err != nil && written >= 2*j.cfg.MaxBytes {
		return err
	}
	return nil
}

// rotate begins a new segment with the unfinished intents. The one before is left as it is. j.mu is held.
func (j *Journal) rotate() error {
	number := int64(1)
	if j.current != nil {
		number = j.current.number + 1
	} else if n := len(j.closed); n > 0 {
		number = j.closed[n-1].number + 1
	}
	now := j.cfg.Now()
	var carried []record
	for _, seq := range slices.Sorted(maps.Keys(j.live)) {
		carried = append(carried, record{seq: seq, written: now, kind: kindBegin, intent: j.live[seq]})
	}
	next, start, err := newSegment(j.cfg.Dir, number, header{base: j.seq, boot: j.cfg.BootID}, carried)
	if err != nil {
		return err
	}
	j.witness.announce(next.salt, int64(len(start)))
	if err := next.create(start); err != nil {
		return err
	}
	j.witness.begun(next.salt, next.size)
	if j.current != nil {
		j.closed = append(j.closed, j.current.segmentInfo)
		j.current.file.Close() // nothing is buffered: there is nothing to lose
	}
	j.current = next
	return nil
}

// bound is how much the journal may occupy before Begin refuses.
func (j *Journal) bound() int64 { return maxSegments * j.cfg.MaxBytes }

// total is what the journal occupies. j.mu is held.
func (j *Journal) total() int64 {
	var total int64
	for _, s := range j.closed {
		total += s.size
	}
	if j.current != nil {
		total += j.current.size
	}
	return total
}
