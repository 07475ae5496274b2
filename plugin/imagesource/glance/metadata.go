package glance

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// metadata is what Glance says of an image, as far as it matters here. Some of it is null before the image
// is active.
type metadata struct {
	ID              string    `json:"id"`
	Status          string    `json:"status"`
	DiskFormat      string    `json:"disk_format"`
	ContainerFormat string    `json:"container_format"`
	Visibility      string    `json:"visibility"`
	Owner           string    `json:"owner"`
	Size            *int64    `json:"size"`
	VirtualSize     *int64    `json:"virtual_size"`
	MinDisk         int64     `json:"min_disk"`
	Checksum        string    `json:"checksum"`
	HashAlgorithm   string    `json:"os_hash_algo"`
	HashValue       string    `json:"os_hash_value"`
	UpdatedAt       time.Time `json:"updated_at"`
	DirectURL       string    `json:"direct_url"`
	Locations       []struct {
		URL string `json:"url"`
	} `json:"locations"`
}

// maxMetadata bounds what is read of an answer.
const maxMetadata = 4 << 20

func (m *metadata) read(r io.Reader) error {
	if err := json.NewDecoder(io.LimitReader(r, maxMetadata)).Decode(m); err != nil {
		return fmt.Errorf("%w: Glance's answer cannot be read: %w", imagesource.ErrUnavailable, err)
	}
	return nil
}

// image is the same in the cache's words.
func (m *metadata) image(source string) (imagesource.Image, error) {
	if err := m.usable(); err != nil {
		return imagesource.Image{}, err
	}
	i := imagesource.Image{
		Source: source, ID: m.ID, SizeBytes: -1, Digest: m.digest(), DiskFormat: m.DiskFormat, ClaimedBy: imagesource.ByService, Domain: m.domain(),
		MD5: m.Checksum, MinDiskGiB: m.MinDisk, ModifiedAt: m.UpdatedAt.UTC(), Location: m.location(),
	}
	if m.Size != nil && *m.Size >= 0 {
		i.SizeBytes = *m.Size
	}
	if m.VirtualSize != nil && *m.VirtualSize > 0 {
		i.VirtualBytes = *m.VirtualSize
	}
	i.Revision = i.Digest.String()
	if i.Digest.IsZero() { // every property that changes moves updated_at; the bytes alone do not
		i.Revision = fmt.Sprintf("id=%s size=%d updated_at=%s", m.ID, i.SizeBytes, i.ModifiedAt.Format(time.RFC3339))
	}
	return i, nil
}

// usable refuses images whose data is not to be had, or not to be understood.
func (m *metadata) usable() error {
	switch m.Status {
	case "active":
	case "deleted", "pending_delete":
		return fmt.Errorf("%w: it is deleted", imagesource.ErrNotFound)
	default: // queued, saving, uploading, importing, killed, deactivated
		return fmt.Errorf("%w: its status is %.32s", imagesource.ErrNotActive, m.Status)
	}
	if m.ContainerFormat != "bare" {
		return fmt.Errorf("%w: the cache does not open containers (container_format %.32q)", imagesource.ErrRefused, m.ContainerFormat)
	}
	return nil
}

// digest is zero where Glance has none that is good enough to name content.
func (m *metadata) digest() imagesource.Digest {
	d, err := imagesource.ParseDigest(m.HashAlgorithm + ":" + m.HashValue)
	if err != nil {
		return imagesource.Digest{}
	}
	return d
}

// domain is who may share the image's content.
func (m *metadata) domain() string {
	switch {
	case m.Visibility == "public" || m.Visibility == "community":
		return ""
	case m.Owner != "":
		return m.Owner
	default: // nobody's, and not everybody's
		return "image-" + m.ID
	}
}

// location is the image's place on a Ceph cluster, where Glance shows one.
func (m *metadata) location() string {
	places := []string{m.DirectURL}
	for _, l := range m.Locations {
		places = append(places, l.URL)
	}
	for _, p := range places {
		if strings.HasPrefix(p, "rbd://") {
			return p
		}
	}
	return ""
}
