package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// open opens the volume of that name and reads its stamp.
func (b *Backend) open(name backends.VolumeName) (*os.File, backends.Volume, error) {
	if err := checkName(name); err != nil {
		return nil, backends.Volume{}, err
	}
	f, info, err := b.volumes.Open(string(name))
	if err != nil {
		return nil, backends.Volume{}, err
	}
	s, err := b.stampOf(name, f)
	if err != nil {
		_ = f.Close()
		return nil, backends.Volume{}, err
	}
	return f, b.volume(s, info), nil
}

// StatVolume implements backends.Volumes.
func (b *Backend) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	if err := ctx.Err(); err != nil {
		return backends.Volume{}, err
	}
	f, v, err := b.open(name)
	if err != nil {
		return backends.Volume{}, onVolume("stat", name, err)
	}
	return v, onVolume("stat", name, f.Close())
}

// ListVolumes implements backends.Volumes. It reads the stamp of each file in the directory. One whose
// stamp cannot be read is yielded as an error with its name, and the listing goes on.
func (b *Backend) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	return func(yield func(backends.Volume, error) bool) {
		found, err := os.ReadDir(b.path)
		if err != nil {
			yield(backends.Volume{}, fmt.Errorf("list volumes: %w", rawfile.Explain(err)))
			return
		}
		for _, entry := range found {
			if err := ctx.Err(); err != nil {
				yield(backends.Volume{}, err)
				return
			}
			name := backends.VolumeName(entry.Name())
			if checkName(name) != nil || !entry.Type().IsRegular() {
				continue
			}
			v, err := b.StatVolume(ctx, name)
			if foreign(err) {
				continue
			}
			v.Name = name
			if !yield(v, err) {
				return
			}
		}
	}
}

// foreign tells whether a listing passes over what it met: it is another's, or gone.
func foreign(err error) bool {
	return errors.Is(err, backends.ErrNotOurs) || errors.Is(err, backends.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// leave gives up a volume that somebody has taken over: its file was written since we made it, and the stamp
// says no more what it is. taken is false where the file is as we made it.
func (b *Backend) leave(name backends.VolumeName, f *os.File) (taken bool, err error) {
	s, err := b.stampOf(name, f)
	if err != nil {
		return false, err
	}
	info, err := f.Stat()
	if err != nil {
		return false, rawfile.Explain(err)
	}
	if s.asMade(info) {
		return false, nil
	}
	return true, b.volumes.Stamps().Remove(f)
}

// DeleteVolume implements backends.Volumes. With an ID, which is how a volume is taken back that nobody was
// told of, a file that was written since it was made stays: somebody has taken over the path (Cinder writes
// an image into whatever file bears the volume's name). It is stripped of its stamp, and the answer is
// backends.ErrNotOurs. One that somebody has open stays too: backends.ErrInUse. What was written is seen by
// the file's time of change, which is true within a boot and not after a loss of power; nobody may take a
// volume back that an earlier boot made. Between the look at the stamp and the unlink another
// process could exchange the file; that is a matter of microseconds, and within this process excluded,
// since nothing here ever replaces a file.
func (b *Backend) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, v, err := b.open(ref.Name)
	if err != nil {
		return onVolume("delete", ref.Name, err)
	}
	defer f.Close()
	if ref.ID != "" && ref.ID != v.ID {
		return onVolume("delete", ref.Name, fmt.Errorf("another volume has its name: %w", backends.ErrNotExist))
	}
	if ref.ID != "" {
		if err := rawfile.Alone(f); err != nil { // until f is closed nobody opens it
			return onVolume("delete", ref.Name, err)
		}
		if taken, err := b.leave(ref.Name, f); err != nil {
			return onVolume("delete", ref.Name, err)
		} else if taken {
			return onVolume("delete", ref.Name, fmt.Errorf("it was written since it was made, and is left to whoever did: %w", backends.ErrNotOurs))
		}
	}
	return onVolume("delete", ref.Name, b.volumes.Remove(string(ref.Name), f))
}

// Settle implements backends.Volumes. A volume gets its name as the last step, durably whole, so what bears
// the name and the token was whole, and nothing is ever removed here: one that is shorter now was cut by
// somebody, whose it is.
func (b *Backend) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	spec = spec.Rounded()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	f, v, err := b.open(spec.Name)
	if foreign(err) {
		return backends.Absent, nil
	}
	if err != nil {
		return 0, onVolume("settle", spec.Name, err)
	}
	defer f.Close()
	if spec.Token == "" || v.Token != spec.Token {
		return backends.Absent, nil
	}
	return backends.Whole, nil
}
