package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
)

// baseFile is what a disk held before it was recorded.
const baseFile = "base"

// pieceBytes is what a disk writes whole or not at all.
const pieceBytes = 4 << 10

// Recording is what reached a disk from its first mount on.
type Recording struct {
	kind   fstest.Kind
	base   string
	events []event
	// spans are the stretches of events between two flushes, the flush that ends one left out.
	spans []span
}

// span is events[from:to]; all before from is durable.
type span struct{ from, to int }

func newRecording(kind fstest.Kind, base string, events []event) *Recording {
	r := &Recording{kind: kind, base: base, events: events}
	from := 0
	for i, e := range events {
		if e.kind == barrier {
			r.spans = append(r.spans, span{from, i})
			from = i + 1
		}
	}
	r.spans = append(r.spans, span{from, len(events)})
	return r
}

// Spans is how many stretches between two flushes there are.
func (r *Recording) Spans() int { return len(r.spans) }

// Marked tells whether there is a mark within a span.
func (r *Recording) Marked(n int) bool {
	for _, e := range r.events[r.spans[n].from:r.spans[n].to] {
		if e.kind == mark {
			return true
		}
	}
	return false
}

// Cut is a moment at which the power fails.
type Cut struct {
	span   int
	at     int     // events before this one have happened
	keeps  float64 // the part of the pieces since the last flush that reached the disk all the same
	random uint64
}

func (c Cut) String() string {
	return fmt.Sprintf("span %d, event %d, keeping %.0f %% of what was not flushed (seed %d)", c.span, c.at, 100*c.keeps, c.random)
}

// Harshest is the last moment of a span, of which nothing has reached the disk: whatever was answered
// in it must rest upon the flushes before it.
func (r *Recording) Harshest(n int) Cut { return Cut{span: n, at: r.spans[n].to} }

// Random is any moment of a span, of which any part has reached the disk.
func (r *Recording) Random(n int, seed uint64) Cut {
	random, s := rand.New(rand.NewPCG(seed, 1)), r.spans[n]
	keeps := []float64{0.1, 0.5, 0.9, 1}[random.IntN(4)]
	return Cut{span: n, at: s.from + random.IntN(s.to-s.from+1), keeps: keeps, random: seed}
}

// At is the moment after a mark, of which any part of what was not flushed has reached the disk; with an even seed,
// none.
func (r *Recording) At(text []byte, seed uint64) (Cut, error) {
	for n, s := range r.spans {
		for i, e := range r.events[s.from:s.to] {
			if e.kind != mark || !bytes.Equal(e.data, text) {
				continue
			}
			c := Cut{span: n, at: s.from + i + 1, random: seed}
			if seed%2 == 1 {
				c.keeps = r.Random(n, seed).keeps
			}
			return c, nil
		}
	}
	return Cut{}, fmt.Errorf("nothing was marked as %q", text)
}

// Marks are the texts that were marked before the power failed, in order.
func (r *Recording) Marks(c Cut) [][]byte {
	var marks [][]byte
	for _, e := range r.events[:c.at] {
		if e.kind == mark {
			marks = append(marks, e.data)
		}
	}
	return marks
}

// Deaf is the recording of a disk that says it has flushed, and has not, from span n on. What follows is
// one span, so it has one more than n.
func (r *Recording) Deaf(n int) *Recording {
	kept := append([]event(nil), r.events[:r.spans[n].from]...)
	for _, e := range r.events[r.spans[n].from:] {
		if e.kind != barrier {
			kept = append(kept, e)
		}
	}
	return newRecording(r.kind, r.base, kept)
}

// Replay boots one cut after the other.
type Replay struct {
	r      *Recording
	dir    string // the mount
	image  string
	work   string
	disk   *os.File // what is durable before event `done`
	done   int
	device string
}

// Replay prepares to boot cuts of the recording until the test ends.
func (r *Recording) Replay(tb testing.TB) *Replay {
	tb.Helper()
	work, err := os.MkdirTemp("", "powerloss-")
	check(tb, err)
	p := &Replay{r: r, work: work, dir: filepath.Join(work, "mnt"), image: filepath.Join(work, "image")}
	tb.Cleanup(func() { p.abandon(tb) })
	check(tb, os.Mkdir(p.dir, 0o755))
	check(tb, copySparse(filepath.Join(work, diskFile), r.base))
	p.disk, err = os.OpenFile(filepath.Join(work, diskFile), os.O_RDWR, 0)
	check(tb, err)
	return p
}

// Boot mounts what the disk holds after the power failed at c, and returns where. Cuts come in the order
// of their spans. An error of the filesystem's is what the test is about, so it is returned.
func (p *Replay) Boot(c Cut) (dir string, err error) {
	if c.span >= len(p.r.spans) || p.r.spans[c.span].from < p.done {
		return "", fmt.Errorf("%s is not after the cut before it", c)
	}
	for ; p.done < p.r.spans[c.span].from; p.done++ {
		if e := p.r.events[p.done]; e.kind == write {
			if _, err := p.disk.WriteAt(e.data, e.offset); err != nil {
				return "", err
			}
		}
	}
	if err := copySparse(p.image, p.disk.Name()); err != nil {
		return "", err
	}
	if err := p.survive(c); err != nil {
		return "", err
	}
	p.device, err = mountImage(p.r.kind, p.image, p.dir)
	return p.dir, err
}

// survive writes what was not flushed and reached the disk all the same.
func (p *Replay) survive(c Cut) error {
	image, err := os.OpenFile(p.image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(c.random, 2))
	for _, e := range p.r.events[p.r.spans[c.span].from:c.at] {
		if e.kind != write {
			continue
		}
		for off := 0; off < len(e.data); off += pieceBytes {
			if random.Float64() >= c.keeps {
				continue
			}
			if _, err := image.WriteAt(e.data[off:min(off+pieceBytes, len(e.data))], e.offset+int64(off)); err != nil {
				return errors.Join(err, image.Close())
			}
		}
	}
	return image.Close()
}

// Halt unmounts what Boot has mounted.
func (p *Replay) Halt() error {
	device := p.device
	p.device = ""
	return unmount(p.r.kind, device, p.dir)
}

func (p *Replay) abandon(tb testing.TB) {
	if p.device != "" && p.Halt() != nil {
		_ = unix.Unmount(p.dir, unix.MNT_DETACH)
	}
	if p.disk != nil {
		_ = p.disk.Close()
	}
	if err := os.RemoveAll(p.work); err != nil {
		tb.Error(err)
	}
}
