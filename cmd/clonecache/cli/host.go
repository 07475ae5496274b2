package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) host() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the hosts whose daemons use the catalog",
		Long: `Lists the daemons that use this daemon's catalog: whether each is up, has stopped by itself, or is lost, which is said
of one that has not been heard of for two leases (a minute); how many image-volumes it is making, and what it alone does
now for all. With a SQLite catalog that is one, which is lost after three minutes. Times are by the database's clock.

What one does for all: reconcile compares catalog, backend and quota; reap frees what evictions have left; inherit
settles what a host that was removed had half made; scrub reads image-volumes back; grow makes another generation of
one entry's image-volume; make is about one volume's name on a backend of kind cinder.`,
		Example: "  clonecache host list -o json",
		Args:    exactly(),
		RunE:    ask(a, func(ctx context.Context, c *api.Client) ([]plugin.HostView, error) { return c.Hosts(ctx) }, showHosts),
	}
	return group("host", "Show the hosts of the catalog, and forget those that are gone", "Hosts are the daemons that use one catalog, each known by its own UUID.", list, a.hostRemove())
}

func (a *app) hostRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID",
		Short: "Forget a host that is gone for good",
		Long: `Forgets a daemon that will not come back. What it had leases of is others' at once, and entries on stores that it
alone had, such as its file cache, count as not configured: "entry delete --all --backend" forgets them. Volumes that it
has left half made on a backend which another host has too are found and removed within minutes; "clean" does so at
once. One that is up is refused. Should it come back after all, it is known again, and what it had been making is lost
to it.

ID is the host's UUID, or a part of at least four characters that only one begins or ends with, or its name where only
one has that. Exit code 6: there is no such host. 7: it is up.`,
		Example: `  clonecache host remove controller-3
  clonecache host remove 0b2d4c1e -o json`,
		Args: exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			was, err := c.RemoveHost(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(was, func(t *table) {
				t.line("removed host %s (%s), which was last seen %s", was.ID, was.Name, t.moment(was.LastSeenAt))
			})
		},
		ValidArgsFunction: a.completeHosts,
	}
}

func showHosts(t *table, hosts []plugin.HostView) {
	t.head("HOST", "NAME", "STATE", "VERSION", "LAST SEEN", "FILLS", "LEASES")
	t.spare("VERSION", "LEASES", "FILLS")
	for _, h := range hosts {
		var leases []string
		for _, l := range h.Leases {
			leases = append(leases, strings.Join(strings.Fields(fmt.Sprint(l.Duty, " ", l.Backend, " ", l.EntryID)), " "))
		}
		t.row(string(h.ID), h.Name, string(h.State), h.Version, t.ago(h.LastSeenAt), count(h.Fills), strings.Join(leases, ", "))
	}
}

func (a *app) completeHosts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(cmd, func(ctx context.Context, c *api.Client) ([]string, error) {
		hosts, err := c.Hosts(ctx)
		return each(hosts, func(h plugin.HostView) string { return string(h.ID) + "\t" + h.Name + ", " + string(h.State) }), err
	})
}
