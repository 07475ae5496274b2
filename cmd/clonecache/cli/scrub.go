package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) scrub() *cobra.Command {
	var backend string
	share := sharePercent(0)
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Read image-volumes back and compare them with what was written",
		Long: `Reads every image-volume from end to end, past what the host has in memory, and compares it with the digest of its image
and with the sum of what was written. One that differs twice goes into quarantine: nothing is made from it any more,
the next request caches its image anew, and the volumes that were made from it are listed. The daemon does this by
itself, each scrub_every; this is for doing so at once.

Exit code 8: an image-volume is in quarantine. Exit code 9: a backend was left out.`,
		Example: `  clonecache scrub
  clonecache scrub --backend local --share 100`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runScrub(cmd.Context(), plugin.ScrubRequest{Backend: backends.Name(backend), Share: int(share)})
		},
	}
	cmd.Flags().StringVar(&backend, "backend", "", "only those of this backend or file cache")
	cmd.Flags().Var(&share, "share", "how much of the time it may take, in percent; as configured (scrub_share) without it")
	a.completeAllStores(cmd)
	return cmd
}

// sharePercent is the value of --share.
type sharePercent int

func (p *sharePercent) Set(text string) error {
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || fmt.Sprint(n) != text || n < 1 || n > 100 {
		return fmt.Errorf("write a percentage from 1 to 100")
	}
	*p = sharePercent(n)
	return nil
}

func (p *sharePercent) String() string {
	if *p == 0 {
		return ""
	}
	return fmt.Sprint(int(*p))
}
func (*sharePercent) Type() string { return "percent" }

func (a *app) runScrub(ctx context.Context, r plugin.ScrubRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	m := a.meter("image-volumes")
	result, err := c.Scrub(ctx, r, func(p api.CheckProgress) { m.update("reading", p.ReadBytes, p.TotalBytes) })
	m.finish()
	if err != nil {
		return err
	}
	if err := a.print(result, func(t *table) { showScrubbed(t, result) }); err != nil {
		return err
	}
	switch {
	case len(result.Quarantined) > 0:
		return errProblems
	case len(result.Unavailable) > 0:
		return exitWith(exitLater)
	}
	return nil
}

func showScrubbed(t *table, r plugin.ScrubResult) {
	t.line("%s read", plural(int64(r.Entries), "image-volume was", "image-volumes were"))
	if r.Unread > 0 {
		t.line("%d were not: they went meanwhile, or could not be read now; the log says why", r.Unread)
	}
	for _, s := range r.Unavailable {
		t.line("%s was left out: %s", s.Name, s.Error)
	}
	id := shortIDs(r.Quarantined, func(e plugin.EntryView) string { return e.ID })
	for _, e := range r.Quarantined {
		t.line("%s on %s is in quarantine: %s; %s", id(e.ID), e.Backend, few(e.ImageIDs), e.Quarantine)
		if len(e.MadeFrom) > 0 {
			t.line("  made from it: %s", listed(e.MadeFrom))
		}
	}
	if len(r.Quarantined) > 0 {
		t.line("nothing is made from these any more; `clonecache check` says what to do")
	}
}
