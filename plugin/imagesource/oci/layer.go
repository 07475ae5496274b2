package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// maxManifest bounds a manifest, in bytes.
const maxManifest = 4 << 20

// Docker's words for what OCI has others for.
const (
	dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
	inDisk     = "disk in " // begins the revision of an image that is a file within a layer
)

// layer is what an image is in a registry: one blob.
type layer struct {
	ocispec.Descriptor
}

// layer finds the image's blob. The manifest's digest is verified.
func (r ref) layer(ctx context.Context) (layer, error) {
	text, kind, err := r.fetch(ctx, r.reference)
	if err != nil {
		return layer{}, err
	}
	if kind == ocispec.MediaTypeImageIndex || kind == dockerList {
		one, err := ofThisMachine(text)
		if err != nil {
			return layer{}, err
		}
		if text, _, err = r.fetch(ctx, one); err != nil {
			return layer{}, err
		}
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return layer{}, fmt.Errorf("%w: its manifest cannot be read: %w", imagesource.ErrRefused, err)
	}
	if len(m.Layers) != 1 {
		return layer{}, fmt.Errorf("%w: it has %d layers; an image of a disk has one", imagesource.ErrRefused, len(m.Layers))
	}
	if _, err := imagesource.ParseDigest(m.Layers[0].Digest.String()); err != nil {
		return layer{}, fmt.Errorf("%w: its layer: %w", imagesource.ErrRefused, err)
	}
	return layer{m.Layers[0]}, nil
}

// fetch reads a manifest, and tells its kind.
func (r ref) fetch(ctx context.Context, reference string) (text []byte, kind string, err error) {
	d, body, err := r.repository.Manifests().FetchReference(ctx, reference)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	if d.Size > maxManifest {
		return nil, "", fmt.Errorf("%w: its manifest has %d bytes", imagesource.ErrRefused, d.Size)
	}
	text, err = content.ReadAll(body, d)
	if errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrTrailingData) {
		err = fmt.Errorf("%w: of its manifest", imagesource.ErrDigestMismatch)
	}
	return text, d.MediaType, err
}

// ofThisMachine is the digest of an index's manifest for this machine.
func ofThisMachine(text []byte) (string, error) {
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return "", fmt.Errorf("%w: its index cannot be read: %w", imagesource.ErrRefused, err)
	}
	for _, m := range index.Manifests {
		if m.Platform != nil && m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH {
			return m.Digest.String(), nil
		}
	}
	return "", fmt.Errorf("%w: its index has nothing for linux/%s", imagesource.ErrRefused, runtime.GOARCH)
}

// archived tells that the image is a file within the blob.
func (l layer) archived() bool { return strings.Contains(l.MediaType, ".tar") }

// image is the same in the cache's words.
func (l layer) image(source, id string) imagesource.Image {
	i := imagesource.Image{Source: source, ID: id, SizeBytes: -1, Revision: inDisk + l.Digest.String()}
	if l.archived() {
		return i
	}
	i.Revision, i.SizeBytes = l.Digest.String(), l.Size
	if d, err := imagesource.ParseDigest(l.Digest.String()); err == nil {
		i.Digest = d
	}
	switch ext := strings.ToLower(path.Ext(l.Annotations[ocispec.AnnotationTitle])); ext {
	case ".qcow2", ".raw":
		i.DiskFormat = ext[1:]
	}
	return i
}
