package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/report"
)

func (a *app) report() *cobra.Command {
	var backend, month string
	var from, until since
	var top atMost
	by := word{allowed: byWords}
	sorted := sorting[report.Image]{orders: imageOrders}
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Show what the cache did and saved",
		Long: `Shows what the cache did and saved: per backend and file cache, in total, and per image.

Misses are requests that downloaded. The hit ratio is hits, joined fills and copies without a download, of all
requests but direct and bypassed ones; where there were none it is "-", and null in JSON. Downloaded is what all fills
have read from image sources, failed ones and those in the background too. Saved is what would have been downloaded
without the cache, in bytes and in time: hits times the mean fill of their image. --sort orders the images, --top leaves
the first of them. --month is a calendar month, in UTC. What is older than the daemon's report_retention is not counted
any more, and sums are kept by the minute: that of --since counts whole, that of --until not at all. Entries and what
they hold are those of now.

Within which time 50 % and 99 % of the requests of each outcome were answered is told of all daemons together, to
19 %, and of whole steps of ten minutes: those that --since and --until lie in count whole. It was not noted by daemons
of an earlier version.

--by host and --by project show a row for each daemon, or for each project whose images were asked for, as their source
says. What daemons of an earlier version did was not noted so; nor by project what came in the moments before a crash,
and requests of whose image the source was not asked, as those for encrypted volumes.

-o csv is a line of figures for the total, each backend and each image, or for each host or project; -o html is one page
to hand on.`,
		Example: `  clonecache report
  clonecache report --since 24h
  clonecache report --since 7d --by host
  clonecache report --month 2026-11 --by project -o csv
  clonecache report --month 2026-11 -o html
  clonecache report --backend local --since 2026-01-31T08:00:00Z -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := api.ReportRequest{Backend: backends.Name(backend), Since: string(from), Until: string(until), By: report.By(by.value)}
			if err := ofMonth(month, &request); err != nil {
				return err
			}
			return a.askReport(request.By, func(ctx context.Context, c *api.Client) (report.Report, error) {
				r, err := c.ReportOf(ctx, request)
				sorted.sort(r.Total.Images)
				return narrowed(r, int(top)), err
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&backend, "backend", "", "only this backend or file cache")
	cmd.Flags().Var(&from, "since", "only what happened since: 24h, 7d, or a time; default: all that is kept")
	cmd.Flags().Var(&until, "until", "only what happened until: 24h, 7d, or a time; default: now")
	cmd.Flags().StringVar(&month, "month", "", "only what happened in this month, such as 2026-11")
	cmd.Flags().Var(&top, "top", "at most so many images, hosts or projects; 0: all")
	cmd.Flags().Var(&by, "by", "what to show rows of: backend, image, host, project; default: backends and images")
	completes(cmd, "by", fixed(byWords...))
	sorted.flag(cmd)
	a.completeAllStores(cmd)
	return cmd
}

// showReport shows backends, and images below them.
func showReport(t *table, r report.Report) {
	showReportBackends(t, r)
	showLatencies(t, r)
	showReportImages(t, r.Total.Images)
}

// showReportBackends has one column per backend and one for the total, since there are more figures than
// backends.
func showReportBackends(t *table, r report.Report) {
	showSpan(t, r)
	heads, columns := []string{blank}, []report.Figures{}
	for _, b := range r.Backends {
		heads, columns = append(heads, b.Name), append(columns, b.Figures)
	}
	if len(columns) != 1 {
		heads, columns = append(heads, "TOTAL"), append(columns, r.Total)
	}
	t.row(heads...)
	for _, f := range figures {
		cells := []string{f.name}
		for _, c := range columns {
			cells = append(cells, f.show(t, c))
		}
		t.row(cells...)
	}
}

// showSpan says which time a report is of.
func showSpan(t *table, r report.Report) {
	if r.Since == nil {
		t.line("Since the beginning")
	} else {
		t.line("Since %s", t.moment(*r.Since))
	}
	if r.Until != nil {
		t.line("Until %s", t.moment(*r.Until))
	}
}

// figures are the report's lines.
var figures = []struct {
	name string
	show func(*table, report.Figures) string
}{
	{"hits", func(t *table, f report.Figures) string { return count(f.Hits) }},
	{"misses", func(t *table, f report.Figures) string { return count(f.Misses) }},
	{"hit ratio", func(t *table, f report.Figures) string { return hitRatio(f) }},
	{"outcomes", func(t *table, f report.Figures) string { return counts(f.Outcomes) }},
	{"entries", func(t *table, f report.Figures) string {
		return count(f.Entries) + " of " + bound(int64(f.MaxCount), count(f.MaxCount))
	}},
	{"held", func(t *table, f report.Figures) string {
		return t.size(f.HeldBytes) + " of " + bound(f.MaxSizeBytes, t.size(f.MaxSizeBytes))
	}},
	{"detached", func(t *table, f report.Figures) string { return t.size(f.DetachedBytes) }},
	{"downloaded", func(t *table, f report.Figures) string { return t.size(f.DownloadedBytes) }},
	{"saved", func(t *table, f report.Figures) string { return t.size(f.SavedBytes) }},
	{"time saved", func(t *table, f report.Figures) string { return took(f.SavedMS) }},
	{"fills", fills},
	{"evictions", func(t *table, f report.Figures) string { return byName(f.Evictions, f.EvictionsBy) }},
	{"fallbacks", func(t *table, f report.Figures) string { return counts(f.Fallbacks) }},
}

// hitRatio says nothing where there was nothing to hit.
func hitRatio(f report.Figures) string { return ratioShown(f.HitRatio) }

func fills(_ *table, f report.Figures) string {
	s := count(f.Fills)
	if f.Fills > 0 {
		s += fmt.Sprintf(" (mean %s, longest %s)", took(f.FillMeanMS), took(f.FillMaxMS))
	}
	if f.FailedFills > 0 {
		s += fmt.Sprintf(", %d failed", f.FailedFills)
	}
	return s
}

func byName(n int64, by map[string]int64) string {
	if n == 0 {
		return "0"
	}
	return count(n) + " (" + counts(by) + ")"
}

// counts lists what was counted by name: "filled 1, hit 10".
func counts(by map[string]int64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if by[name] > 0 {
			parts = append(parts, name+" "+count(by[name]))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func showReportImages(t *table, images []report.Image) {
	if len(images) == 0 {
		return
	}
	t.line("")
	t.head("IMAGE", "REQUESTS", "HITS", "MISSES", "DOWNLOADED", "SAVED", "MEAN FILL")
	t.spare("MEAN FILL", "DOWNLOADED", "MISSES", "REQUESTS", "SAVED")
	for _, i := range images {
		fill := ""
		if i.FillMeanMS > 0 {
			fill = took(i.FillMeanMS)
		}
		t.row(i.ImageID, count(i.Requests), count(i.Hits), count(i.Misses), t.size(i.DownloadedBytes), t.size(i.SavedBytes), fill)
	}
}
