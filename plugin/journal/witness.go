package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// memoryDir is where Linux keeps files in memory alone: a kill leaves them, the end of the boot does not.
const memoryDir = "/dev/shm"

// witnessMagic begins a witness.
const witnessMagic = "ccwtns1\n"

// A witness is a small file in the host's memory that says how far the journal had come. The journal alone
// cannot say whether it is complete: it may lack its end after a loss of power, be an older copy that
// somebody restored, or be damaged. A witness of this boot that names the journal's newest segment, by its
// random salt, and no more bytes than are there and can be read, proves that nothing of it is missing.
//
// Without a witness (no tmpfs, another boot, another state_dir, a write that failed) nothing is proved, and
// nothing is wrong.
type witness struct {
	path string
	file *os.File
	boot string
	// now is the segment that is appended to; next is one that is about to be made, zero at other times.
	now, next testimony
	voided    bool
	buf       []byte
}

// testimony is how long a segment is at least.
type testimony struct {
	salt salt
	size int64
}

// WitnessPath is where the witness of the journal in dir is, below Config.Memory ("": /dev/shm): it goes by
// the directory and by the user that writes it.
func WitnessPath(memory, dir string) (string, error) {
	if memory == "" {
		memory = memoryDir
	}
	whole, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(whole))
	return filepath.Join(memory, fmt.Sprintf("clonecache-%d-%x", os.Geteuid(), sum[:16])), nil
}

// openWitness opens the witness of a journal's directory. A nil witness testifies to nothing: where there is
// no memory for one, or somebody else's file is in its place.
func openWitness(memory, dir, boot string) *witness {
	path, err := WitnessPath(memory, dir)
	if err != nil || !inMemory(memory) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil
	}
	if !ownFile(f) {
		_ = f.Close()
		return nil
	}
	w := &witness{path: path, file: f, boot: boot}
	w.read()
	return w
}

// inMemory tells whether a directory's files end with the boot.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && (st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC)
}

// ownFile tells whether only this user can have written a file.
func ownFile(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && st.Nlink == 1
}

// read reads what an earlier process of this boot has testified, if anything.
func (w *witness) read() {
	raw := make([]byte, 512)
	n, _ := w.file.ReadAt(raw, 0) // what is short is none
	d := decoder{p: raw[:n]}
	if string(d.take(len(witnessMagic))) != witnessMagic {
		return
	}
	boot, now, next := d.text(maxBootID), d.testimony(), d.testimony()
	length := n - len(d.p)
	sum := d.take(4)
	if d.err != nil || boot != w.boot || binary.LittleEndian.Uint32(sum) != crc32.Checksum(raw[:length], castagnoli) {
		return
	}
	w.now, w.next = now, next
}

func (d *decoder) testimony() testimony {
	var t testimony
	copy(t.salt[:], d.take(len(t.salt)))
	if p := d.take(8); p != nil {
		t.size = int64(binary.LittleEndian.Uint64(p))
	}
	return t
}

// confirms tells whether the segment is the one that was last appended to, with all that it held.
func (w *witness) confirms(s salt, readable int64) bool {
	if w == nil {
		return false
	}
	for _, t := range []testimony{w.now, w.next} {
		if t.size > 0 && t.salt == s && readable >= t.size {
			return true
		}
	}
	return false
}

// announce testifies that a segment is about to be made, of that size.
func (w *witness) announce(s salt, size int64) {
	if w != nil {
		w.next = testimony{s, size}
		w.write()
	}
}

// begun testifies that the segment was made: it says all that there is to say.
func (w *witness) begun(s salt, size int64) {
	if w != nil {
		w.now, w.next, w.voided = testimony{s, size}, testimony{}, false
		w.write()
	}
}

// grew testifies how long the segment is that is appended to.
func (w *witness) grew(s salt, size int64) {
	if w != nil && !w.voided {
		w.now = testimony{s, size}
		w.write()
	}
}

// void takes the testimony back until the next segment begins: the journal lacks a record.
func (w *witness) void() {
	if w != nil {
		w.now, w.next, w.voided = testimony{}, testimony{}, true
		w.write()
	}
}

// write is one small write(2) into memory, which a kill does not tear. A witness that cannot be written
// must not go on saying what it said.
func (w *witness) write() {
	if w.file == nil {
		return
	}
	w.buf = append(w.buf[:0], witnessMagic...)
	w.buf = appendText(w.buf, w.boot)
	for _, t := range []testimony{w.now, w.next} {
		w.buf = append(w.buf, t.salt[:]...)
		w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(t.size))
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf, crc32.Checksum(w.buf, castagnoli))
	if _, err := w.file.WriteAt(w.buf, 0); err != nil {
		_ = w.close(true) // nothing is testified without it
	}
}

// close ends the use of the witness; where there is nothing left that it could be asked about, it goes.
func (w *witness) close(remove bool) error {
	if w == nil || w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	if remove {
		if gone := os.Remove(w.path); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}
