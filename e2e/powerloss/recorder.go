package powerloss

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// recorderEnv names the directory of a recorder, to the process that is to be it.
const recorderEnv = "POWERLOSS_RECORDER"

// Files in a recorder's directory.
const (
	diskFile  = "disk"  // what the disk holds
	logFile   = "log"   // how it came to that
	mountDir  = "fuse"  // the served files: diskFile, marksFile
	marksFile = "marks" // each write to it is one mark
)

// serveRecorder is the recorder's process. It says on standard output that it is ready, and serves until
// its standard input ends, as it does when the process that started it dies.
func serveRecorder() int {
	if err := record(os.Getenv(recorderEnv)); err != nil {
		fmt.Fprintln(os.Stderr, "recorder:", err)
		return 1
	}
	return 0
}

func record(dir string) error {
	disk, err := os.OpenFile(filepath.Join(dir, diskFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, logFile))
	if err != nil {
		return err
	}
	t := &tape{disk: disk, log: log}
	server, err := fs.Mount(filepath.Join(dir, mountDir), &rootNode{tape: t}, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "powerloss", DirectMount: true, MaxWrite: 1 << 20, DisableXAttrs: true,
	}})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Unmount(); err != nil {
		return err
	}
	return t.err
}

// tape writes down, in one order, what is done to the disk.
type tape struct {
	mu   sync.Mutex
	disk *os.File
	log  *os.File
	buf  []byte
	err  error // the first one: the log is of no use then
}

// add does what e says to the disk and writes it down.
func (t *tape) add(e event) syscall.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.err
	if err == nil && e.kind == write {
		_, err = t.disk.WriteAt(e.data, e.offset)
	}
	if err == nil {
		t.buf = e.appendTo(t.buf[:0])
		_, err = t.log.Write(t.buf)
	}
	if err != nil {
		t.err = err
		return syscall.EIO
	}
	return 0
}

// rootNode is the served directory.
type rootNode struct {
	fs.Inode
	tape *tape
}

var _ fs.NodeOnAdder = (*rootNode)(nil)

func (r *rootNode) OnAdd(ctx context.Context) {
	for name, node := range map[string]fs.InodeEmbedder{
		diskFile: &diskNode{tape: r.tape}, marksFile: &marksNode{tape: r.tape},
	} {
		r.AddChild(name, r.NewPersistentInode(ctx, node, fs.StableAttr{Mode: syscall.S_IFREG}), false)
	}
}

// diskNode is the disk. It is opened without a page cache: each write of the loop device comes here
// before the device calls it done.
type diskNode struct {
	fs.Inode
	tape *tape
}

var (
	_ fs.NodeOpener    = (*diskNode)(nil)
	_ fs.NodeGetattrer = (*diskNode)(nil)
	_ fs.NodeReader    = (*diskNode)(nil)
	_ fs.NodeWriter    = (*diskNode)(nil)
	_ fs.NodeFsyncer   = (*diskNode)(nil)
	_ fs.NodeAllocater = (*diskNode)(nil)
)

func (*diskNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (n *diskNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	info, err := n.tape.disk.Stat()
	if err != nil {
		return fs.ToErrno(err)
	}
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(info.Size())
	return 0
}

func (n *diskNode) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultFd(n.tape.disk.Fd(), off, len(dest)), 0
}

func (n *diskNode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	return uint32(len(data)), n.tape.add(event{kind: write, offset: off, data: data})
}

// Fsync is what the loop device makes of a flush, and of a write that is to be durable at once.
func (n *diskNode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return n.tape.add(event{kind: barrier})
}

// Allocate is what it makes of discarding and of writing zeroes; without it the zeroes are written.
func (*diskNode) Allocate(context.Context, fs.FileHandle, uint64, uint64, uint32) syscall.Errno {
	return syscall.EOPNOTSUPP
}

// marksNode takes marks.
type marksNode struct {
	fs.Inode
	tape *tape
}

var (
	_ fs.NodeOpener = (*marksNode)(nil)
	_ fs.NodeWriter = (*marksNode)(nil)
)

func (*marksNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (n *marksNode) Write(_ context.Context, _ fs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	return uint32(len(data)), n.tape.add(event{kind: mark, data: data})
}
