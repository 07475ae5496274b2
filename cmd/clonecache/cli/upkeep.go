package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) clean() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Remove what serves nothing any more",
		Long: `Removes what serves nothing any more: rows of failed fills, image-volumes that no entry names, detached ones that
nothing holds any more, and quota claims without an image-volume.

Exit code 9: a backend does not answer; the others are clean.`,
		Example: "  clonecache clean --dry-run\n  clonecache clean",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun {
				return a.cleaned(cmd, (*api.Client).PlanClean, showCleaning)
			}
			return a.cleaned(cmd, (*api.Client).Clean, showCleaned)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "remove nothing: say what would go, and why")
	return cmd
}

// cleaned shows what was removed, or would be, and ends with an error where stores were left out of it.
func (a *app) cleaned(cmd *cobra.Command, call func(*api.Client, context.Context) (plugin.CleanResult, error), show func(*table, plugin.CleanResult)) error {
	var silent []plugin.UnavailableView
	err := ask(a, func(ctx context.Context, c *api.Client) (plugin.CleanResult, error) {
		r, err := call(c, ctx)
		silent = r.Unavailable
		return r, err
	}, show)(cmd, nil)
	if err != nil {
		return err
	}
	return a.leftOut(silent)
}

func showCleaning(t *table, r plugin.CleanResult) {
	if len(r.Planned) > 0 {
		t.head("KIND", "BACKEND", "ID", "HELD", "WHY")
		t.spare("HELD", "BACKEND")
	}
	for _, p := range r.Planned {
		t.row(p.Kind, p.Backend, p.ID, t.size(p.Bytes), sentence(p.Why))
	}
	t.line("%d would go; nothing was removed", len(r.Planned))
}

func showCleaned(t *table, r plugin.CleanResult) {
	t.row("Failed fills", count(r.FailedEntries))
	t.row("Leftover image-volumes", count(r.Leftovers))
	t.row("Detached, last clone gone", count(r.Reaped))
	t.row("Quota claims", count(r.Claims))
	t.row("Freed", t.size(r.FreedBytes))
}

func (a *app) check() *cobra.Command {
	var r api.CheckRequest
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare catalog, backends and quota",
		Long: `Compares what the catalog says, what the backends hold and what the quota charges, and lists every difference with
its remedy. --repair mends what can be mended, and rebuilds entries that the catalog lost from what image-volumes say
of themselves. --deep also reads every image-volume and compares its content, and looks through whole backends for
what carries clonecache's mark and no listing names; it takes a look at each volume.

Exit code 8: there are problems left.`,
		Example: `  clonecache check
  clonecache check --repair
  clonecache check --deep -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runCheck(cmd.Context(), r)
		},
	}
	cmd.Flags().BoolVar(&r.Repair, "repair", false, "mend what can be mended")
	cmd.Flags().BoolVar(&r.Deep, "deep", false, "also read every image-volume and compare its content")
	return cmd
}

func (a *app) runCheck(ctx context.Context, r api.CheckRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	m := a.meter("image-volumes")
	result, err := c.Check(ctx, r, func(p api.CheckProgress) { m.update("reading", p.ReadBytes, p.TotalBytes) })
	m.finish()
	if err != nil {
		return err
	}
	if result.Problems == nil {
		result.Problems = []plugin.Problem{}
	}
	if err := a.print(result, func(t *table) { showCheck(t, result) }); err != nil {
		return err
	}
	if !result.OK {
		return errProblems
	}
	return nil
}

func showCheck(t *table, r plugin.CheckResult) {
	if len(r.Problems) > 0 {
		t.head("PROBLEM", "BACKEND", "ID", "REPAIRED", "DETAIL", "REMEDY")
		t.spare("REPAIRED", "BACKEND")
	}
	for _, p := range r.Problems {
		t.row(p.Kind, string(p.Backend), p.ID, yesNo(p.Repaired), sentence(p.Detail), p.Remedy)
	}
	switch {
	case r.OK && len(r.Problems) == 0:
		t.line("no problems: catalog, backends and quota agree")
	case r.OK:
		t.line("all problems are repaired")
	default:
		t.line("there are problems left")
	}
}
