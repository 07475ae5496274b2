package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// completionTime bounds the question to the daemon behind a press of the tab key.
const completionTime = time.Second

// names asks the daemon for names to complete; none where it does not answer.
func (a *app) names(cmd *cobra.Command, list func(context.Context, *api.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), completionTime)
	defer cancel()
	if err := a.start(cmd, nil); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	found, err := list(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completes makes a flag's value complete. It panics where there is no such flag.
func completes(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

func (a *app) completeBackends(cmd *cobra.Command) {
	completes(cmd, "backend", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
			views, err := c.Backends(ctx)
			return each(views, func(v plugin.BackendView) string { return string(v.Name) }), err
		})
	})
}

func (a *app) completeEntries(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
		views, err := c.Entries(ctx, plugin.EntryFilter{})
		return each(views, func(v plugin.EntryView) string { return v.ID + "\t" + few(v.ImageIDs) }), err
	})
}

func (a *app) completeVolumes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
		views, err := c.Volumes(ctx, "")
		return each(views, func(v plugin.VolumeView) string { return string(v.Volume) }), err
	})
}

func each[T any](items []T, name func(T) string) []string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = name(item)
	}
	return names
}
