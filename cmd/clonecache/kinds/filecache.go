package kinds

import (
	"context"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// OpenFileCache opens one [[file_cache]], of which there is one kind. Errors as filecache.Open's.
func OpenFileCache(ctx context.Context, c config.FileCache, h Host) (*filecache.Cache, error) {
	name := backends.Name(c.Name)
	record, err := keepRecord(h.StateDir, name, c.Path)
	if err != nil {
		return nil, err
	}
	return filecache.Open(ctx, filecache.Config{Name: name, Path: string(c.Path), Record: record, Log: h.Log})
}

// ExpectedOfFileCache is Backend.Expected of a file cache.
func ExpectedOfFileCache(c config.FileCache) backends.Info {
	return backends.Info{Kind: "filecache", Location: string(c.Path), IndependentClones: true, NoClone: "it is not open"}
}

// TryFileCache finds out whether OpenFileCache and a start would succeed, without changing anything.
func TryFileCache(c config.FileCache, t *Part) { t.storeDirectory("file cache", c.Path) }
