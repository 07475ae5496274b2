package imagefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// recordVersion is raised when older programs would misread a record.
const recordVersion = 1

// record is what is kept with an image-volume's file: our mark and its description, as JSON.
type record struct {
	Version     int                    `json:"v"`
	Kind        string                 `json:"kind"` // recordKind
	ID          backends.ImageVolumeID `json:"id"`
	Mark        string                 `json:"mark,omitempty"`
	SizeBytes   int64                  `json:"size_bytes,omitempty"` // of the file
	Description backends.Description   `json:"description"`
}

const recordKind = "image-volume"

func (s *Store) newRecord(spec backends.StageSpec, d backends.Description) ([]byte, error) {
	return json.Marshal(record{recordVersion, recordKind, spec.ID, s.mark, spec.VirtualBytes, d})
}

// size is how many bytes the file has that the record is of; 0 where the record is too old to say so.
func (r record) size() int64 {
	if r.SizeBytes == 0 && r.Description.Form == backends.Decoded {
		return r.Description.VirtualBytes
	}
	return r.SizeBytes
}

// fits compares a file with its record. backends.ErrNotExist: somebody has cut the file or made it longer,
// so that the image-volume which the record is of is lost.
func (r record) fits(size int64) error {
	return sized(size, r.size())
}

func sized(got, want int64) error {
	if want == 0 || got == want {
		return nil
	}
	return fmt.Errorf("its content is lost: the file has %d bytes and was made with %d: %w", got, want, backends.ErrNotExist)
}

// dated is d with a time of creation.
func (s *Store) dated(d backends.Description) backends.Description {
	if d.CreatedAt.IsZero() {
		d.CreatedAt = s.now().UTC()
	}
	return d
}

// record reads the record of f. ErrNotOurs: it has none, or one of another installation.
func (s *Store) record(f *os.File) (record, error) {
	raw, err := s.place.Stamps().Get(f)
	if errors.Is(err, rawfile.ErrNoStamp) {
		return record{}, fmt.Errorf("%w: %w", backends.ErrNotOurs, err)
	}
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return record{}, fmt.Errorf("read record: %w", err)
	}
	if r.Kind != recordKind || r.Mark != s.mark {
		return record{}, fmt.Errorf("record of kind %q, installation %q: %w", r.Kind, r.Mark, backends.ErrNotOurs)
	}
	if r.Version > recordVersion {
		return record{}, fmt.Errorf("record of version %d, newer than this program", r.Version)
	}
	return r, nil
}

func (s *Store) describe(id backends.ImageVolumeID, info fs.FileInfo, r record) backends.ImageVolume {
	return backends.ImageVolume{
		ID:           id,
		State:        backends.Committed,
		VirtualBytes: info.Size(),
		HeldBytes:    rawfile.Occupied(info),
		Description:  r.Description,
	}
}
