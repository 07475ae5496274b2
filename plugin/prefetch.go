package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Prefetch asks for images to be cached ahead of their first request.
type Prefetch struct {
	Images []string // as Request.Image
	// Backends, Group and All say where; one of them at most. None: the only backend.
	Backends []backends.Name
	Group    string
	All      bool // every backend
	Pin      Pinning
	Priority int // the greatest goes first
}

const (
	// maxPriority bounds Prefetch.Priority, either way.
	maxPriority = 1000
	// maxQueuedImage bounds an image's reference in the queue, in bytes; the API bounds it so in a request for a volume.
	maxQueuedImage = 4096
)

// QueuedView is an image in the queue as people and programs see it.
type QueuedView struct {
	ID         string        `json:"id" doc:"The row's ID"`
	ImageID    string        `json:"image_id" doc:"SOURCE:ID of the image"`
	Backend    backends.Name `json:"backend" doc:"Where it is to be cached"`
	Form       backends.Form `json:"form" enum:"decoded,source" doc:"What is to be cached: the disk for volumes, or the image's own bytes for who downloads them"`
	State      string        `json:"state" enum:"waiting,running,done,failed" doc:"How far it has come"`
	Position   int           `json:"position" doc:"Its place among those that wait, from 1; 0 where it does not wait"`
	Priority   int           `json:"priority" doc:"The greatest goes first"`
	Pin        bool          `json:"pin" doc:"Its entry is pinned once it is there"`
	ReadBytes  int64         `json:"read_bytes" doc:"Bytes of the image read so far; where another daemon reads them, as of the last renewal of its lease"`
	TotalBytes int64         `json:"total_bytes" doc:"Bytes of the image; -1 where nobody has told yet"`
	Rate       int64         `json:"rate" doc:"Bytes that are read each second; 0: not known"`
	ETA        *time.Time    `json:"eta" doc:"When all of the image will have been read, at the rate of the last quarter of its time; null where nobody can tell"`
	WaitsFor   Bound         `json:"waits_for,omitempty" enum:"fills,source,backend,project" doc:"Absent unless this daemon works on it and its fill waits for its place: whose bound keeps it, as of a fill in flight"`
	Attempts   int           `json:"attempts" doc:"How often it was begun"`
	LastError  string        `json:"last_error" doc:"What the last attempt came to; empty where none has failed"`
	NextTryAt  *time.Time    `json:"next_try_at" doc:"Not tried before; null: as soon as there is a place"`
	QueuedAt   time.Time     `json:"queued_at"`
	EndedAt    *time.Time    `json:"ended_at" doc:"When it was done, or failed for good; null before"`
	EntryID    string        `json:"entry_id" doc:"The entry that has the image, once it is done"`
	InstanceID InstanceID    `json:"instance_id" doc:"The daemon that works on it; empty where none does"`
}

// Queue is what is to be cached ahead of requests. Its methods may be called from several goroutines.
type Queue struct{ q *queue }

// Queue is that of this cache.
func (p *Plugin) Queue() Queue { return Queue{p.queue} }

// Prefetch queues images, each for each of the backends that are meant, and returns their rows. They are filled at once
// where there is a place among the fills, else in the order of priority and age, by this daemon or another one on the
// same catalog. One that waits, or is filled, already keeps its row. It is not asked yet whether a source has the image.
// ErrBadRequest, ErrUnknownBackend; imagesource.ErrNoSource, ErrRefused, ErrAmbiguous; backends.ErrUnavailable: a backend
// has not been open yet since it was first configured.
func (o Queue) Prefetch(ctx context.Context, r Prefetch) ([]QueuedView, error) {
	return o.q.add(ctx, r)
}

// add is Prefetch.
func (q *queue) add(ctx context.Context, r Prefetch) ([]QueuedView, error) {
	if len(r.Images) == 0 {
		return nil, fmt.Errorf("%w: images: name one or more", ErrBadRequest)
	}
	if r.Priority < -maxPriority || r.Priority > maxPriority {
		return nil, fmt.Errorf("%w: priority: %d is not between %d and %d", ErrBadRequest, r.Priority, -maxPriority, maxPriority)
	}
	stores, err := q.meant(ctx, r)
	if err != nil {
		return nil, err
	}
	images, err := q.resolved(ctx, r.Images)
	if err != nil {
		return nil, err
	}
	var specs []catalog.QueueSpec
	for _, image := range images {
		for _, s := range stores {
			specs = append(specs, catalog.QueueSpec{Store: s.id(), Image: image, Priority: r.Priority, Pin: bool(r.Pin)})
		}
	}
	rows, err := q.catalog.Enqueue(ctx, specs)
	if err != nil {
		return nil, err
	}
	q.poke()
	return q.viewsOf(ctx, rows)
}

// meant are the stores where images are to be cached.
func (q *queue) meant(ctx context.Context, r Prefetch) ([]*store, error) {
	names, err := q.namesOf(r)
	if err != nil {
		return nil, err
	}
	var stores []*store
	for _, name := range names {
		s, err := q.stock.anyNamed(name)
		if err != nil {
			return nil, err
		}
		if s.id() == "" {
			if err := q.stock.ensure(ctx, s); err != nil {
				return nil, err
			}
		}
		if !slices.Contains(stores, s) {
			stores = append(stores, s)
		}
	}
	return stores, nil
}

func (q *queue) namesOf(r Prefetch) ([]backends.Name, error) {
	given := 0
	for _, is := range []bool{len(r.Backends) > 0, r.Group != "", r.All} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, fmt.Errorf("%w: backends, group and all exclude each other; give one", ErrBadRequest)
	case r.All:
		return q.stock.backendNames(), nil
	case r.Group != "":
		return q.group(r.Group)
	case len(r.Backends) > 0:
		return r.Backends, nil
	}
	return []backends.Name{""}, nil // the only one
}

func (q *queue) group(name string) ([]backends.Name, error) {
	var all []string
	for _, g := range *q.groups.Load() {
		if g.Name == name {
			return g.Backends, nil
		}
		all = append(all, g.Name)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: group %q; the configuration has no [[group]]", ErrUnknownBackend, name)
	}
	return nil, fmt.Errorf("%w: group %q; there is %s", ErrUnknownBackend, name, strings.Join(all, ", "))
}

// resolved are the images by their SOURCE:ID, each once. A reference that only a secret completes is refused, since
// the queue would keep it.
func (q *queue) resolved(ctx context.Context, refs []string) ([]string, error) {
	var images []string
	known := make(map[string]bool, len(refs))
	for _, ref := range refs {
		if err := plainText("images", ref); err != nil {
			return nil, err
		}
		if ref == "" || len(ref) > maxQueuedImage {
			return nil, fmt.Errorf("%w: images: %.64q has %d bytes; an image is SOURCE:ID, of %d bytes at most", ErrBadRequest, imagesource.ShownRef(ref), len(ref), maxQueuedImage)
		}
		var w wanted
		if err := w.resolve(ctx, q.sources, ref); err != nil {
			return nil, err
		}
		if w.image.ID != w.id {
			return nil, fmt.Errorf("%w: images: %s has a query, which may be a credential and is not kept; give a URL without one", ErrBadRequest, w.image.Ref())
		}
		if image := w.image.Ref(); !known[image] {
			known[image] = true
			images = append(images, image)
		}
	}
	return images, nil
}

// attempt has a row's image cached, or finds that it is. several: other stores are to get it too.
func (q *queue) attempt(j *job, shared *sharedDownload, several bool) (catalog.Entry, error) {
	ctx := j.ctx
	asked := q.stock.storeOf(j.row.Store)
	if asked == nil {
		return catalog.Entry{}, errNoStore
	}
	s, err := q.target(ctx, asked)
	if err != nil {
		return catalog.Entry{}, err
	}
	want := wanted{sharing: asked.sharing(), form: j.row.Form}
	if want.asItIs() {
		want.sharing = catalog.ShareOwner
	}
	if err := want.resolve(ctx, q.sources, j.row.Image); err != nil {
		return catalog.Entry{}, err
	}
	if several {
		want.source = shared.of(want.source)
	}
	if err := q.fills.authorise(ctx, &want); err != nil {
		return catalog.Entry{}, err
	}
	if since := want.image.StaleSince; !since.IsZero() {
		return catalog.Entry{}, fmt.Errorf("%w: %s does not answer since %s", imagesource.ErrUnavailable, want.image.Source, since.UTC().Format(time.RFC3339))
	}
	if want.asItIs() {
		return q.attemptBytes(ctx, j, s, &want)
	}
	if e, ready := s.find(&want); ready && q.sole { // with several hosts, the catalog says whether another one has evicted it
		if e, ready = q.fills.current(ctx, s, e); ready {
			return e, nil
		}
	}
	f, err := q.fills.fillShared(ctx, want, s, &waiter{progress: j.report})
	if err != nil {
		return catalog.Entry{}, err
	}
	return f.entry, nil
}

// attemptBytes has the bytes of a row's image kept, or finds that they are.
func (q *queue) attemptBytes(ctx context.Context, j *job, s *store, want *wanted) (catalog.Entry, error) {
	if err := want.describedWhole(); err != nil {
		return catalog.Entry{}, err
	}
	if e, ready := s.find(want); ready && q.sole {
		return e, nil
	}
	f, err := q.fills.fillShared(ctx, *want, s, &waiter{progress: j.report})
	if err != nil {
		return catalog.Entry{}, err
	}
	return f.entry, nil
}

// target is where an image is cached for those who ask a store: there, or in its file cache where it cannot clone.
func (q *queue) target(ctx context.Context, s *store) (*store, error) {
	if err := errors.Join(s.outOfUse(), s.down(), q.stock.ensure(ctx, s)); err != nil {
		return nil, err
	}
	if s.backend == nil {
		return s, nil
	}
	info := s.images.Info()
	switch {
	case info.CanClone:
		return s, nil
	case s.fallback == nil:
		return nil, &stepAside{reason: ReasonCannotClone, detail: fmt.Sprintf("%s cannot clone, and has no fallback: %s", s.name, info.NoClone)}
	}
	return s.fallback, errors.Join(s.fallback.outOfUse(), s.fallback.down(), q.stock.ensure(ctx, s.fallback))
}

// Queued lists what is queued: what is being filled, then what waits, in its order, then what has failed, then what was
// done in the last hour.
func (o Queue) Queued(ctx context.Context) ([]QueuedView, error) {
	return o.q.viewsOf(ctx, nil)
}

// viewsOf are the rows as they are now; nil: all.
func (q *queue) viewsOf(ctx context.Context, only []catalog.Queued) ([]QueuedView, error) {
	rows, err := q.catalog.Queue(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]QueuedView, 0, len(rows))
	wanted := make(map[catalog.QueueID]bool, len(only))
	for _, row := range only {
		wanted[row.ID] = true
	}
	position := 0
	for _, row := range rows {
		v := q.view(row)
		if row.State == catalog.QueueWaiting {
			position++
			v.Position = position
		}
		if only == nil || wanted[row.ID] {
			views = append(views, v)
		}
	}
	return views, nil
}

func (q *queue) view(row catalog.Queued) QueuedView {
	v := QueuedView{
		ID: string(row.ID), ImageID: row.Image, Backend: q.stock.label(row.Store), Form: row.Form, State: string(row.State), Priority: row.Priority, Pin: row.Pin,
		ReadBytes: row.Progress.Read, TotalBytes: row.Progress.Total, Attempts: row.Attempts, LastError: row.LastError,
		NextTryAt: orNull(row.NextTryAt), QueuedAt: row.QueuedAt, EndedAt: orNull(row.EndedAt), EntryID: string(row.Entry), InstanceID: row.Lease.Instance,
	}
	if j := q.working(row.ID); j != nil && row.State == catalog.QueueRunning {
		so := j.soFar()
		v.ReadBytes, v.TotalBytes, v.Rate, v.ETA, v.WaitsFor = so.ReadBytes, so.TotalBytes, so.Rate, so.ETA, so.WaitsFor
	}
	return v
}

func orNull(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// DeleteQueued takes an image out of the queue; a fill that only the queue waits for ends. id may be shortened to 4
// characters or more that begin or end no other. catalog.ErrNotQueued.
func (o Queue) DeleteQueued(ctx context.Context, id string) (QueuedView, error) {
	return o.q.change(ctx, id, func(row catalog.QueueID) error { return o.DropQueued(ctx, string(row)) })
}

// DropQueued is DeleteQueued by a whole ID, for who takes many out: it looks at no other row.
func (o Queue) DropQueued(ctx context.Context, id string) error {
	row := catalog.QueueID(id)
	err := o.q.catalog.DeleteQueued(ctx, row)
	o.q.cancelled(row)
	return err
}

// ClearQueue empties the queue, and says how many images were in it; fills that only the queue waits for end.
func (o Queue) ClearQueue(ctx context.Context) (int64, error) {
	n, err := o.q.catalog.ClearQueue(ctx)
	if err == nil {
		o.q.cancelled()
	}
	return n, err
}

// RetryQueued lets an image that failed, or waits for its next try, be tried at once. id as for DeleteQueued.
// catalog.ErrNotQueued; ErrBusy: it is being filled, or is done.
func (o Queue) RetryQueued(ctx context.Context, id string) (QueuedView, error) {
	return o.q.change(ctx, id, func(row catalog.QueueID) error {
		err := o.q.catalog.RetryQueued(ctx, row)
		if errors.Is(err, catalog.ErrNotQueued) {
			return fmt.Errorf("%w: the image is being filled, or is done", ErrBusy)
		}
		o.q.poke()
		return err
	})
}

// RetryQueue is RetryQueued of all that failed or wait for their next try, and says how many.
func (o Queue) RetryQueue(ctx context.Context) (int64, error) {
	n, err := o.q.catalog.RetryQueue(ctx)
	o.q.poke()
	return n, err
}

// change does something to the row that an ID means, and returns it as it was before.
func (q *queue) change(ctx context.Context, id string, do func(catalog.QueueID) error) (QueuedView, error) {
	views, err := q.viewsOf(ctx, nil)
	if err != nil {
		return QueuedView{}, err
	}
	var found []QueuedView
	for _, v := range views {
		part := len(id) >= catalog.MinPart && (strings.HasPrefix(v.ID, id) || strings.HasSuffix(v.ID, id))
		if v.ID == id || part {
			found = append(found, v)
		}
	}
	switch {
	case len(found) == 0:
		return QueuedView{}, fmt.Errorf("%w: %q", catalog.ErrNotQueued, cmp.Or(id, "nothing"))
	case len(found) > 1:
		return QueuedView{}, fmt.Errorf("%w: id: %d images in the queue have an ID that begins or ends with %q; write more of it", ErrBadRequest, len(found), id)
	}
	return found[0], do(catalog.QueueID(found[0].ID))
}
