package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) sink() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List where events are sent to, and what was given up",
		Long: `Lists the webhooks, and the RabbitMQ of [notifications], that this daemon sends its events to: how many each took
since the daemon was started, how long ago the event happened that it does not take, and why. Below them are how many
events the log dropped before they were taken (events_max), and dead letters: events that were refused for good, or not
taken for a day.`,
		Example: "  clonecache sink list -o json",
		Args:    exactly(),
		RunE:    ask(a, func(ctx context.Context, c *api.Client) ([]plugin.SinkView, error) { return c.Sinks(ctx) }, showSinks),
	}
	return group("sink", "Show where events are sent to", "Sinks are webhooks and the RabbitMQ of OpenStack: events are sent to them, each at least once.", list)
}

func showSinks(t *table, sinks []plugin.SinkView) {
	t.head("SINK", "SENT", "FAILURES", "BEHIND", "DEAD", "POSITION", "LAST ERROR")
	t.spare("POSITION", "FAILURES")
	for _, s := range sinks {
		behind := ""
		if s.BehindSeconds > 0 {
			behind = took(s.BehindSeconds * 1000)
		}
		t.row(s.Name, count(s.Sent), count(s.Failures), behind, count(s.DeadCount), count(s.Position), sentence(s.LastError))
	}
	for _, s := range sinks {
		if s.Lost > 0 {
			t.line("%s: the log dropped %s events before it took them, some of its own perhaps; see that it takes events, or raise events_max", s.Name, count(s.Lost))
		}
		for _, d := range s.Dead {
			t.line("%s: event %d (%s, %s) given up %s: %s", s.Name, d.Event.ID, d.Event.Kind, d.Event.ImageID, t.ago(d.GivenUp), d.Error)
		}
	}
}
