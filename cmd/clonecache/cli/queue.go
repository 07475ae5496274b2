package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// prefetchFlags are what "prefetch" takes.
type prefetchFlags struct {
	request  api.PrefetchRequest
	backends []string
	pin      bool
	wait     bool
	sweep    bool
}

func (a *app) prefetch() *cobra.Command {
	var f prefetchFlags
	cmd := &cobra.Command{
		Use:   "prefetch IMAGE...",
		Short: "Cache images ahead of their first request",
		Long: `Caches images ahead of their first request, which is a hit then. Filling begins at once where there is a place among
the fills (fill_limit); what exceeds it waits in the queue, which outlives the daemon: "queue list" shows it. Where a
fill fails for a reason that may pass, it is tried again, later each time.

Without --backend, --group or --all the only backend is meant. Several backends get an image from one download. Where
a backend cannot clone, its file cache is filled.

With --sweep it looks at once for what the daemon's configuration follows ([[follow]]), instead of at the next time;
what is not there is queued.

Exit code 1: with --wait, an image was not cached. 6: there is no such image source, backend or group.`,
		Example: `  clonecache prefetch library:debian-12.qcow2
  clonecache prefetch library:debian-12.qcow2 --all --pin --wait
  clonecache prefetch library:debian-12.qcow2 --backend local --priority 10
  clonecache prefetch --sweep`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.sweep {
				return nil
			}
			return atLeastOne("IMAGE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.sweep {
				return a.runSweep(cmd.Context(), &f, args)
			}
			return a.runPrefetch(cmd.Context(), &f, args)
		},
		ValidArgsFunction: a.completeImages,
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.backends, "backend", nil, "where; it may be given several times")
	flags.StringVar(&f.request.Group, "group", "", "on the backends of this [[group]] of the daemon's configuration")
	flags.BoolVar(&f.request.All, "all", false, "on every backend")
	flags.BoolVar(&f.wait, "wait", false, "wait until each is cached, or has failed for good")
	flags.BoolVar(&f.sweep, "sweep", false, "look at once for what the daemon's configuration follows")
	flags.BoolVar(&f.pin, "pin", false, "keep them from eviction once they are cached")
	flags.IntVar(&f.request.Priority, "priority", 0, "the greatest goes first; from -1000 to 1000")
	a.completeAllStores(cmd)
	return cmd
}

func (a *app) runPrefetch(ctx context.Context, f *prefetchFlags, images []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	f.request.Images, f.request.Pin = images, plugin.Pinning(f.pin)
	for _, name := range f.backends {
		f.request.Backends = append(f.request.Backends, backends.Name(name))
	}
	views, err := c.Prefetch(ctx, f.request)
	if err != nil {
		return err
	}
	if f.wait {
		if views, err = a.awaitQueued(ctx, c, views); err != nil {
			return err
		}
	}
	if err := a.print(views, func(t *table) { showQueue(t, views) }); err != nil {
		return err
	}
	if f.wait && slices.ContainsFunc(views, func(v plugin.QueuedView) bool { return v.State != "done" }) {
		return exitWith(exitError)
	}
	return nil
}

// queuePoll is how often the daemon is asked how far a queue is.
const queuePoll = 300 * time.Millisecond

// awaitQueued waits until all of these have ended, and shows how far they are. One that was taken out of the queue
// meanwhile is returned as it was seen last.
func (a *app) awaitQueued(ctx context.Context, c *api.Client, views []plugin.QueuedView) ([]plugin.QueuedView, error) {
	label := fmt.Sprintf("%d images", len(views))
	if len(views) == 1 {
		label = views[0].ImageID
	}
	m := a.meter(label)
	defer m.finish()
	tick := time.NewTicker(queuePoll)
	defer tick.Stop()
	said := make(map[string]bool)
	for {
		all, err := c.Queue(ctx)
		if err != nil {
			return nil, a.stillQueued(ctx, err)
		}
		going := false
		var read, total int64
		for i, v := range views {
			at := slices.IndexFunc(all, func(o plugin.QueuedView) bool { return o.ID == v.ID })
			if at >= 0 {
				views[i] = all[at]
				going = going || all[at].EndedAt == nil
				a.tellWhy(said, all[at])
			}
			read, total = read+views[i].ReadBytes, total+max(views[i].TotalBytes, 0)
		}
		if !going {
			return views, nil
		}
		m.update("caching", read, total)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, a.stillQueued(ctx, ctx.Err())
		}
	}
}

// tellWhy says once of each reason why an image waits that it was tried before.
func (a *app) tellWhy(said map[string]bool, v plugin.QueuedView) {
	if v.State != "waiting" || v.LastError == "" || said[v.LastError] {
		return
	}
	said[v.LastError] = true
	fmt.Fprintf(a.Err, "clonecache: %s on %s waits, and is tried again: %s\n", clean(cell(v.ImageID)), v.Backend, clean(sentence(v.LastError)))
}

// stillQueued says to who interrupts a wait that the daemon goes on.
func (a *app) stillQueued(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	fmt.Fprintln(a.Err, "clonecache: interrupted; the images stay in the queue: `clonecache queue list` shows them, `clonecache queue delete` takes them out")
	return exitWith(exitInterrupted)
}

func (a *app) queue() *cobra.Command {
	return group("queue", "Show and change what is to be cached ahead",
		`The queue holds the images that are to be cached ahead of their first request: what "prefetch", a [[follow]] and
Glance's cache API asked for. It is in the catalog, and outlives the daemon. The ID of an image in it may be shortened
to any 4 characters or more that begin or end no other.`,
		a.queueList(), a.queueDelete(), a.queueClear(), a.queueRetry())
}

func (a *app) queueList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the queue",
		Long: `Lists the images that are being cached ahead, those that wait, in their order, those that failed, and those that were
done in the last hour. FORM is what is cached of an image: decoded, its disk for volumes, or source, its own bytes for
who downloads it. What is begun and waits for a place among the fills shows under READ whose bound keeps it: of all
fills (fill_limit), of those of its source or backend (max_fills), or of those of a project (max_fills_per_project).`,
		Example: `  clonecache queue list
  clonecache queue list -o json`,
		Args: exactly(),
		RunE: ask(a, func(ctx context.Context, c *api.Client) ([]plugin.QueuedView, error) { return c.Queue(ctx) }, showQueue),
	}
}

func showQueue(t *table, views []plugin.QueuedView) {
	t.head("QUEUED", "BACKEND", "IMAGE", "FORM", "STATE", "POSITION", "PRIORITY", "READ", "RATE", "LEFT", "ATTEMPTS", "NEXT TRY", "LAST ERROR")
	t.spare("FORM", "PRIORITY", "ATTEMPTS", "RATE", "NEXT TRY", "READ", "LEFT", "POSITION", "QUEUED")
	id := shortIDs(views, func(v plugin.QueuedView) string { return v.ID })
	for _, v := range views {
		var position, read, rate, left, next string
		if v.Position > 0 {
			position = count(v.Position)
		}
		if v.ReadBytes > 0 {
			read = t.size(v.ReadBytes)
		}
		if v.TotalBytes > 0 && v.State == "running" {
			read = fmt.Sprintf("%s of %s (%d%%)", cmp.Or(read, "0"), t.size(v.TotalBytes), v.ReadBytes*100/v.TotalBytes)
		}
		if v.WaitsFor != "" {
			read = "waits: " + string(v.WaitsFor)
		}
		if v.Rate > 0 {
			rate = t.size(v.Rate) + "/s"
		}
		if v.ETA != nil {
			left = max(v.ETA.Sub(t.now), 0).Round(time.Second).String()
		}
		if v.NextTryAt != nil && v.NextTryAt.After(t.now) {
			next = "in " + v.NextTryAt.Sub(t.now).Round(time.Second).String()
		}
		t.row(id(v.ID), string(v.Backend), v.ImageID, string(v.Form), v.State, position, count(v.Priority), read, rate, left, count(v.Attempts), next, sentence(v.LastError))
	}
}

// takenOut is what "queue delete -o json" answers.
type takenOut struct {
	Deleted []plugin.QueuedView `json:"deleted"`
}

func (a *app) queueDelete() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID...",
		Short:   "Take images out of the queue",
		Long:    "Takes images out of the queue. A fill that goes on for one of them ends, unless a request waits for it too.",
		Example: "  clonecache queue delete 0197c2f4",
		Args:    atLeastOne("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, func(ctx context.Context, c *api.Client) (takenOut, error) {
				out := takenOut{Deleted: []plugin.QueuedView{}}
				for _, id := range args {
					v, err := c.DeleteQueued(ctx, id)
					if err != nil {
						return out, err
					}
					out.Deleted = append(out.Deleted, v)
				}
				return out, nil
			}, func(t *table, out takenOut) {
				for _, v := range out.Deleted {
					t.line("%s on %s is not in the queue any more", v.ImageID, v.Backend)
				}
			})(cmd, args)
		},
		ValidArgsFunction: a.completeQueue,
	}
}

func (a *app) queueClear() *cobra.Command {
	return &cobra.Command{
		Use:     "clear",
		Short:   "Empty the queue",
		Long:    "Empties the queue. Fills that go on for it end, unless requests wait for them too.",
		Example: "  clonecache queue clear",
		Args:    exactly(),
		RunE: ask(a, func(ctx context.Context, c *api.Client) (api.QueueCount, error) { return c.ClearQueue(ctx) }, func(t *table, n api.QueueCount) {
			t.line("%s in the queue", plural(int64(n.Images), "image was", "images were"))
		}),
	}
}

func (a *app) queueRetry() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "retry [ID...]",
		Short: "Try images again at once",
		Long:  "Lets images that failed, or wait for their next try, be tried at once, as if for the first time; with --all every one.",
		Example: `  clonecache queue retry 0197c2f4
  clonecache queue retry --all`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return &usageError{errors.New("give either IDs or --all")}
			}
			return ask(a, func(ctx context.Context, c *api.Client) (api.QueueCount, error) {
				if all {
					return c.RetryQueue(ctx)
				}
				var n api.QueueCount
				for _, id := range args {
					if _, err := c.RetryQueued(ctx, id); err != nil {
						return n, err
					}
					n.Images++
				}
				return n, nil
			}, func(t *table, n api.QueueCount) { t.line("%s tried again", plural(n.Images, "image is", "images are")) })(cmd, args)
		},
		ValidArgsFunction: a.completeQueue,
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that failed or wait for their next try")
	return cmd
}

func (a *app) completeQueue(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
		views, err := c.Queue(ctx)
		return each(views, func(v plugin.QueuedView) string { return v.ID + "\t" + strings.TrimSpace(v.ImageID) }), err
	})
}
