package cli

import (
	"maps"
	"slices"

	"github.com/clonecache/clonecache/plugin/report"
	"github.com/clonecache/clonecache/plugin/words"
)

// showLatencies shows how long requests took, by outcome: of each backend, and of all where there are several.
func showLatencies(t *table, r report.Report) {
	if len(r.Total.Latencies) == 0 {
		return
	}
	t.line("")
	t.head("REQUESTS TO", "OUTCOME", "REQUESTS", "50 % WITHIN", "99 % WITHIN")
	t.spare("REQUESTS", "50 % WITHIN")
	for _, b := range r.Backends {
		showLatency(t, b.Name, b.Latencies)
	}
	if len(r.Backends) != 1 {
		showLatency(t, "TOTAL", r.Total.Latencies)
	}
}

func showLatency(t *table, name string, latencies map[string]report.Latency) {
	for _, outcome := range slices.Sorted(maps.Keys(latencies)) {
		l := latencies[outcome]
		t.row(name, outcome, count(l.Requests), took(l.P50MS), took(l.P99MS))
	}
}

// latencyHeads are the heads of a report's last columns of CSV.
func latencyHeads() (heads []string) {
	for _, outcome := range outcomesInOrder() {
		heads = append(heads, string(outcome)+"_p50_ms", string(outcome)+"_p99_ms")
	}
	return heads
}

// latencyCells are what stands below latencyHeads: nothing where no request had the outcome.
func latencyCells(latencies map[string]report.Latency) (cells []string) {
	for _, outcome := range outcomesInOrder() {
		l, known := latencies[string(outcome)]
		if !known {
			cells = append(cells, "", "")
			continue
		}
		cells = append(cells, decimal(l.P50MS), decimal(l.P99MS))
	}
	return cells
}

func outcomesInOrder() []words.Outcome { return slices.Sorted(maps.Keys(words.Outcomes())) }
