package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) volumeExplain() *cobra.Command {
	var backend string
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Tell the whole story of one volume",
		Long: `Tells what is known of one volume: what it was made from, what each request for it came to, why, and how long it
waited; what had happened to its image before, where that had to be cached first; the fill, and who else waited for
it; and what became of its entry since. A volume that is gone, or was never made, is told of as long as its events
are kept (events_max). A request that ended with its daemon leaves no event but its fill's (fill_failed, interrupted).`,
		Example: `  clonecache volume explain web-1
  clonecache volume explain volume-0b2d --backend ceph -o json`,
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, func(ctx context.Context, c *api.Client) (plugin.VolumeStory, error) {
				return c.ExplainVolume(ctx, backends.Name(backend), backends.VolumeName(args[0]))
			}, showStory)(cmd, args)
		},
		ValidArgsFunction: a.completeVolumes,
	}
	cmd.Flags().StringVar(&backend, "backend", "", "where it is; needed where there are several")
	a.completeBackends(cmd)
	return cmd
}

func showStory(t *table, v plugin.VolumeStory) {
	t.row("Volume", string(v.Volume))
	t.row("Backend", string(v.Backend))
	switch {
	case v.Exists:
		t.row("Size", t.size(v.SizeBytes))
	case v.Unseen != "":
		t.row("Size", "not known: "+v.Unseen)
	default:
		t.row("Size", "it is not there")
	}
	if v.ImageID != "" {
		t.row("Image", v.ImageID)
	}
	if v.EntryID != "" {
		t.row("Entry", v.EntryID+", "+standingOf(v.Entry))
	}
	if v.DependsOn != "" {
		t.row("Depends on", v.DependsOn)
	}
	for _, part := range []struct {
		what   string
		events []plugin.Event
	}{
		{"Requests for it:", v.Requests},
		{"What had happened to its image before:", v.Before},
		{"The fill, and who else waited for it:", v.Fills},
		{"What became of it and its entry:", v.After},
	} {
		showHappened(t, part.what, part.events)
	}
}

// standingOf says how an entry is now.
func standingOf(e *plugin.EntryView) string {
	switch {
	case e == nil:
		return "which is gone"
	case e.QuarantinedAt != nil:
		return "in quarantine: " + e.Quarantine
	case e.SupersededAt != nil:
		return e.State + ", superseded: its image has other content by now, is gone, or is beyond keep of what is followed"
	}
	return e.State
}

// showHappened shows events under a line that says what they are; nothing where there are none.
func showHappened(t *table, what string, events []plugin.Event) {
	if len(events) == 0 {
		return
	}
	t.line("")
	t.line("%s", what)
	showEvents(t, events)
}
