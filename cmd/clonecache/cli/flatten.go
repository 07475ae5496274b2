package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) volumeFlatten() *cobra.Command {
	var backend string
	cmd := &cobra.Command{
		Use:   "flatten NAME",
		Short: "Make a volume depend on nothing",
		Long: `Copies into a volume what it still shares with its image-volume, so that it depends on nothing any more. It takes as
long as a copy, and the volume may be in use. An image-volume that was detached goes with the last volume that depends
on it. Where clones are independent anyway, nothing is done. After an interruption the volume is whole: repeat it.`,
		Example: `  clonecache volume flatten web-1
  clonecache volume flatten volume-0b2d --backend ceph`,
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.flattenVolume(cmd.Context(), backends.Name(backend), backends.VolumeName(args[0]))
		},
		ValidArgsFunction: a.completeVolumes,
	}
	cmd.Flags().StringVar(&backend, "backend", "", "where it is; needed where there are several")
	a.completeBackends(cmd)
	return cmd
}

func (a *app) flattenVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	m := a.meter(string(volume))
	result, err := c.FlattenVolume(ctx, backend, volume, func(p api.FlattenProgress) { m.update("flattening", p.DoneBytes, p.TotalBytes) })
	m.finish()
	if err != nil {
		return err
	}
	return a.print(result, func(t *table) { showFlattened(t, result) })
}

func showFlattened(t *table, f plugin.Flattened) {
	t.line("%s on %s depends on nothing now, after %s", f.Volume, f.Backend, took(f.TookMS))
	if f.Reaped > 0 {
		t.line("  %s detached image-volumes are gone, %s came free", count(f.Reaped), t.size(f.FreedBytes))
	}
}
