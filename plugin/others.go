package plugin

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Which stores are configured differs from host to host: a file cache is a host's own. So a store that this host lacks is not one
// that nobody has: entries on it are another host's to look after.

// others are the stores that other daemons are configured for, each with the name of a host that has it.
type others struct {
	byStore atomic.Pointer[map[backends.StoreID]string]
}

// readOthers brings them up to date.
func (ro *roster) readOthers(ctx context.Context) error {
	all, err := ro.catalog.StoresOfOthers(ctx, ro.holder.Instance)
	if err == nil {
		ro.others.byStore.Store(&all)
	}
	return err
}

// hostOf is a host that has a store which this one lacks; "" where nobody has it.
func (ro *roster) hostOf(id backends.StoreID) string {
	all := ro.others.byStore.Load()
	if all == nil || ro.storeOf(id) != nil {
		return ""
	}
	return (*all)[id]
}

// tellStores lets other daemons know which stores this one is configured for, as far as it knows which they are.
func (ro *roster) tellStores(ctx context.Context) error {
	unlock, err := ro.telling.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all := make(map[backends.Name]backends.StoreID)
	for _, s := range ro.everyStore() {
		if _, told := all[s.name]; !told && s.id() != "" { // one that leaves may have the name of one that has come
			all[s.name] = s.id()
		}
	}
	if err := ro.catalog.SetStores(ctx, ro.holder.Instance, all); err != nil {
		return err
	}
	return ro.readOthers(ctx)
}

// nobodys refuses to treat the store of an entry as nobody's while another host has it. ErrElsewhere.
func (ro *roster) nobodys(ctx context.Context, e catalog.Entry) error {
	if err := ro.readOthers(ctx); err != nil {
		return err
	}
	if host := ro.hostOf(e.Store); host != "" {
		return fmt.Errorf("%w: entry %s lies on %s, which is configured on host %s", ErrElsewhere, e.ID, ro.label(e.Store), host)
	}
	return nil
}
