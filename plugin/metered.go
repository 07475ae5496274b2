package plugin

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
)

const (
	// growBy is the step in which a fill's reservation grows where nobody has to go for it.
	growBy = 64 << 20
	// growLittle is the largest of the steps where there is not so much room, growLeast the smallest.
	growLittle = 1 << 20
	growLeast  = 16 << 10
)

// meteredStage grows the fill's reservation before its stage comes to occupy more: what is held never
// exceeds what is counted (invariant I7). It may be written from several goroutines, as a Stage may.
type meteredStage struct {
	backends.ImageVolumeStage
	w    *filling
	ctx  context.Context // of the fill: a WriterAt has no other way to be cancelled
	size int64           // of the image-volume
	disk int64           // of the disk in it, which may end within the last block

	reserved atomic.Int64
	writing  atomic.Int64 // nanoseconds that writes took, of several at once the sum
	growing  sync.Mutex
	sum      contentSum
}

// WriteAt writes; the stage asks for the room that it takes.
func (m *meteredStage) WriteAt(b []byte, off int64) (n int, err error) {
	m.addSum(b, off)
	begun := time.Now()
	defer func() { m.writing.Add(int64(time.Since(begun))) }()
	err = m.w.fl.stock.withSpace(m.ctx, m.w.store, m.rest(), func() error {
		n, err = m.ImageVolumeStage.WriteAt(b, off)
		return err
	})
	return n, err
}

// addSum adds what is written to the sum. The disk's last block is added as it reads afterwards: with
// zeroes behind the disk's end.
func (m *meteredStage) addSum(b []byte, off int64) {
	end := off + int64(len(b))
	tail := int(end % sumBlock)
	if end != m.disk || end == m.size || tail == 0 || tail > len(b) {
		m.sum.add(b, off, m.size)
		return
	}
	whole := len(b) - tail
	m.sum.add(b[:whole], off, m.size)
	var last [sumBlock]byte
	copy(last[:], b[whole:])
	m.sum.add(last[:], off+int64(whole), m.size)
}

// Commit writes down the sum of what was written with the image-volume, for check --deep.
func (m *meteredStage) Commit(ctx context.Context, d backends.Description) (v backends.ImageVolume, err error) {
	d.ContentSum = m.sum.String()
	err = m.w.fl.stock.withSpace(ctx, m.w.store, m.rest(), func() error {
		v, err = m.ImageVolumeStage.Commit(ctx, d)
		return err
	})
	return v, err
}

// rest is what is reserved and not written yet.
func (m *meteredStage) rest() spaceWanted {
	return spaceWanted{bytes: max(0, m.reserved.Load()-m.HeldBytes())}
}

// room is the stage's backends.Room. makeRoom waits for evictions, and that is what writers must wait for.
func (m *meteredStage) room(need, ample int64) (granted int64, err error) {
	if r := m.reserved.Load(); ample <= r {
		return r, nil
	}
	m.growing.Lock()
	defer m.growing.Unlock()
	defer func() { m.reserved.Store(m.w.berth.bytes) }()
	if err := m.grow(need, ample); err != nil {
		return 0, err
	}
	return m.w.berth.bytes, nil
}

// grow reserves need bytes at least. Others go for just that; what is reserved beyond costs nobody.
func (m *meteredStage) grow(need, ample int64) error {
	if ample <= m.w.berth.bytes {
		return nil
	}
	if err := m.growFreely(need, ample); err != nil || need <= m.w.berth.bytes {
		return err
	}
	err := m.w.berth.makeRoom(m.ctx, need, evicting)
	if short := (*lru.Shortage)(nil); errors.As(err, &short) && errors.Is(err, lru.ErrTooLarge) {
		m.w.berth.outgrown(short.Need)
	}
	if err != nil {
		return err
	}
	return m.growFreely(need, ample)
}

// growFreely reserves as much as there is room for without anybody going: each time is a transaction. An
// error is another one than that there is none.
func (m *meteredStage) growFreely(need, ample int64) error {
	steps := []int64{max(ample, min(need+growBy, max(need, m.size))), ample}
	for more := int64(growLittle); more >= growLeast; more /= 4 {
		steps = append(steps, need+more)
	}
	for _, bytes := range append(steps, need) {
		if bytes <= m.w.berth.bytes {
			return nil
		}
		if err := m.w.berth.makeRoom(m.ctx, bytes, evictNobody); !errors.Is(err, errWouldEvict) {
			return err
		}
	}
	return nil
}

// outsized remembers which images turned out to need more than their store may hold, so that they are not
// read each time to find that out. The zero value is ready.
type outsized struct {
	mu    sync.Mutex
	bytes map[catalog.Key]int64
}

// mostOutsized bounds how many are remembered.
const mostOutsized = 1000

// needs is how many bytes the image of that key is known to need at least.
func (o *outsized) needs(key catalog.Key) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes[key]
}

func (o *outsized) note(key catalog.Key, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes == nil || len(o.bytes) >= mostOutsized {
		o.bytes = make(map[catalog.Key]int64)
	}
	o.bytes[key] = bytes
}
