package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
)

func (a *app) volumeKeep() *cobra.Command {
	var backend string
	cmd := &cobra.Command{
		Use:   "keep NAME...",
		Short: "Say that volumes are wanted of which perhaps nobody knew",
		Long: `Says that volumes which "volume list" shows as kept are wanted. They are ordinary volumes from then on, and "check" is
silent about them. A volume that is ordinary already stays so.`,
		Example: `  clonecache volume keep web-1
  clonecache volume keep volume-0b2d --backend ceph`,
		Args: atLeastOne("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.keepVolumes(cmd.Context(), backends.Name(backend), args)
		},
		ValidArgsFunction: a.completeVolumes,
	}
	cmd.Flags().StringVar(&backend, "backend", "", "where they are; needed where there are several")
	a.completeBackends(cmd)
	return cmd
}

// keptVolumes is what "volume keep -o json" answers.
type keptVolumes struct {
	Kept []string `json:"kept"`
}

func (a *app) keepVolumes(ctx context.Context, backend backends.Name, names []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	result := keptVolumes{Kept: []string{}}
	for _, name := range names {
		if err := c.KeepVolume(ctx, backend, backends.VolumeName(name)); err != nil {
			return err
		}
		result.Kept = append(result.Kept, name)
	}
	return a.print(result, func(t *table) {
		for _, name := range result.Kept {
			t.line("kept volume %s", name)
		}
	})
}
