package file

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// stamp is what is kept with a volume's file: our mark, and what the volume was made from. It counts
// only under the name that it names: a volume that somebody renamed or copied has been taken over, and
// is not ours any more.
type stamp struct {
	Mark      string
	Name      backends.VolumeName
	ID        backends.VolumeID
	Token     string
	SizeBytes int64
	Origin    backends.Origin
	Written   uint64 // when its content was finished, as written says; 0 where it was not noted
}

// written is the time of a file's last change, as a stamp keeps it. Who knows the file well enough to set
// its time does not write it by mistake.
func written(info fs.FileInfo) uint64 {
	return uint64(info.ModTime().UnixNano()) & (1<<writtenBits - 1)
}

// asMade tells whether the file is as it was when the volume appeared: nobody has written it or changed its
// size. Of older stamps it is not known, and taken to be so.
func (s stamp) asMade(info fs.FileInfo) bool {
	return s.Written == 0 || s.Written == written(info) && s.SizeBytes == info.Size()
}

// newStamp is the stamp of a volume that spec asks for, with an ID that no other volume ever has: 64
// random bits, of which nobody needs to be unable to guess them.
func (b *Backend) newStamp(spec backends.VolumeSpec) stamp {
	id := binary.BigEndian.AppendUint64(nil, rand.Uint64())
	return stamp{
		Mark: b.mark, Name: spec.Name, ID: backends.VolumeID(base64.RawURLEncoding.EncodeToString(id)),
		Token: spec.Token, SizeBytes: spec.SizeBytes, Origin: spec.Origin,
	}
}

// stampOf reads the stamp of the open volume f.
// backends.ErrNotOurs: it has none, or one of another name or installation.
func (b *Backend) stampOf(name backends.VolumeName, f *os.File) (stamp, error) {
	record, err := b.volumes.Stamps().Get(f)
	if errors.Is(err, rawfile.ErrNoStamp) {
		return stamp{}, fmt.Errorf("%w: %w", backends.ErrNotOurs, err)
	}
	if err != nil {
		return stamp{}, err
	}
	s, err := parseRecord(record)
	if err != nil {
		return stamp{}, err
	}
	if s.Mark != b.mark || s.Name != name {
		return stamp{}, fmt.Errorf("%w: its record says volume %q, installation %q", backends.ErrNotOurs, s.Name, s.Mark)
	}
	return s, nil
}

// volume describes the file that bears s.
func (b *Backend) volume(s stamp, info fs.FileInfo) backends.Volume {
	return backends.Volume{
		Name: s.Name, ID: s.ID, SizeBytes: info.Size(), HeldBytes: rawfile.Occupied(info),
		Path: b.volumes.Path(string(s.Name)), Token: s.Token, Origin: s.Origin,
		Complete: info.Size() >= s.SizeBytes, // its owner may have grown it since
	}
}

// checkSpec refuses what cannot be a volume here.
func (b *Backend) checkSpec(spec backends.VolumeSpec) error {
	if err := b.CheckVolumeName(spec.Name); err != nil {
		return err
	}
	if spec.SizeBytes <= 0 {
		return fmt.Errorf("size of %d bytes", spec.SizeBytes)
	}
	return nil
}

// CheckVolumeName implements backends.VolumeNamer.
func (*Backend) CheckVolumeName(name backends.VolumeName) error {
	if err := checkName(name); err != nil {
		return err
	}
	return checkNewName(name)
}

// checkName keeps a volume's name from being anything but that of a visible file in the directory.
func checkName(name backends.VolumeName) error {
	if name == "" || len(name) > 255 || name[0] == '.' || strings.ContainsAny(string(name), "/\x00") {
		return fmt.Errorf("a file's name of 1 to 255 bytes is wanted, without '/', not beginning with '.': %w", backends.ErrBadName)
	}
	return nil
}

// checkNewName refuses names that shells, logs and terminals would stumble over. Volumes that older programs
// made under such a name are still listed and deleted.
func checkNewName(name backends.VolumeName) error {
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return fmt.Errorf("%q has a byte that is none of letters, digits, '.', '_' and '-': %w", string(name), backends.ErrBadName)
	}
	return nil
}

func onVolume(does string, name backends.VolumeName, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s volume %q: %w", does, name, err)
}
