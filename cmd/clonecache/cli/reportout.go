package cli

import (
	"context"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/report"
)

// ofMonth makes a month of a request's time; "" leaves it as it is.
func ofMonth(month string, r *api.ReportRequest) error {
	if month == "" {
		return nil
	}
	if r.Since != "" || r.Until != "" {
		return &usageError{errors.New("--month says since and until: leave these out")}
	}
	begin, err := time.Parse("2006-01", month)
	if err != nil {
		return &usageError{fmt.Errorf("--month %q is no month: write 2026-11", month)}
	}
	r.Since, r.Until = begin.Format(time.RFC3339), begin.AddDate(0, 1, 0).Format(time.RFC3339)
	return nil
}

// askReport is ask, in the formats that a report has beside the others.
func (a *app) askReport(by report.By, call func(context.Context, *api.Client) (report.Report, error)) func(*cobra.Command, []string) error {
	if a.format != formatCSV && a.format != formatHTML {
		return ask(a, call, showReportBy(by))
	}
	return func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		r, err := call(cmd.Context(), c)
		if err != nil {
			return err
		}
		if a.format == formatHTML {
			return a.reportPage(r)
		}
		return a.reportCSV(r, by)
	}
}

// reportCSV prints a line for the total, and for each of what the report is by. Names are kept from being formulas of
// spreadsheets.
func (a *app) reportCSV(r report.Report, by report.By) error {
	out := csv.NewWriter(a.Out)
	rows := [][]string{{"kind", "name", "requests", "hits", "misses", "downloaded_bytes", "saved_bytes", "saved_ms", "fills", "fill_mean_ms"}}
	rows[0] = append(rows[0], latencyHeads()...)
	rows = append(rows, figuresRow("total", "", r.Total))
	kind, _, shares := sharesOf(r, by)
	for _, s := range shares {
		rows = append(rows, shareRow(kind, s))
	}
	if by == "" || by == report.ByBackend {
		for _, b := range r.Backends {
			rows = append(rows, figuresRow("backend", b.Name, b.Figures))
		}
	}
	if by == "" || by == report.ByImage {
		rows = append(rows, imageRows(r.Total.Images)...)
	}
	for i, row := range rows { // what has fewer figures has none in the last columns
		rows[i] = append(row, make([]string, len(rows[0])-len(row))...)
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func imageRows(images []report.Image) (rows [][]string) {
	for _, i := range images {
		rows = append(rows, []string{"image", noFormula(i.ImageID), count(i.Requests), count(i.Hits), count(i.Misses), count(i.DownloadedBytes), count(i.SavedBytes),
			decimal(i.SavedMS), "", decimal(i.FillMeanMS)})
	}
	return rows
}

func figuresRow(kind, name string, f report.Figures) []string {
	row := []string{kind, noFormula(name), count(requestsOf(f)), count(f.Hits), count(f.Misses), count(f.DownloadedBytes), count(f.SavedBytes), decimal(f.SavedMS),
		count(f.Fills), decimal(f.FillMeanMS)}
	return append(row, latencyCells(f.Latencies)...)
}

func decimal(n float64) string { return strconv.FormatFloat(n, 'f', 3, 64) }

// noFormula keeps a spreadsheet from computing a name.
func noFormula(name string) string {
	if name != "" && strings.ContainsRune("=+-@\t\r", rune(name[0])) {
		return "'" + name
	}
	return name
}

//go:embed report.html
var reportHTML string

// reportPage prints one page that needs nothing else.
func (a *app) reportPage(r report.Report) error {
	t := newTable(a.Out, a.Now(), a.lookNow())
	page, err := template.New("report").Funcs(template.FuncMap{
		"size": t.size, "took": took, "ratio": hitRatio, "share": ratioShown, "counts": counts,
		"day": func(at *time.Time) string { return at.UTC().Format("2006-01-02 15:04 MST") },
	}).Parse(reportHTML)
	if err != nil {
		return err
	}
	if err := page.Execute(a.Out, r); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
