package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// switched is what "backend disable" and "backend enable" answer with -o json.
type switched struct {
	Backends []backends.Name `json:"backends"`
	Disabled bool            `json:"disabled"`

	held []backends.Name // those that stay out of use all the same
}

func (a *app) backendDisable() *cobra.Command {
	var all, drain bool
	cmd := &cobra.Command{
		Use:   "disable [NAME]",
		Short: "Put a backend out of use",
		Long: `Puts a backend, or a file cache, out of use, for all daemons on its catalog and over restarts: requests for it are
bypassed (reason backend_disabled), nothing is filled, and nothing goes there: not for room or quota, by age or by
"prune". What "entry delete" and "volume delete" name goes. Fills that go on come to their
end. "backend enable" puts it into use again; --all means every backend and every file cache.`,
		Example: `  clonecache backend disable local --drain
  clonecache backend disable --all`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.switchBackends(cmd, args, all, true, func(ctx context.Context, c *api.Client, name backends.Name) error {
				return c.DisableBackend(ctx, name, plugin.Draining(drain))
			})
		},
		ValidArgsFunction: a.completeStoreNames,
	}
	cmd.Flags().BoolVar(&all, "all", false, "every backend and file cache")
	cmd.Flags().BoolVar(&drain, "drain", false, "wait until no fill goes on there")
	return cmd
}

func (a *app) backendEnable() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "enable [NAME]",
		Short: "Put a backend into use again",
		Long: `Puts a backend, or a file cache, into use again. One with "enabled = false" in the configuration stays out of use until
that is changed.`,
		Example: `  clonecache backend enable local
  clonecache backend enable --all`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.switchBackends(cmd, args, all, false, func(ctx context.Context, c *api.Client, name backends.Name) error {
				return c.EnableBackend(ctx, name)
			})
		},
		ValidArgsFunction: a.completeStoreNames,
	}
	cmd.Flags().BoolVar(&all, "all", false, "every backend and file cache")
	return cmd
}

// atMostOne wants one name, or none beside --all.
func atMostOne(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &usageError{errors.New("give one NAME, or --all")}
	}
	return nil
}

// switchBackends puts a backend, or all, into use or out of it by to.
func (a *app) switchBackends(cmd *cobra.Command, args []string, all, off bool, to func(context.Context, *api.Client, backends.Name) error) error {
	if all == (len(args) == 1) {
		return &usageError{errors.New("give one NAME, or --all")}
	}
	return ask(a, func(ctx context.Context, c *api.Client) (switched, error) {
		done := switched{Backends: []backends.Name{}, Disabled: off}
		names := each(args, func(s string) string { return s })
		if all {
			views, err := c.Backends(ctx)
			if err != nil {
				return done, err
			}
			for _, v := range views {
				names = append(names, string(v.Name))
			}
		}
		for _, name := range names {
			if err := to(ctx, c, backends.Name(name)); err != nil {
				return done, err
			}
			done.Backends = append(done.Backends, backends.Name(name))
		}
		if off {
			return done, nil
		}
		return done.butHeld(ctx, c)
	}, func(t *table, done switched) {
		state := "in use"
		if off {
			state = "out of use"
		}
		for _, name := range done.Backends {
			t.line("%s is %s", name, state)
		}
		for _, name := range done.held {
			t.line("%s stays out of use: it has enabled = false in the configuration; change that, then `clonecache reload`", name)
		}
	})(cmd, args)
}

// butHeld is done without the backends that their configuration keeps out of use.
func (done switched) butHeld(ctx context.Context, c *api.Client) (switched, error) {
	views, err := c.Backends(ctx)
	if err != nil {
		return done, err
	}
	held := func(name backends.Name) bool {
		return slices.ContainsFunc(views, func(v plugin.BackendView) bool { return v.Name == name && v.Disabled })
	}
	for _, name := range done.Backends {
		if held(name) {
			done.held = append(done.held, name)
		}
	}
	done.Backends = slices.DeleteFunc(done.Backends, held)
	return done, nil
}

func (a *app) completeStoreNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
		views, err := c.Backends(ctx)
		return each(views, func(v plugin.BackendView) string { return string(v.Name) + "\t" + v.Kind }), err
	})
}
