package cli

import (
	"github.com/clonecache/clonecache/plugin/report"
)

// byWords are the values of --by.
var byWords = []string{string(report.ByBackend), string(report.ByImage), string(report.ByHost), string(report.ByProject)}

// narrowed leaves the first images, hosts and projects of a report; 0: all.
func narrowed(r report.Report, top int) report.Report {
	r.Total.Images = firstOf(r.Total.Images, top)
	r.Hosts, r.Projects = firstOf(r.Hosts, top), firstOf(r.Projects, top)
	return r
}

func firstOf[T any](all []T, n int) []T {
	if n > 0 && len(all) > n {
		return all[:n]
	}
	return all
}

// sharesOf are the shares that a report is shown by, and what they are of; "": it is shown by something else.
func sharesOf(r report.Report, by report.By) (kind, head string, shares []report.Share) {
	switch by {
	case report.ByHost:
		return "host", "HOST", r.Hosts
	case report.ByProject:
		return "project", "PROJECT OF THE IMAGE", r.Projects
	case report.ByBackend, report.ByImage, "":
	}
	return "", "", nil
}

// showReportBy shows a report by what was asked for: a row for each, and one for the total.
func showReportBy(by report.By) func(*table, report.Report) {
	return func(t *table, r report.Report) {
		switch _, head, shares := sharesOf(r, by); {
		case head != "":
			showSpan(t, r)
			showShares(t, head, shares, r.Total)
		case by == report.ByImage:
			showSpan(t, r)
			showReportImages(t, r.Total.Images)
		case by == report.ByBackend:
			showReportBackends(t, r)
			showLatencies(t, r)
		default:
			showReport(t, r)
		}
	}
}

func showShares(t *table, head string, shares []report.Share, total report.Figures) {
	t.head(head, "REQUESTS", "HITS", "MISSES", "HIT RATIO", "DOWNLOADED", "SAVED", "FILLS", "FAILED", "MEAN REQUEST")
	t.spare("MEAN REQUEST", "FAILED", "FILLS", "MISSES", "DOWNLOADED")
	for _, s := range shares {
		mean := ""
		if s.MeanMS > 0 {
			mean = took(s.MeanMS)
		}
		t.row(s.Name, count(s.Requests), count(s.Hits), count(s.Misses), ratioShown(s.HitRatio), t.size(s.DownloadedBytes), t.size(s.SavedBytes),
			count(s.Fills), count(s.FailedFills), mean)
	}
	t.row("TOTAL", count(requestsOf(total)), count(total.Hits), count(total.Misses), hitRatio(total), t.size(total.DownloadedBytes), t.size(total.SavedBytes),
		count(total.Fills), count(total.FailedFills), "")
}

// requestsOf are all requests, whatever they came to.
func requestsOf(f report.Figures) (n int64) {
	for _, of := range f.Outcomes {
		n += of
	}
	return n
}

// ratioShown says nothing where there was nothing to hit.
func ratioShown(ratio *float64) string {
	if ratio == nil {
		return ""
	}
	return percent(*ratio)
}

// shareRow is a share as a line of CSV. The mean of its fills is not known.
func shareRow(kind string, s report.Share) []string {
	return []string{kind, noFormula(s.Name), count(s.Requests), count(s.Hits), count(s.Misses), count(s.DownloadedBytes), count(s.SavedBytes), "", count(s.Fills), ""}
}
