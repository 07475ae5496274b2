package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// HostView is a daemon on the catalog as admins see it.
type HostView struct {
	ID          InstanceID        `json:"id" doc:"The daemon's own UUID, from its state_dir"`
	Name        string            `json:"name" doc:"What its host is called"`
	Version     string            `json:"version" doc:"The program's version"`
	FirstSeenAt time.Time         `json:"first_seen_at" doc:"When it first used this catalog, by the database's clock"`
	BegunAt     time.Time         `json:"begun_at" doc:"When it was last started, by the database's clock"`
	LastSeenAt  time.Time         `json:"last_seen_at" doc:"When it last said that it lives, by the database's clock"`
	Fills       int64             `json:"fills" doc:"Image-volumes that it is making"`
	Leases      []LeaseView       `json:"leases" doc:"What it alone does now, for all"`
	State       catalog.HostState `json:"state" enum:"up,stopped,lost" doc:"stopped: it has ended by itself; lost: it has not been heard of for two leases"`
}

// LeaseView is what one daemon does for all.
type LeaseView struct {
	Duty    catalog.Duty     `json:"duty" enum:"reconcile,reap,inherit,scrub,clean,grow,make" doc:"What it does"`
	Backend backends.Name    `json:"backend" doc:"On which backend or file cache; empty where it is about all claims"`
	StoreID backends.StoreID `json:"store_id" doc:"That backend's or file cache's own ID; empty where it is about all claims"`
	EntryID EntryID          `json:"entry_id" doc:"For which entry alone: it has another generation made for that; empty where it is about more"`
	Until   time.Time        `json:"until" doc:"When another one may take it, if it is not renewed; by the database's clock"`
}

// attendance is this daemon among all that use its catalog: it says again and again that it lives, and notices who does
// not any more.
//
// It decides nothing but who is lost, which the database's clock says. What a lost one was making is found by its
// leases; what it has left beside them, by the next reconcile, which it asks for. A crash leaves a daemon that is up, and lost two
// leases later.
type attendance struct {
	*house
	stock *stock
	// leftOut asks for a reconcile.
	leftOut func()
	// lost are the daemons whose loss was noticed. It is the beating goroutine's own.
	lost map[InstanceID]bool
	// doubled: another process goes by this daemon's ID, and that was said.
	doubled bool
}

// beatEvery is how often a daemon says that it lives, and aliveFor how long others believe that. On a catalog of its own
// nobody waits for it.
func (h *house) beatEvery() time.Duration {
	if h.sole {
		return choresEvery
	}
	return h.cfg.LeaseFor / 3
}

func (h *house) aliveFor() time.Duration {
	if h.sole {
		return 3 * choresEvery
	}
	return 2 * h.cfg.LeaseFor
}

// arrive makes the daemon known.
func (h *house) arrive(ctx context.Context) error {
	return h.catalog.Arrive(ctx, catalog.Arrival{Holder: h.holder, Name: h.cfg.Host, Version: h.cfg.Version, AliveFor: h.aliveFor()})
}

// beat says that the daemon lives, and looks at who else does. What fails is done at the next beat.
func (a *attendance) beat(ctx context.Context) {
	err := a.sayAlive(ctx)
	if a.noteCatalog(err); err != nil || a.sole {
		return
	}
	if err := errors.Join(a.readClock(ctx), a.lookAround(ctx)); err != nil && ctx.Err() == nil {
		a.log.WithError(err).Warn("other hosts not looked at; trying again")
	}
}

// sayAlive arrives anew where somebody has removed this daemon as lost.
func (a *attendance) sayAlive(ctx context.Context) error {
	err := a.catalog.Beat(ctx, a.holder, a.aliveFor())
	switch {
	case errors.Is(err, catalog.ErrNoHost):
		a.log.WithField("host", a.holder.Instance).Warn("this host had been removed from the catalog; it is known again")
		if err := a.arrive(ctx); err != nil {
			return err
		}
		return a.stock.tellStores(ctx)
	case errors.Is(err, catalog.ErrLost):
		if !a.doubled {
			a.doubled = true
			a.log.WithField("host", a.holder.Instance).Error("another daemon goes by this one's ID: state_dir was copied; stop one of them, and remove instance-id from its state_dir")
		}
		return nil
	}
	return err
}

// lookAround notices who is lost, and which stores are others'.
func (a *attendance) lookAround(ctx context.Context) error {
	if err := errors.Join(a.stock.readOthers(ctx), a.stock.readLabels(ctx)); err != nil {
		return err
	}
	all, err := a.catalog.Hosts(ctx)
	if err != nil {
		return err
	}
	lost := make(map[InstanceID]bool)
	for _, h := range all {
		if h.State != catalog.HostLost || h.ID == a.holder.Instance {
			continue
		}
		lost[h.ID] = true
		if !a.lost[h.ID] {
			a.noteLost(h)
		}
	}
	a.lost = lost
	return nil
}

func (a *attendance) noteLost(h catalog.Host) {
	a.log.WithFields(map[string]any{"host": h.ID, "name": h.Name, "last_seen": h.LastSeenAt}).Warn("host is lost; others end what it was making")
	a.leftOut()
}

// leave says that the daemon has ended by itself, or was not to begin after all.
func (h *house) leave() {
	if !h.arrived {
		return
	}
	ctx, cancel := h.cleanup(h.base)
	defer cancel()
	if err := h.catalog.Leave(ctx, h.holder); err != nil {
		h.log.WithError(err).Warn("that this host stops is not noted; others take it for lost in a while")
	}
}

// Hosts lists the daemons that use the catalog, ordered by name.
func (p *Plugin) Hosts(ctx context.Context) ([]HostView, error) { return p.stock.hosts(ctx) }

// hosts is Hosts. This daemon lives, as whoever asks it can see.
func (k *stock) hosts(ctx context.Context) ([]HostView, error) {
	if err := k.catalog.Beat(ctx, k.holder, k.aliveFor()); err != nil {
		k.log.WithError(err).Debug("that this host lives is not noted")
	}
	all, err := k.catalog.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]HostView, 0, len(all))
	for _, h := range all {
		views = append(views, k.hostView(h))
	}
	return views, nil
}

func (k *stock) hostView(h catalog.Host) HostView {
	v := HostView{
		ID: h.ID, Name: h.Name, Version: h.Version, FirstSeenAt: h.FirstSeenAt, BegunAt: h.BegunAt, LastSeenAt: h.LastSeenAt,
		Fills: h.Fills, Leases: []LeaseView{}, State: h.State,
	}
	for _, d := range h.Duties {
		l := LeaseView{Duty: d.Duty, StoreID: d.Store, EntryID: d.Entry, Until: d.Until}
		if d.Store != "" {
			l.Backend = k.label(d.Store)
		}
		v.Leases = append(v.Leases, l)
	}
	return v
}

// RemoveHost forgets a daemon that is gone for good: its leases end at once, and entries of stores that were its alone
// count as not configured. It is named by its ID, or by a part of at least four characters that only one's begins or ends
// with, or by its host's name. It is returned as it was. catalog.ErrNoHost, catalog.ErrHostUp, ErrBadRequest.
func (c Controls) RemoveHost(ctx context.Context, id string) (HostView, error) {
	view, err := c.p.remover.removeHost(ctx, id)
	if err == nil {
		c.p.reconciler.leftOut()
	}
	return view, err
}

// removeHost is RemoveHost.
func (rm *remover) removeHost(ctx context.Context, id string) (HostView, error) {
	all, err := rm.catalog.Hosts(ctx)
	if err != nil {
		return HostView{}, err
	}
	meant, err := hostMeant(all, id)
	if err != nil {
		return HostView{}, err
	}
	was, err := rm.catalog.RemoveHost(ctx, meant)
	if err != nil {
		return HostView{}, err
	}
	if err := rm.stock.readOthers(ctx); err != nil {
		rm.log.WithError(err).Debug("which stores are others' is found out later")
	}
	rm.log.WithFields(map[string]any{"host": was.ID, "name": was.Name, "fills": was.Fills}).Warn("host removed")
	return rm.stock.hostView(was), nil
}

// hostMeant is the ID of the one daemon that a person names. catalog.ErrNoHost, ErrBadRequest (several).
func hostMeant(all []catalog.Host, text string) (InstanceID, error) {
	var found []catalog.Host
	for _, h := range all {
		id := string(h.ID)
		if id == text {
			return h.ID, nil
		}
		part := len(text) >= catalog.MinPart && (strings.HasPrefix(id, text) || strings.HasSuffix(id, text))
		if part || h.Name == text {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%w: %s", catalog.ErrNoHost, text)
	case 1:
		return found[0].ID, nil
	}
	names := make([]string, len(found))
	for i, h := range found {
		names[i] = fmt.Sprintf("%s (%s, %s)", h.ID, h.Name, h.State)
	}
	return "", fmt.Errorf("%w: id: several hosts are meant by %s: %s; give the whole ID", ErrBadRequest, text, strings.Join(names, ", "))
}
