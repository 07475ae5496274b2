package rawfile

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// writebackStep is how many bytes of a file are handed to the disk at once.
	writebackStep = 64 << 20
	// writebackLag is how far behind the foremost write that stays, since several goroutines write at
	// once: what is handed over with gaps in it becomes many extents, and each costs every clone.
	writebackLag = 32 << 20
)

// Writeback lets the kernel begin early with what a sync at the end waits for, so that the disk works
// while more is still to come. It is for a file that is written more or less from its beginning to its end,
// by several goroutines; its zero value is ready.
type Writeback struct {
	mu     sync.Mutex
	handed int64 // up to there
}

// Wrote notes that f was written up to end. It may wait for room in the disk's queue, and promises
// nothing: what must be durable is synced all the same, and an error shows there.
func (w *Writeback) Wrote(f *os.File, end int64) {
	if from, to := w.advance(end - writebackLag); to > from {
		_ = withDescriptor(f, func(fd int) error { return unix.SyncFileRange(fd, from, to-from, unix.SYNC_FILE_RANGE_WRITE) })
	}
}

// advance is the range that is to be handed over now, empty where there is too little of it.
func (w *Writeback) advance(end int64) (from, to int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from = w.handed
	w.handed = max(from, end-end%writebackStep)
	return from, w.handed
}
