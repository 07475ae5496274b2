package journal

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// ended is an intent that was answered.
type ended struct {
	intent Intent
	at     time.Time
}

// past is what segments say, read in their order.
type past struct {
	segments []segmentInfo
	live     map[int64]Intent
	requests []catalog.Request
	byBoot   map[string]*bootPast
	lastSeq  int64
	damaged  int
	newest   newest
}

// newest is what the newest segment says. It begins with all intents that were unfinished then, so that it
// alone tells which are.
type newest struct {
	salt     salt
	readable int64 // bytes from its beginning that can be read without a gap
	begun    map[int64]bool
}

// bootPast is what one boot of the host answered.
type bootPast struct {
	answered []ended
	newest   time.Time
}

func newPast() *past {
	return &past{live: make(map[int64]Intent), byBoot: make(map[string]*bootPast)}
}

func replayDir(dir string) (*past, error) {
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	p := newPast()
	for _, s := range segments {
		content, err := os.ReadFile(s.path)
		if err != nil {
			return nil, err
		}
		s.size = int64(len(content))
		p.replay(&s, content)
		p.segments = append(p.segments, s)
	}
	return p, nil
}

// replay adds one segment's records. What cannot be read is skipped.
func (p *past) replay(s *segmentInfo, content []byte) {
	h, at, err := parseHeader(content)
	p.newest = newest{salt: h.salt, begun: make(map[int64]bool)}
	if err != nil {
		if !errors.Is(err, errTorn) {
			p.damaged++
		}
		return
	}
	p.lastSeq = max(p.lastSeq, h.base)
	boot := p.byBoot[h.boot]
	if boot == nil {
		boot = &bootPast{}
		p.byBoot[h.boot] = boot
	}
	whole := true
	for at < len(content) {
		if whole {
			p.newest.readable = int64(at)
		}
		r, n, err := h.salt.parseRecord(content[at:])
		if err != nil {
			whole = false
			next := h.salt.nextRecord(content, at+1)
			if next < 0 {
				return
			}
			p.damaged++
			at = next
			continue
		}
		s.note(r)
		p.add(r, boot)
		at += n
	}
	if whole {
		p.newest.readable = int64(at)
	}
}

// nextRecord is where the next whole record begins, or -1.
func (s salt) nextRecord(content []byte, from int) int {
	for from < len(content) {
		i := bytes.Index(content[from:], s.mark())
		if i < 0 {
			return -1
		}
		from += i
		if _, _, err := s.parseRecord(content[from:]); err == nil {
			return from
		}
		from++
	}
	return -1
}

func (p *past) add(r record, boot *bootPast) {
	p.lastSeq = max(p.lastSeq, r.seq)
	if r.written.After(boot.newest) {
		boot.newest = r.written
	}
	switch r.kind {
	case kindBegin:
		p.live[r.seq] = r.intent
		p.newest.begun[r.seq] = true
	case kindAnswer:
		p.requests = append(p.requests, r.request)
		if i, ok := p.live[r.of]; ok {
			boot.answered = append(boot.answered, ended{intent: i, at: r.written})
		}
		delete(p.live, r.of)
	case kindDrop:
		delete(p.live, r.of)
	case kindKeep:
		if i, ok := p.live[r.of]; ok {
			i.Kept = r.kept
			p.live[r.of] = i
		}
	}
}

// doubt marks the unfinished intents of which the volume must stay: all of them, unless the witness confirms
// that nothing is missing.
func (p *past) doubt(w *witness) {
	complete := w.confirms(p.newest.salt, p.newest.readable)
	for seq, i := range p.live {
		if i.Kept == "" && (!complete || !p.newest.begun[seq]) {
			i.Kept = Unproved
			p.live[seq] = i
		}
	}
}

// recovered is what the process of that boot gets to know.
func (p *past) recovered(bootID string) Recovered {
	rec := Recovered{
		Unfinished: slices.SortedFunc(maps.Values(p.live), bySeq),
		Answered:   p.requests,
		LastSeq:    p.lastSeq,
		Damaged:    p.damaged,
	}
	for id, boot := range p.byBoot {
		if id == bootID {
			continue
		}
		for _, e := range boot.answered {
			if !e.at.Before(boot.newest.Add(-recent)) {
				rec.Recent = append(rec.Recent, e.intent)
			}
		}
	}
	slices.SortFunc(rec.Recent, bySeq)
	return rec
}

func bySeq(a, b Intent) int { return cmp.Compare(a.Seq, b.Seq) }
