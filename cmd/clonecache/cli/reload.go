package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) reload() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Let a changed configuration take effect",
		Long: `Has the daemon read its configuration again. The limits of backends and file caches (max_size, max_count, max_percent,
min_age, min_hits, evict_in_use, evict_for_quota, max_idle, remove_unused_after, share, request_timeout, max_waiting,
max_fills, enabled), image sources, groups, what is followed, fill_limit, max_fills_per_project, clean_every and
log_level take effect at once; requests and fills go on, also those of an image source that is gone.

Backends and file caches come and go: one that is new serves once it is known which store it is, and one that has left
the file takes no new work, while fills in it go on to their end. Nothing is deleted; its entries are shown as not
configured. What else has changed is named, and needs a restart, as another name of a backend, or another place, does;
so do groups and what is followed where they name what needs one.

A file that is wrong, or a new backend that is another one's place, changes nothing, and the answer says what is wrong
with it. Exit code 2 then.`,
		Example: "  clonecache reload",
		Args:    exactly(),
		RunE: ask(a, func(ctx context.Context, c *api.Client) (api.Reloaded, error) { return c.Reload(ctx) }, func(t *table, r api.Reloaded) {
			if len(r.Changed)+len(r.NeedsRestart) == 0 {
				t.line("nothing has changed")
			}
			for _, key := range r.Changed {
				t.line("in effect: %s", key)
			}
			for _, o := range r.NotOpen {
				t.line("does not answer: %s, which is tried again: %s", o.Name, o.Reason)
			}
			for _, key := range r.NeedsRestart {
				t.line("needs a restart: %s", key)
			}
		}),
	}
}
