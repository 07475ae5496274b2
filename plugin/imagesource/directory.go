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
	"time"
)

// DirectoryConfig describes a directory of images.
type DirectoryConfig struct {
	Name string // required
	Path string // required, absolute; it need not exist yet
	// ServeStale is how long hits go on, by what the directory held last, while it cannot be read. Default: not.
	ServeStale time.Duration
	// Warn is told, once for each, of lists of digests that are not used. Default: nobody.
	Warn func(what string)
}

// Directory is a Source of the regular files below a directory. An image's ID is its path in there.
// Nothing outside is ever opened: absolute paths, "..", names that begin with a dot, symbolic links
// that lead out, and what is not a regular file are refused. The digest that is expected of an image
// comes from a list beside it, such as SHA256SUMS. Everybody may share what is in it.
type Directory struct {
	config DirectoryConfig
	lists  *memory[string, readList]
	absent *memory[string, string]   // lists that were not there, with their folder's revision then
	warned *memory[string, struct{}] // of what
}

// readList is a list of digests and the revision of its file.
type readList struct {
	sums     *sums
	revision string
}

const (
	maxListsKept = 32
	maxFilesKept = 4096
	// stillFolder is how long a folder must not have changed for what is not in it to be remembered: its
	// time of the last change has the clock's coarse steps.
	stillFolder = 2 * time.Second
)

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
	if config.Warn == nil {
		config.Warn = func(string) {}
	}
	return &Directory{
		config: config, lists: newSizedMemory[string](maxListsKept, func(l readList) int { return l.sums.size() }),
		absent: newMemory[string, string](maxFilesKept), warned: newMemory[string, struct{}](maxFilesKept),
	}, nil
}

// Name implements Source.
func (d *Directory) Name() string { return d.config.Name }

// StaleFor implements Stale.
func (d *Directory) StaleFor() time.Duration { return d.config.ServeStale }

// Stat implements Source. ErrNotFound, ErrForbidden, ErrUnavailable, ErrRefused, ErrBadList.
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
	file, info, err := d.openRegular(root, id)
	if errors.Is(err, ErrNotFound) && d.config.ServeStale > 0 && isEmpty(root) {
		return Image{}, fmt.Errorf("%w: the directory is empty; is its filesystem mounted?", ErrUnavailable)
	}
	if err != nil {
		return Image{}, err
	}
	defer file.Close()
	digest, list, err := d.digest(root, id)
	if err != nil {
		return Image{}, err
	}
	return Image{
		Source: d.config.Name, ID: id, Revision: revisionOf(info), SizeBytes: info.Size(), Digest: digest, List: list,
		DiskFormat: diskFormatOf(id), ModifiedAt: info.ModTime().UTC(),
	}, nil
}

// isEmpty tells whether nothing at all is in a directory, as where a filesystem is not mounted.
func isEmpty(root *os.Root) bool {
	f, err := root.Open(".")
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
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
	file, info, err := d.openRegular(root, image.ID)
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

// digest looks the image up in the lists beside it; zero where none names it. A list that cannot be read is
// none. ErrBadList.
func (d *Directory) digest(root *os.Root, id string) (Digest, string, error) {
	dir, base := path.Split(id)
	folder := stillRevision(root, dir)
	for _, list := range listsFor(base) {
		name := dir + list.name
		if seen, known := d.absent.get(name); known && seen == folder && folder != "" {
			continue
		}
		found, err := d.list(root, name)
		if errors.Is(err, ErrNotFound) {
			if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) { // no link either, whose target may come
				d.absent.put(name, folder)
			}
			continue
		}
		if err != nil {
			d.warn(fmt.Sprintf("the list %s cannot be read and is not used: %v", name, err))
			continue
		}
		digest, err := found.of(id, list.own)
		if err != nil {
			return Digest{}, "", fmt.Errorf("%s beside it: %w", list.name, err)
		}
		if !digest.IsZero() {
			return digest, list.name, nil
		}
	}
	return Digest{}, "", nil
}

// stillRevision is the revision of a folder; "" where it may be changing at the moment.
func stillRevision(root *os.Root, dir string) string {
	if dir = strings.TrimSuffix(dir, "/"); dir == "" {
		dir = "."
	}
	info, err := root.Stat(dir)
	if err != nil || time.Since(info.ModTime()) < stillFolder {
		return ""
	}
	return revisionOf(info)
}

func (d *Directory) warn(what string) {
	if d.warned.once(what, struct{}{}) {
		d.config.Warn(fmt.Sprintf("image source %s: %s", d.config.Name, what))
	}
}

// list reads one list of digests, unless the one that it read before is unchanged. ErrNotFound.
func (d *Directory) list(root *os.Root, name string) (*sums, error) {
	file, info, err := d.openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	revision := revisionOf(info)
	if kept, known := d.lists.get(name); known && kept.revision == revision {
		return kept.sums, nil
	}
	found, err := parseSums(file)
	if err != nil {
		return nil, err
	}
	if what := found.complaint(); what != "" {
		d.warn("the list " + name + what)
	}
	d.lists.put(name, readList{found, revision})
	return found, nil
}

// openRegular opens a file below root that is one. O_NONBLOCK keeps a FIFO that takes the file's place
// after it was looked at from stopping us; on a regular file it means nothing.
func (d *Directory) openRegular(root *os.Root, id string) (*os.File, fs.FileInfo, error) {
	if err := checkPath(id); err != nil {
		return nil, nil, err
	}
	info, err := root.Stat(id)
	if err != nil && escapes(err) {
		if inside := d.inside(id); inside != "" {
			id = inside
			info, err = root.Stat(id)
		}
	}
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

// inside is the path below the directory to which the links of id lead, absolute ones too; "" where they
// lead out. It only looks: what is opened then is opened below the directory again.
func (d *Directory) inside(id string) string {
	base, err := filepath.EvalSymlinks(d.config.Path)
	if err != nil {
		return ""
	}
	real, err := filepath.EvalSymlinks(filepath.Join(d.config.Path, id))
	if err != nil {
		return ""
	}
	rel, err := filepath.Rel(base, real)
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return rel
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

// escapes tells whether os.Root found a way out of the directory: its error is not the system's.
func escapes(err error) bool {
	var errno syscall.Errno
	return !errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)
}

// fileError says what an error of the filesystem means for an image.
func fileError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return ErrForbidden
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: its symbolic links go round in a circle", ErrRefused)
	case escapes(err):
		return fmt.Errorf("%w: a symbolic link leads out of the image source's directory; move the file into it, or make a hard link there", ErrRefused)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
