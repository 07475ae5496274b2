package file

import (
	"context"

	"github.com/clonecache/clonecache/backends/rawfile"
)

// OpenWithout opens a backend as if its filesystem lacked what take takes away.
func OpenWithout(ctx context.Context, c Config, take func(*rawfile.Features)) (*Backend, error) {
	return open(ctx, c, func(dir string) (rawfile.Features, error) {
		f, err := rawfile.Probe(dir)
		take(&f)
		return f, err
	})
}
