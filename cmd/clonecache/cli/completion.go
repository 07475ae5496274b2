package cli

import (
	"context"
	"slices"
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

// completeBackends completes the names of backends: where volumes can be.
func (a *app) completeBackends(cmd *cobra.Command) {
	a.completeStores(cmd, func(v plugin.BackendView) bool { return v.Kind != fileCacheKind })
}

// completeAllStores completes the names of backends and file caches: where entries can be.
func (a *app) completeAllStores(cmd *cobra.Command) {
	a.completeStores(cmd, func(plugin.BackendView) bool { return true })
}

const fileCacheKind = "filecache"

func (a *app) completeStores(cmd *cobra.Command, fits func(plugin.BackendView) bool) {
	completes(cmd, "backend", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
			views, err := c.Backends(ctx)
			views = slices.DeleteFunc(views, func(v plugin.BackendView) bool { return !fits(v) })
			return each(views, func(v plugin.BackendView) string { return string(v.Name) + "\t" + v.Kind }), err
		})
	})
}

// completeImages completes images that are cached: those are known without asking their sources.
func (a *app) completeImages(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
		entries, err := c.Entries(ctx, plugin.EntryFilter{})
		var images []string
		for _, e := range entries {
			images = append(images, e.ImageIDs...)
		}
		slices.Sort(images)
		return slices.Compact(images), err
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
