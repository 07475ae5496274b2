package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin"
)

// TakenOver is what TakeOver has done.
type TakenOver struct {
	Backend backends.Name    `json:"backend"`
	StoreID backends.StoreID `json:"store_id"`
	// Was is whose the store was; nil: nobody's, or this installation's already.
	Was    *backends.Holder `json:"was"`
	Holder backends.Holder  `json:"holder"`
}

// TakeOver makes a backend or file cache of the configuration this installation's, whoever's it was. It is
// for a person who knows that the former holder is gone for good: what that one had in the making is removed
// by the next start, and what it had cached is adopted. state_dir is locked meanwhile. plugin.ErrLocked: the
// daemon runs. plugin.ErrUnknownBackend. backends.ErrInUse: another process has the store open.
func TakeOver(ctx context.Context, cfg config.Config, name backends.Name, log logrus.FieldLogger) (taken TakenOver, err error) {
	lock, err := plugin.LockState(string(cfg.StateDir))
	if err != nil {
		return taken, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	catalog, err := plugin.CatalogOf(string(cfg.StateDir))
	if err != nil {
		return taken, err
	}
	store, err := openNamed(ctx, cfg, name, log)
	if err != nil {
		return taken, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	id, err := store.Identify(ctx)
	if err != nil {
		return taken, err
	}
	host, err := os.Hostname()
	if err != nil {
		return taken, err
	}
	taken = TakenOver{Backend: name, StoreID: id.ID, Holder: backends.Holder{Catalog: catalog, Host: host, StateDir: string(cfg.StateDir)}}
	was, err := store.TakeOver(ctx, taken.Holder)
	taken.Holder = taken.Holder.After(was, time.Now())
	if err == nil && was.Catalog != "" && was.Catalog != catalog {
		taken.Was = &was
	}
	return taken, err
}

// openNamed opens one store of the configuration.
func openNamed(ctx context.Context, cfg config.Config, name backends.Name, log logrus.FieldLogger) (backends.Store, error) {
	h, err := host(cfg, log)
	if err != nil {
		return nil, err
	}
	for _, c := range cfg.Backends {
		if c.Name == string(name) {
			return kinds.OfBackend(c).Open(ctx, name, h)
		}
	}
	for _, c := range cfg.FileCaches {
		if c.Name == string(name) {
			return kinds.OpenFileCache(ctx, c, h)
		}
	}
	return nil, fmt.Errorf("%w: %q is not in the configuration", plugin.ErrUnknownBackend, name)
}
