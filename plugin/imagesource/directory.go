package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// DirectoryConfig describes a directory of images.
type DirectoryConfig struct {
	Name string // required
	Path string // required, absolute; it need not exist yet
}

// Directory is a Source of the regular files below a directory. An image's ID is its path in there.
// Nothing outside is ever opened: absolute paths, "..", names that begin with a dot, symbolic links
// that lead out, and what is not a regular file are refused. The digest that is expected of an image
// comes from a SHA256SUMS or SHA512SUMS file beside it. Everybody may share what is in it.
type Directory struct {
	config DirectoryConfig
	sums   *sumsCache[string]
}

var _ Source = (*Directory)(nil)

// NewDirectory checks config. A path that exists must be a directory.
func NewDirectory(config DirectoryConfig) (*Directory, error) {
	if err := checkSourceName(config.Name); err != nil {
		return nil, fmt.Errorf("image source %q: name: %w", config.Name, err)
	}
	if !filepath.IsAbs(config.Path) {
		return nil, fmt.Errorf("image source %s: path %q is not absolute", config.Name, config.Path)
	}
	if info, err := os.Stat(config.Path); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("image source %s: path %s is not a directory", config.Name, config.Path)
	}
	return &Directory{config: config, sums: newSumsCache[string]()}, nil
}

// Name implements Source.
func (d *Directory) Name() string { return d.config.Name }

// Stat implements Source. ErrNotFound, ErrForbidden, ErrUnavailable, ErrRefused; a list of digests that
// cannot be understood is ErrRefused too.
func (d *Directory) Stat(ctx context.Context, id string) (Image, error) {
	image, err := d.stat(ctx, id)
	if err != nil {
		return Image{}, fmt.Errorf("image %s:%s: %w", d.config.Name, id, err)
	}
	return image, nil
}

func (d *Directory) stat(ctx context.Context, id string) (Image, error) {
	if err := ctx.Err(); err != nil {
		return Image{}, err
	}
	root, err := d.root()
	if err != nil {
		return Image{}, err
	}
	defer root.Close()
	file, info, err := openRegular(root, id)
	if err != nil {
		return Image{}, err
	}
	defer file.Close()
	digest, err := d.digest(root, id)
	if err != nil {
		return Image{}, err
	}
	return Image{
		Source: d.config.Name, ID: id, Revision: revisionOf(info), SizeBytes: info.Size(), Digest: digest,
		DiskFormat: diskFormatOf(id), ModifiedAt: info.ModTime().UTC(),
	}, nil
}

// Open implements Source. ErrChanged where the file is no longer the one that Stat saw.
func (d *Directory) Open(ctx context.Context, image Image) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := d.open(ctx, image)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", image.Ref(), err)
	}
	return r, nil
}

func (d *Directory) open(ctx context.Context, image Image) (io.ReadCloser, error) {
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, info, err := openRegular(root, image.ID)
	if err != nil {
		return nil, err
	}
	if image.Revision != "" && revisionOf(info) != image.Revision {
		_ = file.Close()
		return nil, ErrChanged
	}
	return newFileReader(ctx, file, info), nil
}

// root opens the directory anew each time, so that one which is mounted or replaced later is seen.
func (d *Directory) root() (*os.Root, error) {
	root, err := os.OpenRoot(d.config.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return root, nil
}

// digest looks the image up in the lists beside it; zero where none names it.
func (d *Directory) digest(root *os.Root, id string) (Digest, error) {
	dir, base := path.Split(id)
	for _, list := range sumsFiles {
		found, err := d.list(root, dir+list.name, list.algorithm)
		if err != nil {
			return Digest{}, err
		}
		if digest, ok := found[base]; ok {
			return digest, nil
		}
	}
	return Digest{}, nil
}

// list reads one list of digests, unless the one that it read before is unchanged.
func (d *Directory) list(root *os.Root, name string, a Algorithm) (sums, error) {
	file, info, err := openRegular(root, name)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	revision := revisionOf(info)
	if cached, seen := d.sums.get(name); seen == revision {
		return cached, nil
	}
	found, err := parseSums(file, a)
	if err != nil {
		return nil, fmt.Errorf("%w: %s beside it cannot be used: %w", ErrRefused, name, err)
	}
	d.sums.put(name, found, revision)
	return found, nil
}

// openRegular opens a file below root that is one. O_NONBLOCK keeps a FIFO that takes the file's place
// after it was looked at from stopping us; on a regular file it means nothing.
func openRegular(root *os.Root, id string) (*os.File, fs.FileInfo, error) {
	if err := checkPath(id); err != nil {
		return nil, nil, err
	}
	info, err := root.Stat(id)
	if err != nil {
		return nil, nil, fileError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w: it is %s, not a regular file", ErrRefused, kindOf(info.Mode()))
	}
	file, err := root.OpenFile(id, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fileError(err)
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is %s, not a regular file", ErrRefused, kindOf(info.Mode()))
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// kindOf names what is no regular file.
func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeSymlink:
		return "a symbolic link"
	default:
		return "a device"
	}
}

// checkPath refuses what is not a plain path of visible files.
func checkPath(id string) error {
	if !fs.ValidPath(id) || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return fmt.Errorf("%w: not a plain relative path", ErrRefused)
	}
	for part := range strings.SplitSeq(id, "/") {
		if strings.HasPrefix(part, ".") {
			return fmt.Errorf("%w: a name begins with a dot", ErrRefused)
		}
	}
	return nil
}

// fileError says what an error of the filesystem means for an image. An error that is not the
// system's comes from os.Root, which found a way out of the directory.
func fileError(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return ErrForbidden
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: its symbolic links go round in a circle", ErrRefused)
	case !errors.As(err, &errno):
		return fmt.Errorf("%w: a symbolic link leads out of the image source's directory", ErrRefused)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
