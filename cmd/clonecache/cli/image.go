package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

func (a *app) image() *cobra.Command {
	return group("image", "Look at image files", "These commands look at files of this host and need no daemon.", a.imageInspect())
}

// inspected is what "image inspect -o json" answers.
type inspected struct {
	File             string `json:"file"`
	Format           string `json:"format"`
	Compression      string `json:"compression"`   // of the file as a whole; empty: none
	VirtualBytes     int64  `json:"virtual_bytes"` // as entries call it
	SourceBytes      int64  `json:"source_bytes"`
	VirtualSize      int64  `json:"virtual_size"` // VirtualBytes, by the name of before
	SourceSize       int64  `json:"source_size"`  // SourceBytes, by the name of before
	Detail           string `json:"detail"`
	InspectorVersion int    `json:"inspector_version"`
}

func (a *app) imageInspect() *cobra.Command {
	var declared string
	var limit config.Size
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Judge an image file as the cache would",
		Long: `Reads an image file's headers and tables, and says what it is, or which rule it breaks. It is the inspection that
every image passes before it is cached. Nothing that the image names is opened. A file that is compressed as a whole is
unpacked, to nowhere, and read to its end.

The names *.qcow2 and *.raw declare a format, which must be the detected one; --disk-format declares another.
Exit code 5: the image is refused.`,
		Example: `  clonecache image inspect debian-12.qcow2
  clonecache image inspect disk.img --disk-format raw --max-size 20GiB -o json`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			format := orDefault(declared, claimedFormat(args[0]))
			return a.inspect(cmd.Context(), args[0], diskimage.Options{Declared: diskimage.Format(format), MaxVirtualBytes: int64(limit)})
		},
	}
	cmd.Flags().StringVar(&declared, "disk-format", "", "the declared format; default: by the file's name, else what is detected")
	cmd.Flags().Var(&limit, "max-size", "refuse a larger disk; default: the built-in bound")
	completes(cmd, "disk-format", fixed("raw", "qcow2", "iso"))
	return cmd
}

func (a *app) inspect(ctx context.Context, name string, opts diskimage.Options) error {
	stat, err := os.Stat(name) // before it is opened: that waits for the other end of a pipe
	if err != nil {
		return err
	}
	if !stat.Mode().IsRegular() {
		return &usageError{fmt.Errorf("%s is not a regular file: name the file that holds the image", name)}
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	opts.SourceBytes = stat.Size()
	scratch, remove, err := inspectScratch()
	if err != nil {
		return err
	}
	defer remove()
	opts.Scratch = scratch
	info, err := diskimage.InspectFile(ctx, file, stat.Size(), opts)
	if err != nil {
		return err
	}
	result := inspected{File: name, Format: string(info.Format), Compression: string(info.Compression),
		VirtualBytes: info.VirtualBytes, SourceBytes: stat.Size(), VirtualSize: info.VirtualBytes, SourceSize: stat.Size(),
		Detail: info.Detail, InspectorVersion: diskimage.InspectorVersion}
	return a.print(result, func(t *table) {
		t.row("File", result.File)
		t.row("Format", result.Format)
		if result.Compression != "" {
			t.row("Compressed", result.Compression)
		}
		t.row("Disk", fmt.Sprintf("%s (%d bytes)", t.size(result.VirtualBytes), result.VirtualBytes))
		t.row("File size", fmt.Sprintf("%s (%d bytes)", t.size(result.SourceBytes), result.SourceBytes))
		t.row("Detail", result.Detail)
	})
}

// inspectScratch is where compressed images are spooled whose parts lie in no order.
func inspectScratch() (diskimage.Scratch, func(), error) {
	dir, err := os.MkdirTemp("", "clonecache-inspect-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	scratch, err := diskimage.NewDirScratch(dir, inspectScratchBytes)
	if err != nil {
		remove()
	}
	return scratch, remove, err
}

const inspectScratchBytes = 20 << 30

// claimedFormat is the format that a file's name declares, as for image sources without metadata.
func claimedFormat(name string) string {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".qcow2", ".raw":
		return ext[1:]
	}
	return ""
}
