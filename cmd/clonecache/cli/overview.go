package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon is",
		Long:  "Shows how the daemon is, the fills in flight, and the backends. Exit code 3: no daemon answers; 9: it starts or stops.",
		Example: `  clonecache status
  clonecache status --server unix:///run/clonecache/clonecache.sock -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, args []string) error {
			var ready bool
			err := ask(a, func(ctx context.Context, c *api.Client) (plugin.Status, error) {
				s, err := c.Status(ctx)
				ready = s.Ready
				return s, err
			}, showStatus)(cmd, args)
			if err == nil && !ready {
				return exitWith(exitLater)
			}
			return err
		},
	}
}

func showStatus(t *table, s plugin.Status) {
	state := "stopping" // one that starts answers an error
	if s.Ready {
		state = "ready"
	}
	t.row("Daemon", state)
	t.row("Version", s.Version)
	t.row("Host", s.Host)
	t.row("Started", t.moment(s.StartedAt))
	t.row("State", s.StateDir)
	t.row("Orphans", lookedFor(t, s.Clean))
	t.line("")
	showBackends(t, s.Backends)
	showSources(t, s.Sources)
	if len(s.Fills) == 0 {
		return
	}
	t.line("")
	t.head("FILL", "BACKEND", "IMAGE", "WAITERS", "READ", "WRITTEN", "STARTED")
	t.spare("WRITTEN", "WAITERS", "STARTED", "BACKEND", "FILL")
	id := shortIDs(s.Fills, func(f plugin.FillView) string { return f.EntryID })
	for _, f := range s.Fills {
		read := t.size(f.ReadBytes)
		if f.TotalBytes > 0 {
			read += fmt.Sprintf(" of %s (%d%%)", t.size(f.TotalBytes), f.ReadBytes*100/f.TotalBytes)
		}
		if f.WaitsFor != "" {
			read = "waits: " + string(f.WaitsFor)
		}
		t.row(id(f.EntryID), string(f.Backend), f.ImageID, count(f.Waiters), read, t.size(f.WrittenBytes), t.ago(f.StartedAt))
	}
}

// lookedFor says when it was looked for what no entry names.
func lookedFor(t *table, c plugin.CleaningView) string {
	if c.NextAt == nil {
		return "looked for " + t.ago(c.LastAt) + ", at the next start again"
	}
	return "looked for " + t.ago(c.LastAt) + ", from " + t.moment(*c.NextAt) + " on again"
}

// showSources shows the image sources that are down, if any.
func showSources(t *table, sources []plugin.SourceView) {
	var down []plugin.SourceView
	for _, s := range sources {
		if s.State == "down" {
			down = append(down, s)
		}
	}
	if len(down) == 0 {
		return
	}
	t.line("")
	t.head("SOURCE", "STATE", "SINCE", "FROM MEMORY", "ERROR")
	t.spare("FROM MEMORY", "SINCE")
	for _, s := range down {
		since := ""
		if s.Since != nil {
			since = t.ago(*s.Since)
		}
		t.row(s.Name, s.State, since, count(s.StaleAnswers), sentence(s.Error))
	}
}

func (a *app) backend() *cobra.Command {
	sorted := sorting[plugin.BackendView]{orders: backendOrders}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List backends and file caches",
		Long:    "Lists backends and file caches: whether they answer, whether and how they clone, and what their cache holds.",
		Example: "  clonecache backend list",
		Args:    exactly(),
		RunE: ask(a, func(ctx context.Context, c *api.Client) ([]plugin.BackendView, error) {
			views, err := c.Backends(ctx)
			sorted.sort(views)
			return views, err
		}, showBackends),
	}
	sorted.flag(list)
	return group("backend", "Show the backends", "Backends are where volumes live and image-volumes are cloned; file caches are what volumes are copied from where that\ncannot be done.", list, a.backendDisable(), a.backendEnable(), a.takeOver())
}

func showBackends(t *table, views []plugin.BackendView) {
	t.head("BACKEND", "KIND", "STATE", "CLONES", "ENTRIES", "HELD", "DETACHED", "FREE", "FALLBACK", "LOCATION")
	t.spare("FALLBACK", "DETACHED", "KIND", "CLONES", "LOCATION", "ENTRIES", "FREE", "HELD")
	for _, v := range views {
		state, free := "ok", "unknown"
		if !v.Available {
			state = "unavailable"
		}
		if v.Disabled {
			state = "disabled"
		}
		if v.TotalBytes > 0 {
			free = t.size(v.FreeBytes) + " of " + t.size(v.TotalBytes)
		}
		t.row(string(v.Name), v.Kind, state, cloneMethod(v), entriesOf(v), heldOf(t, v), t.size(v.DetachedBytes), free, string(v.Fallback), v.Location)
	}
	for _, v := range views {
		if v.Error != "" {
			t.line("%s: %s", v.Name, v.Error)
		}
		if v.NoClone != "" && v.Kind != fileCacheKind {
			t.line("%s: %s", v.Name, v.NoClone)
		}
		if n := v.Scrub.Quarantined; n > 0 {
			t.line("%s: %s damaged and in quarantine, and nothing is made from it; see `clonecache check`", v.Name, plural(n, "image-volume is", "image-volumes are"))
		}
	}
}

func cloneMethod(v plugin.BackendView) string {
	switch {
	case v.CanClone:
		return v.CloneMethod
	case v.Kind == fileCacheKind:
		return ""
	}
	return "no: copies"
}

func entriesOf(v plugin.BackendView) string {
	s := count(v.Entries)
	if v.MaxCount > 0 {
		s += " of " + count(v.MaxCount)
	}
	return s
}

func heldOf(t *table, v plugin.BackendView) string {
	s := t.size(v.HeldBytes)
	if v.MaxSizeBytes > 0 {
		s += " of " + t.size(v.MaxSizeBytes)
	}
	if v.MaxPercent > 0 {
		s += fmt.Sprintf(", at most %d%% of it", v.MaxPercent)
	}
	return s
}

func (a *app) quota() *cobra.Command {
	return &cobra.Command{
		Use:   "quota",
		Short: "Show the internal tenant's quota",
		Long: `Shows the quota of the internal tenant, which owns the image-volumes: its limits, what is in use, what fills in
flight have reserved, what the catalog's entries are charged for, what really exists on the backends, and the difference
between what is charged and what the catalog says. Under OpenStack these are Cinder's own figures, in total and per
volume type, and the difference is volumes of the project that are no image-volumes. It warns of a quota that is smaller
than the bounds of the caches.`,
		Example: "  clonecache quota -o json",
		Args:    exactly(),
		RunE:    ask(a, func(ctx context.Context, c *api.Client) (plugin.Quota, error) { return c.Quota(ctx) }, showQuota),
	}
}

func showQuota(t *table, q plugin.Quota) {
	t.line("Internal tenant: project %s, user %s", q.ProjectID, q.UserID)
	t.head(blank, "LIMIT", "IN USE", "RESERVED", "CATALOG", "DIFFERENCE", "ACTUAL")
	for _, r := range []struct {
		name string
		plugin.QuotaAmounts
	}{{"volumes", q.Volumes}, {"gigabytes", q.Gigabytes}} {
		t.row(r.name, quotaLimit(r.Limit, r.Unlimited), count(r.InUse), count(r.Reserved),
			count(r.Catalog), count(r.Difference), count(r.Actual))
	}
	if len(q.Resources) > 0 {
		t.line("")
		t.head("AS REPORTED", "LIMIT", "IN USE", "RESERVED")
	}
	for _, r := range q.Resources {
		t.row(r.Name, quotaLimit(r.Limit, r.Limit < 0), count(r.InUse), count(r.Reserved))
	}
	for _, w := range q.Warnings {
		t.line("warning: %s", w)
	}
}

func quotaLimit(limit int64, unlimited bool) string {
	if unlimited {
		return "unlimited"
	}
	return count(limit)
}

// since is the value of --since: a span back from now, or a time.
type since string

func (s *since) Set(text string) error {
	var d config.Duration
	if d.Set(text) != nil {
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("write a span such as 24h or 7d, or a time such as 2026-01-31T08:00:00Z")
		}
	}
	*s = since(text)
	return nil
}

func (s *since) String() string { return string(*s) }
func (*since) Type() string     { return "span|time" }
