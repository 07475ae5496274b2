// Package allot counts what a content that is being written occupies, in the unit in which its store
// gives out space, and asks for room before that grows. Backends count their stages with it, so that what
// is counted is never less than what is held. It does no I/O.
package allot

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/clonecache/clonecache/backends"
)

// Count is the count of one content. It may be used from several goroutines.
type Count struct {
	config Config

	mu      sync.Mutex // held while room is asked, so that nobody takes what another one waits for
	chunks  map[int64]*chunk
	granted int64
	extents int64
	spare   int64        // bytes of what was set aside and not needed yet
	bytes   atomic.Int64 // of all
}

// chunkUnits is how many units a chunk tells of: 16 MiB of blocks of 4 KiB in a KiB.
const chunkUnits = 4096

// words are a bit for each unit of a chunk.
type words [chunkUnits / 64]uint64

// chunk tells which of some neighbouring units are occupied, and which of those are needed.
type chunk struct{ held, needed words }

// Config says how a store gives out space.
type Config struct {
	UnitBytes   int64         // > 0: what it gives out at once
	ExtentBytes int64         // what it notes of each range that has no neighbour before it; 0: nothing that counts
	Room        backends.Room // nil: there is room for all
	// GiveBack gives up what was set aside and is not needed, before anybody has to go for what is.
	GiveBack func([]Range)
}

// New counts a content of which nothing is written.
func New(c Config) *Count { return &Count{config: c, chunks: map[int64]*chunk{}} }

// Unit is what the store gives out at once, in bytes.
func (c *Count) Unit() int64 { return c.config.UnitBytes }

// Bytes is what the content occupies at most.
func (c *Count) Bytes() int64 { return c.bytes.Load() }

// Range is a part of the content, in bytes.
type Range struct{ From, To int64 }

// Take counts need, after room was asked for it. It counts ample instead, which contains need, where there
// is room for that without anybody having to go. The error is the room's; nothing was counted then.
func (c *Count) Take(need, ample Range) (got Range, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes, extents := c.fresh(ample); c.may(bytes) {
		c.mark(need, ample, bytes, extents)
		return ample, nil
	}
	bytes, extents := c.fresh(need)
	if c.bytes.Load()+bytes > c.granted && c.spare > 0 {
		c.giveBack()
		bytes, extents = c.fresh(need)
	}
	if total := c.bytes.Load() + bytes; total > c.granted {
		granted, err := c.config.Room(total, total)
		if err != nil {
			return Range{}, err
		}
		c.granted = max(c.granted, granted)
	}
	c.mark(need, need, bytes, extents)
	return need, nil
}

// may tells whether so many bytes more are granted, without anybody having to go.
func (c *Count) may(bytes int64) bool {
	total := c.bytes.Load() + bytes
	if c.config.Room == nil || total <= c.granted {
		return true
	}
	granted, err := c.config.Room(c.granted, total)
	if err != nil {
		return false
	}
	c.granted = max(c.granted, granted)
	return total <= c.granted
}

// giveBack gives back what was set aside and is not needed. What was noted of its extents stays.
func (c *Count) giveBack() {
	var back []Range
	for number, in := range c.chunks {
		for w := range in.held {
			for spare := in.held[w] &^ in.needed[w]; spare != 0; spare &= spare - 1 {
				unit := number*chunkUnits + int64(w*64+bits.TrailingZeros64(spare))
				back = append(back, Range{unit * c.config.UnitBytes, (unit + 1) * c.config.UnitBytes})
			}
			in.held[w] &= in.needed[w]
		}
	}
	c.bytes.Add(-c.spare)
	c.spare = 0
	if c.config.GiveBack != nil {
		c.config.GiveBack(merged(back))
	}
}

// merged are ranges in order, with neighbours in one.
func merged(all []Range) []Range {
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	var out []Range
	for _, r := range all {
		if n := len(out); n > 0 && out[n-1].To == r.From {
			out[n-1].To = r.To
		} else {
			out = append(out, r)
		}
	}
	return out
}

// fresh is how many bytes a range would add, and how many extents.
func (c *Count) fresh(r Range) (bytes, extents int64) {
	first, end := c.units(r)
	if first >= end {
		return 0, 0
	}
	fresh := end - first - c.known(first, end)
	if fresh > 0 && !c.taken(first) && (first == 0 || !c.taken(first-1)) {
		extents = 1
	}
	return fresh*c.Unit() + c.noted(c.extents+extents) - c.noted(c.extents), extents
}

// known is how many of the units in [first, end) are occupied.
func (c *Count) known(first, end int64) (known int64) {
	c.walk(first, end, func(in *chunk, word int64, mask uint64) {
		known += int64(bits.OnesCount64(in.held[word] & mask))
	})
	return known
}

// noted is what the store needs to note so many extents, in whole units.
func (c *Count) noted(extents int64) int64 {
	return (extents*c.config.ExtentBytes + c.Unit() - 1) / c.Unit() * c.Unit()
}

// mark counts all, of which need is needed: so many bytes and extents.
func (c *Count) mark(need, all Range, bytes, extents int64) {
	first, end := c.units(all)
	for unit := first; unit < end; unit = (unit/chunkUnits + 1) * chunkUnits {
		if c.chunks[unit/chunkUnits] == nil {
			c.chunks[unit/chunkUnits] = &chunk{}
		}
	}
	c.walk(first, end, func(in *chunk, word int64, mask uint64) {
		c.spare += int64(bits.OnesCount64(mask&^in.held[word])) * c.Unit()
		in.held[word] |= mask
	})
	first, end = c.units(need)
	c.walk(first, end, func(in *chunk, word int64, mask uint64) {
		c.spare -= int64(bits.OnesCount64(mask&^in.needed[word])) * c.Unit()
		in.needed[word] |= mask
	})
	c.extents += extents
	c.bytes.Add(bytes)
}

// units are those that a range touches: [first, end).
func (c *Count) units(r Range) (first, end int64) {
	if r.From >= r.To {
		return 0, 0
	}
	return r.From / c.Unit(), (r.To + c.Unit() - 1) / c.Unit()
}

func (c *Count) taken(unit int64) bool {
	in := c.chunks[unit/chunkUnits]
	return in != nil && in.held[unit%chunkUnits/64]&(1<<(unit%64)) != 0
}

// walk visits the words of the units in [first, end) in the chunks that there are, with the bits that are meant.
func (c *Count) walk(first, end int64, visit func(in *chunk, word int64, mask uint64)) {
	for unit := first; unit < end; {
		in := c.chunks[unit/chunkUnits]
		if in == nil {
			unit = (unit/chunkUnits + 1) * chunkUnits
			continue
		}
		from := unit % 64
		n := min(64-from, end-unit)
		visit(in, unit%chunkUnits/64, ^uint64(0)>>(64-n)<<from)
		unit += n
	}
}
