package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// removal is a command that removes many entries: it can say what would go, and asks a person first.
type removal struct {
	yes, dryRun bool
	plan, do    func(context.Context, *api.Client) (plugin.PruneResult, error)
}

func (r *removal) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&r.yes, "yes", "y", false, "do not ask, on a terminal, before anything is removed")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "remove nothing: say what would go, and why")
}

func (r *removal) run(a *app, cmd *cobra.Command) error {
	if r.dryRun {
		return a.removed(cmd, r.plan, showPlan)
	}
	if a.In != nil && !r.yes {
		if err := r.confirm(cmd.Context(), a); err != nil {
			return err
		}
	}
	return a.removed(cmd, r.do, showRemoved)
}

// removed shows a removal, or a plan of one, and ends with an error where stores were left out of it.
func (a *app) removed(cmd *cobra.Command, call func(context.Context, *api.Client) (plugin.PruneResult, error), show func(*table, plugin.PruneResult)) error {
	var silent []plugin.UnavailableView
	err := ask(a, func(ctx context.Context, c *api.Client) (plugin.PruneResult, error) {
		r, err := call(ctx, c)
		silent = r.Unavailable
		return r, err
	}, show)(cmd, nil)
	if err != nil {
		return err
	}
	return a.leftOut(silent)
}

// leftOut says which stores were left out, since they do not answer; then it is an error.
func (a *app) leftOut(silent []plugin.UnavailableView) error {
	if len(silent) == 0 {
		return nil
	}
	for _, u := range silent {
		fmt.Fprintf(a.Err, "clonecache: %s was left out: %s; `clonecache backend list` shows it\n", clean(cell(string(u.Name))), clean(indented(u.Error)))
	}
	return exitWith(exitLater)
}

var errNotConfirmed = errors.New("not confirmed: nothing was removed; --yes does not ask")

// confirm asks the person at the terminal. Where nothing would go, there is nothing to ask.
func (r *removal) confirm(ctx context.Context, a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	plan, err := r.plan(ctx, c)
	if err != nil {
		return err
	}
	going, bytes := sumOf(plan)
	if going == 0 {
		return nil
	}
	fmt.Fprintf(a.Err, "%d entries go, which hold %s (--dry-run lists them). Go on? [y/N] ", going, size(bytes))
	agreed, err := a.answered(ctx)
	if err == nil && !agreed {
		err = errNotConfirmed
	}
	return err
}

// sumOf counts what a plan removes, and the bytes that it holds.
func sumOf(plan plugin.PruneResult) (going int, bytes int64) {
	for _, p := range plan.Planned {
		if p.Goes {
			going++
			bytes += p.Entry.HeldBytes
		}
	}
	return going, bytes
}

// answered reads one line of the person's; only y or yes agrees. An interrupt ends the wait.
func (a *app) answered(ctx context.Context) (bool, error) {
	line := make(chan string, 1)
	go func() { // it ends with the line, or with the process
		var word string
		_, _ = fmt.Fscanln(a.In, &word) // none is no agreement
		line <- word
	}()
	select {
	case word := <-line:
		return word == "y" || word == "Y" || word == "yes", nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// deleteFlags are what "entry delete" takes.
type deleteFlags struct {
	all     bool
	old     bool
	force   bool
	backend string
}

func (f *deleteFlags) many() bool { return f.all || f.old }

func (f *deleteFlags) check(args []string, r *removal) error {
	switch {
	case f.all && f.old, (len(args) == 1) == f.many(), len(args) > 1:
		return &usageError{errors.New("give either one ID, --all or --superseded")}
	case !f.many() && r.dryRun:
		return &usageError{errors.New("--dry-run goes with --all or --superseded; `clonecache entry show` tells what there is to say of one")}
	case !f.many() && f.backend != "":
		return &usageError{errors.New("--backend goes with --all or --superseded")}
	}
	return nil
}

func (a *app) entryDelete() *cobra.Command {
	var f deleteFlags
	every := &removal{
		plan: func(ctx context.Context, c *api.Client) (plugin.PruneResult, error) {
			return c.PlanDeletion(ctx, plugin.Deletion{Backend: backends.Name(f.backend), Superseded: f.old, Force: plugin.ForceDetach(f.force)})
		},
		do: func(ctx context.Context, c *api.Client) (plugin.PruneResult, error) {
			if f.old {
				return c.DeleteSupersededEntries(ctx, backends.Name(f.backend), plugin.ForceDetach(f.force))
			}
			return c.DeleteAllEntries(ctx, backends.Name(f.backend), plugin.ForceDetach(f.force))
		},
	}
	cmd := &cobra.Command{
		Use:   "delete ID | --all | --superseded",
		Short: "Delete an entry, or all of them",
		Long: `Deletes an entry and its image-volume. Volumes are never harmed: an entry with live clones is refused, or with
--force detached: no new clones are made of it, and its space comes free with its last clone. Pinned entries are
refused; --all and --superseded leave them, and ask first on a terminal. Superseded entries are of images that have
other content by now, are gone from their source, or are beyond "keep" of what is followed.

Exit code 9: a backend does not answer; its entries stay, and those of the others are deleted.`,
		Example: `  clonecache entry delete 0197c2f4
  clonecache entry delete 0197c2f4 --force
  clonecache entry delete --all --backend local --dry-run
  clonecache entry delete --all --backend local --yes
  clonecache entry delete --superseded`,
		Args: func(_ *cobra.Command, args []string) error { return noneEmpty(args, func(int) string { return "ID" }) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args, every); err != nil {
				return err
			}
			if f.many() {
				return every.run(a, cmd)
			}
			return ask(a, func(ctx context.Context, c *api.Client) (plugin.PruneResult, error) {
				return c.DeleteEntry(ctx, args[0], plugin.ForceDetach(f.force))
			}, showRemoved)(cmd, args)
		},
		ValidArgsFunction: a.completeEntries,
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "all entries but pinned ones")
	flags.BoolVar(&f.old, "superseded", false, "all superseded entries but pinned ones")
	flags.BoolVar(&f.force, "force", false, "detach what has live clones")
	flags.StringVar(&f.backend, "backend", "", "with --all or --superseded: only those of this backend or file cache")
	every.flags(cmd)
	a.completeAllStores(cmd)
	return cmd
}

func (a *app) prune() *cobra.Command {
	r := &removal{
		plan: func(ctx context.Context, c *api.Client) (plugin.PruneResult, error) { return c.PlanPrune(ctx) },
		do:   func(ctx context.Context, c *api.Client) (plugin.PruneResult, error) { return c.Prune(ctx) },
	}
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Bring the caches back within their bounds",
		Long: `Evicts what is over a bound, least recently used first, and what was not used for max_idle or remove_unused_after. The
daemon keeps the bounds by itself, lowered ones within minutes, and removes what was not used for remove_unused_after;
this is for doing so at once, and for max_idle. It asks first on a terminal.

Exit code 9: a backend does not answer; the others are within their bounds.`,
		Example: `  clonecache prune --dry-run
  clonecache prune --yes`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(a, cmd) },
	}
	r.flags(cmd)
	return cmd
}

func showPlan(t *table, r plugin.PruneResult) {
	t.head("ENTRY", "BACKEND", "IMAGE", "HELD", "GOES", "DETAIL")
	t.spare("BACKEND", "HELD", "ENTRY")
	id := shortIDs(r.Planned, func(p plugin.PlannedRemoval) string { return p.Entry.ID })
	for _, p := range r.Planned {
		t.row(id(p.Entry.ID), string(p.Entry.Backend), few(p.Entry.ImageIDs), t.size(p.Entry.HeldBytes), yesNo(p.Goes), p.Why)
	}
	going, bytes := sumOf(r)
	t.line("%d would go, which hold %s; nothing was removed", going, t.size(bytes))
}

func showRemoved(t *table, r plugin.PruneResult) {
	id := shortIDs(r.Removed, func(e plugin.EntryView) string { return e.ID })
	for _, e := range r.Removed {
		t.line("removed %s on %s: %s (%s)", id(e.ID), e.Backend, few(e.ImageIDs), t.size(e.HeldBytes))
	}
	t.line("%d removed, %s free at once", len(r.Removed), t.size(r.FreedBytes))
	if cloned := r.Detached - r.DetachedOpen; cloned > 0 {
		t.line("%d of them have live clones: their space comes free with the last of these", cloned)
	}
	if r.DetachedOpen > 0 {
		t.line("%d of them could not be freed yet, since a client has them open, or died a moment ago: they go by themselves", r.DetachedOpen)
	}
}
