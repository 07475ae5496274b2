package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const segmentSuffix = ".journal"

// segmentInfo is what must be known of a segment to remove it.
type segmentInfo struct {
	path   string
	number int64
	size   int64
	last   int64     // its highest sequence number
	newest time.Time // when its last record was written
}

// note keeps what a record says of its segment.
func (s *segmentInfo) note(r record) {
	s.last = max(s.last, r.seq)
	if r.written.After(s.newest) {
		s.newest = r.written
	}
}

// segment is the one that is appended to.
type segment struct {
	segmentInfo
	file *os.File
	salt salt
	head int64 // bytes before the first record that is new
}

// newSegment is a segment that is not there yet, and what it begins with: its header and copies of the
// unfinished intents.
func newSegment(dir string, number int64, h header, carried []record) (s *segment, start []byte, err error) {
	if _, err := rand.Read(h.salt[:]); err != nil {
		return nil, nil, err
	}
	start = h.append(nil)
	s = &segment{
		segmentInfo: segmentInfo{path: segmentPath(dir, number), number: number},
		salt:        h.salt,
	}
	for _, r := range carried {
		if start, err = s.salt.appendRecord(start, r); err != nil {
			return nil, nil, err
		}
		s.note(r)
	}
	return s, start, nil
}

// create makes the segment in one write.
func (s *segment) create(start []byte) (err error) {
	if s.file, err = os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640); err != nil {
		return err
	}
	if err := s.write(start); err != nil {
		return errors.Join(err, s.file.Close(), os.Remove(s.path))
	}
	s.head = s.size
	return nil
}

// write appends p, whole or not at all: after an error the next write goes to the same place, and what
// was written of p is cut off if that can be done.
func (s *segment) write(p []byte) error {
	if _, err := s.file.WriteAt(p, s.size); err != nil {
		return errors.Join(err, s.file.Truncate(s.size))
	}
	s.size += int64(len(p))
	return nil
}

func segmentPath(dir string, number int64) string {
	return filepath.Join(dir, fmt.Sprintf("%012d%s", number, segmentSuffix))
}

// listSegments returns the segments of a directory, oldest first. Other files are left alone.
func listSegments(dir string) ([]segmentInfo, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []segmentInfo
	for _, f := range files {
		digits, ok := strings.CutSuffix(f.Name(), segmentSuffix)
		number, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || number <= 0 || !f.Type().IsRegular() {
			continue
		}
		all = append(all, segmentInfo{path: filepath.Join(dir, f.Name()), number: number})
	}
	slices.SortFunc(all, func(a, b segmentInfo) int { return int(a.number - b.number) })
	return all, nil
}

// Applied tells that the catalog has every request up to that sequence number. Segments that hold nothing
// newer are removed, oldest first, once they are a minute old and this journal is open for a minute: until
// then a reboot may need them. Where the journal is half full already, it does not wait for that, since
// refusing new intents would be worse.
func (j *Journal) Applied(upTo int64) error {
	if err := j.prune(upTo); err != nil {
		return fmt.Errorf("prune journal %s: %w", j.cfg.Dir, err)
	}
	return nil
}

func (j *Journal) prune(upTo int64) error {
	j.mu.Lock()
	last := j.spent(upTo)
	if last == 0 || j.current == nil {
		j.mu.Unlock()
		return nil
	}
	file, err := os.OpenFile(j.current.path, os.O_WRONLY, 0)
	j.mu.Unlock()
	if err != nil {
		return err
	}
	// The unfinished intents must be durable where they were copied to before the others go. This is a
	// file of its own, so that appending goes on meanwhile.
	if err := errors.Join(file.Sync(), file.Close(), syncDir(j.cfg.Dir)); err != nil {
		return err
	}
	return j.removeUpTo(last)
}

// spent is the number of the newest of the oldest segments that nobody needs; 0: none. j.mu is held.
func (j *Journal) spent(upTo int64) (number int64) {
	oldEnough := j.cfg.Now().Add(-recent)
	total := j.total()
	for _, s := range j.closed {
		young := j.opened.After(oldEnough) || s.newest.After(oldEnough)
		if s.last > upTo || young && total < j.bound()/2 {
			return number
		}
		number = s.number
		total -= s.size
	}
	return number
}

// removeUpTo removes segments, oldest first; several may do that at once.
func (j *Journal) removeUpTo(number int64) error {
	for {
		j.mu.Lock()
		if len(j.closed) == 0 || j.closed[0].number > number {
			j.mu.Unlock()
			return nil
		}
		oldest := j.closed[0]
		j.closed = j.closed[1:]
		j.mu.Unlock()
		if err := os.Remove(oldest.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
