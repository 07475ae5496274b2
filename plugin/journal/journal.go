// Package journal is the local, append-only file of what was about to be done and what was answered.
//
// Before a volume is cloned, copied or cloned directly, its intent is appended; afterwards the answer
// is, which ends the intent. Nothing is synced: a record survives kill -9 once its write(2) returned, and
// may be lost with the machine's power. So after a crash Open tells which volumes may be half made, and
// which answers the catalog, written behind, may not have counted yet; after a reboot it also names the
// last minute's volumes, which are to be looked at again. The package never touches a volume or the
// catalog.
//
// # Files
//
// A directory of segments, NUMBER.journal (decimal, counting up). Open and every rotation begin a new
// one, so that no segment is appended to after a crash. Integers are little-endian, varints as in
// encoding/binary, texts a uvarint length and their bytes, times a varint of seconds since 1970 UTC and a
// uvarint of nanoseconds.
//
//	segment = magic "ccjrnl1\n", salt [8], base u64, boot text, crc u32, record...
//	record  = mark [4], length u32, crc u32, body [length]
//	body    = seq u64, written time, kind u8, fields
//	begin   'B': op, backend, volume spec, at, deadline
//	answer  'A': varint intent (0: none), request
//	drop    'D': varint intent
//	keep    'K': varint intent, text why
//
// A request ends in volume and detail, or before them where an earlier version wrote it. An intent whose
// volume stays ends in a text that says why.
//
// The salt is random, mark is its first half, and every checksum (CRC-32C) covers the salt too, so that
// no text inside a record passes for a record. base is a sequence number below all that are new in the
// segment. A segment starts with copies of the intents that were unfinished when it was begun; therefore
// the oldest segments can go without a look into them. A checksum that does not match ends the segment
// where no record follows (a tear); otherwise what lies between is skipped and counted as damage.
//
// # What an unfinished intent proves
//
// That nobody was told of its volume, if nothing of the journal is missing. A journal that lost its end with
// the power, that was restored from an older copy, or that is damaged looks like one that never had more. So
// a witness in the host's memory, which each record is noted in, goes with it: only where the witness
// confirms the newest segment does Open hand out an intent that is not kept.
package journal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

var (
	// ErrFull: the catalog has taken nothing for so long that the journal reached its bound.
	ErrFull = errors.New("journal is full")
	// ErrClosed: the journal is closed.
	ErrClosed = errors.New("journal is closed")
	// ErrTooLong: a record would be longer than 64 KiB.
	ErrTooLong = errors.New("record is too long")
)

const (
	defaultMaxBytes = 4 << 20
	// maxSegments bounds the journal on disk, in segments of Config.MaxBytes.
	maxSegments = 16
	// recent is how long answered intents are kept for a look after a reboot: longer than Linux keeps
	// written data in memory (vm.dirty_expire_centisecs and dirty_writeback_centisecs: 35 s).
	recent     = time.Minute
	bootIDFile = "/proc/sys/kernel/random/boot_id"
)

// Op is what was intended.
type Op string

// The ops.
const (
	Clone  Op = "clone"
	Copy   Op = "copy"
	Direct Op = "direct"
)

// Intent is a volume about to be made.
type Intent struct {
	Seq int64 // set by Begin
	At  time.Time
	Op  Op
	// Store is the backend's own ID, whatever it is called; "": an earlier version wrote the record.
	Store    backends.StoreID
	Backend  backends.Name // what it was called
	Spec     backends.VolumeSpec
	Deadline time.Time // zero: none
	// Kept says why a whole volume of it stays; "": it need not. Set by Keep and by Open; Begin ignores it.
	Kept Kept
}

// Kept is why a volume stays. The words are stable.
type Kept string

const (
	// Unanswered: its requester was not answered, and may ask again.
	Unanswered Kept = "unanswered"
	// Unproved: nothing proves that its requester was not answered.
	Unproved Kept = "unproved"
	// InUse: its requester was not told of it, and it is in use all the same.
	InUse Kept = "in_use"
)

// Config opens a journal.
type Config struct {
	Dir      string           // made if it is not there; for one Journal at a time
	MaxBytes int64            // a new segment is begun at; 0: 4 MiB. 16 times that bound the directory
	Now      func() time.Time // nil: time.Now
	BootID   string           // of the running kernel; "": read from /proc
	Memory   string           // a tmpfs, for what a reboot is to forget; "": /dev/shm
}

// Recovered is what an earlier process left.
type Recovered struct {
	// Unfinished intents were begun, and neither answered nor dropped. They stay unfinished until Answer
	// or Drop, also over another crash. One that is not kept was certainly not answered: an earlier process
	// of this boot began it, and nothing of the journal is missing.
	Unfinished []Intent
	// Recent intents were answered by an earlier boot of the host, within the minute before its newest
	// record.
	Recent []Intent
	// Answered requests are all that the files still hold, in order; the catalog skips those that it has.
	Answered []catalog.Request
	LastSeq  int64 // the highest sequence number in use
	Damaged  int   // stretches in the middle of segments, and segments, that could not be read
}

// Journal is open for appending. It may be used from several goroutines.
type Journal struct {
	cfg    Config
	opened time.Time

	mu      sync.Mutex
	err     error // why nothing can be appended any more
	seq     int64 // the last one in use
	live    map[int64]Intent
	pending pending // answered since the last Take
	current *segment
	closed  []segmentInfo // oldest first
	buf     []byte
	witness *witness
}

// Open reads what an earlier process left in the directory, and begins a new segment. What cannot be read
// is left out and counted in Recovered.Damaged; only errors of the filesystem fail.
func Open(cfg Config) (*Journal, Recovered, error) {
	j, rec, err := open(cfg)
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("open journal %s: %w", cfg.Dir, err)
	}
	return j, rec, nil
}

func open(cfg Config) (*Journal, Recovered, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, Recovered{}, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, Recovered{}, err
	}
	past, err := replayDir(cfg.Dir)
	if err != nil {
		return nil, Recovered{}, err
	}
	w := openWitness(cfg.Memory, cfg.Dir, cfg.BootID)
	past.doubt(w)
	rec := past.recovered(cfg.BootID)
	j := &Journal{
		cfg:     cfg,
		opened:  cfg.Now(),
		seq:     past.lastSeq,
		live:    past.live,
		closed:  past.segments,
		witness: w,
	}
	return j, rec, j.rotate()
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Dir == "" {
		return cfg, errors.New("no directory")
	}
	if cfg.MaxBytes < 0 {
		return cfg, fmt.Errorf("a negative size to rotate at: %d", cfg.MaxBytes)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Memory == "" {
		cfg.Memory = memoryDir
	}
	if cfg.BootID == "" {
		id, err := os.ReadFile(bootIDFile)
		if err != nil {
			return cfg, err
		}
		cfg.BootID = strings.TrimSpace(string(id))
	}
	return cfg, nil
}

// SetFloor lets new sequence numbers begin above seq. It is for what the catalog has applied, which may
// be more than the journal knows after a loss of power. It never lowers them.
func (j *Journal) SetFloor(seq int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq = max(j.seq, seq)
}

// Close makes what was appended durable and ends the journal. Repeating it is harmless.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.current == nil {
		return nil
	}
	err := errors.Join(j.current.file.Sync(), j.current.file.Close(), j.witness.close(len(j.live) == 0))
	j.current, j.err = nil, ErrClosed
	if err != nil {
		return fmt.Errorf("close journal %s: %w", j.cfg.Dir, err)
	}
	return nil
}
