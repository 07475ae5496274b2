package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) volumeDelete() *cobra.Command {
	var backend string
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete volumes that clonecache made",
		Long: `Deletes volumes that clonecache made. Anything else is refused and stays untouched. With several names it goes on
after an error, says of each volume what became of it, and ends with the exit code of the worst: 3, 1, 2, 7, 6, 9 in
this order.`,
		Example: `  clonecache volume delete web-1
  clonecache volume delete web-1 web-2 --backend local`,
		Args: atLeastOne("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.deleteVolumes(cmd.Context(), backends.Name(backend), args)
		},
		ValidArgsFunction: a.completeVolumes,
	}
	cmd.Flags().StringVar(&backend, "backend", "", "where they are; needed where there are several")
	a.completeBackends(cmd)
	return cmd
}

// deletedVolumes is what "volume delete -o json" answers.
type deletedVolumes struct {
	Deleted []string       `json:"deleted"`
	Failed  []failedVolume `json:"failed"`
	// Error is the worst failure, where programs look for one.
	Error *api.Error `json:"error,omitempty"`

	exit int // of the worst
}

// failedVolume is a volume that is not deleted.
type failedVolume struct {
	Volume string     `json:"volume"`
	Error  *api.Error `json:"error"`
}

func (a *app) deleteVolumes(ctx context.Context, backend backends.Name, names []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	result := deletedVolumes{Deleted: []string{}, Failed: []failedVolume{}}
	for _, name := range names {
		if err := c.DeleteVolume(ctx, backend, backends.VolumeName(name)); err != nil {
			shown, exit := a.explain(ctx, err)
			result.fail(name, shown, exit)
			continue
		}
		result.Deleted = append(result.Deleted, name)
	}
	return a.sayDeleted(result)
}

func (r *deletedVolumes) fail(name string, why *api.Error, exit int) {
	r.Failed = append(r.Failed, failedVolume{Volume: name, Error: why})
	if r.Error == nil || worse(exit, r.exit) {
		r.Error, r.exit = why, exit
	}
}

// sayDeleted prints what became of each volume: failures on standard error, unless all is one JSON document.
func (a *app) sayDeleted(r deletedVolumes) error {
	err := a.print(r, func(t *table) {
		for _, name := range r.Deleted {
			t.line("deleted volume %s", cell(name))
		}
	})
	if err != nil || r.Error == nil {
		return err
	}
	if a.format == formatJSON {
		return exitWith(r.exit)
	}
	for _, f := range r.Failed {
		fmt.Fprintf(a.Err, "clonecache: volume %s: %s\n", clean(cell(f.Volume)), clean(indented(f.Error.Message)))
		if logged(f.Error) {
			fmt.Fprintf(a.Err, "  request ID: %s\n", clean(cell(f.Error.RequestID)))
		}
	}
	return exitWith(r.exit)
}
