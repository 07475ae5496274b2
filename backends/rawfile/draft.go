package rawfile

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Draft is a file being made that nobody sees yet. It is no longer usable after Close.
type Draft struct {
	*os.File
	place  *Place
	direct *os.File // the same file, past the page cache; nil unless Content has it
	staged string   // its name in the staging directory, without O_TMPFILE
}

// DraftSpec asks for a draft.
type DraftSpec struct {
	// Staged names it in the staging directory where the filesystem has no O_TMPFILE. A file of that
	// name must not exist: backends.ErrExist.
	Staged string
	Mode   os.FileMode // permissions once it appears, less the process's umask
}

// Draft makes an empty file. If the process dies, it goes by itself, or is found in the staging
// directory under spec.Staged.
func (p *Place) Draft(spec DraftSpec) (*Draft, error) {
	if p.features.Unnamed {
		f, err := openUnnamed(p.dir.Name(), uint32(spec.Mode.Perm()))
		if err != nil {
			return nil, Explain(err)
		}
		return &Draft{File: f, place: p}, nil
	}
	flags := os.O_RDWR | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	f, err := os.OpenFile(p.StagingPath(spec.Staged), flags, spec.Mode)
	if err != nil {
		return nil, Explain(err)
	}
	return &Draft{File: f, place: p, staged: spec.Staged}, nil
}

// Finished describes the draft once all was written. Its time of change stays what it is then: over NFS what
// is still to be written back would change it.
func (d *Draft) Finished() (os.FileInfo, error) {
	if d.place.features.Filesystem == "NFS" {
		if err := d.Sync(); err != nil {
			return nil, Explain(err)
		}
	}
	info, err := d.Stat()
	return info, Explain(err)
}

// Stamp keeps a record with the file, in place of the one before.
func (d *Draft) Stamp(record []byte) error { return d.place.stamps.Set(d.File, record) }

// PublishWritten makes the content durable, and then lets the file appear under name, durably too.
// backends.ErrExist: something bears that name; it is untouched.
func (d *Draft) PublishWritten(name string) error {
	if err := d.Sync(); err != nil {
		return Explain(err)
	}
	return d.appear(name)
}

// PublishReflinked is PublishWritten for content that is a reflink of durable content. With ordered
// metadata one fsync after the link is enough: reflink, length, record and name are all changes of
// metadata, journalled in that order, so that whoever finds the name after a crash finds the rest. It is
// the directory that is synced, since the link is a change of it too and comes last: so one sync does for
// all who link at the same time. Elsewhere it does the same as PublishWritten.
func (d *Draft) PublishReflinked(name string) error {
	if !d.place.features.OrderedMetadata {
		return d.PublishWritten(name)
	}
	return d.appear(name)
}

// appear links the file and makes that durable. If the latter fails, it takes the name back, so that
// there is a file or an error and never both.
func (d *Draft) appear(name string) error {
	if err := d.link(name); err != nil {
		return Explain(err)
	}
	if err := d.place.synced.do(); err != nil {
		return errors.Join(Explain(err), Explain(os.Remove(d.place.Path(name))))
	}
	return nil
}

func (d *Draft) link(name string) error {
	to := int(d.place.dir.Fd())
	if d.staged != "" {
		return onPath("link", d.place.Path(name), d.move(to, name))
	}
	err := retry(func() error { return unix.Linkat(int(d.Fd()), "", to, name, unix.AT_EMPTY_PATH) })
	if errors.Is(err, unix.ENOENT) { // older kernels ask for a capability
		proc := "/proc/self/fd/" + strconv.Itoa(int(d.Fd()))
		err = retry(func() error { return unix.Linkat(unix.AT_FDCWD, proc, to, name, unix.AT_SYMLINK_FOLLOW) })
	}
	return onPath("link", d.place.Path(name), err)
}

// move gives a staged file its name. Without RENAME_NOREPLACE (NFS) it is linked and unlinked; what a
// crash leaves in between is a second name in the staging directory.
func (d *Draft) move(to int, name string) error {
	from := int(d.place.staging.Fd())
	err := retry(func() error { return unix.Renameat2(from, d.staged, to, name, unix.RENAME_NOREPLACE) })
	if unsupported(err) {
		if err = unix.Linkat(from, d.staged, to, name, 0); err == nil {
			err = unix.Unlinkat(from, d.staged, 0)
		}
	}
	if err == nil {
		d.staged = ""
	}
	return err
}

// Discard removes the draft and its record. After it was published it only closes the file.
// It may be repeated.
func (d *Draft) Discard() error {
	info, err := d.Stat()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err != nil {
		return Explain(err)
	}
	if st, ok := info.Sys().(*unixStat); ok && d.staged == "" && st.Nlink > 0 {
		return d.Close()
	}
	err = d.place.stamps.Drop(d.File)
	if d.staged != "" {
		err = errors.Join(err, os.Remove(d.place.StagingPath(d.staged)))
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("discard draft: %w", Explain(err))
	}
	return nil
}
