package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

// Each time in the rules: how long an alert waits, over which window it looks, and how many seconds something may be behind.
var (
	forTime    = regexp.MustCompile(`(?m)^( +for: )(\d+)([mh])$`)
	window     = regexp.MustCompile(`(\[)(\d+)([mh])\]`)
	behindTime = regexp.MustCompile(`(_behind_seconds > )(\d+)()`)
	anyTime    = regexp.MustCompile(`\b\d+[smhd]\b`)
)

// quicker are the shipped rules with each of their times divided, so that what takes hours is seen in seconds.
func quicker(t *testing.T, by int) string {
	t.Helper()
	text := shippedRules(t)
	units := map[string]time.Duration{"": time.Second, "m": time.Minute, "h": time.Hour}
	divide := func(expr *regexp.Regexp, write func(before string, d time.Duration) string) {
		text = expr.ReplaceAllStringFunc(text, func(found string) string {
			part := expr.FindStringSubmatch(found)
			n, err := strconv.Atoi(part[2])
			if err != nil {
				t.Fatal(err)
			}
			return write(part[1], time.Duration(n)*units[part[3]]/time.Duration(by))
		})
	}
	divide(forTime, func(before string, d time.Duration) string { return fmt.Sprintf("%s%dms", before, d.Milliseconds()) })
	divide(window, func(before string, d time.Duration) string { return fmt.Sprintf("%s%dms]", before, d.Milliseconds()) })
	divide(behindTime, func(before string, d time.Duration) string { return fmt.Sprintf("%s%g", before, d.Seconds()) })
	return text
}

func shippedRules(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alerts are the names of those that are shipped.
func alerts(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, found := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(shippedRules(t), -1) {
		names = append(names, found[1])
	}
	if len(names) < 10 {
		t.Fatalf("only %d alerts", len(names))
	}
	return names
}

// No time of the rules is left as it was by quicker, and Prometheus takes what it makes.
func TestQuickerRulesAreTheShippedOnes(t *testing.T) {
	text := quicker(t, 60)
	for _, line := range regexp.MustCompile(`(?m)^ +(?:for|expr): .*$`).FindAllString(text, -1) {
		if left := anyTime.FindString(line); left != "" {
			t.Errorf("%s is left in %q", left, line)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "quick.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "", "check", "rules", "quick.yml")
}

// scrape is what a Prometheus reads, how often, and by which rules it judges.
type scrape struct {
	rules   string
	every   time.Duration
	targets []string
}

// config is its configuration, with the rules in rules.yml beside it.
func (s scrape) config() string {
	return fmt.Sprintf("global: {scrape_interval: %dms, scrape_timeout: %[1]dms, evaluation_interval: %[1]dms}\nrule_files: [rules.yml]\n"+
		"scrape_configs:\n- job_name: clonecache\n  static_configs: [{targets: [%s]}]\n", s.every.Milliseconds(), quoted(s.targets))
}

func quoted(all []string) (list string) {
	for i, one := range all {
		if i > 0 {
			list += ", "
		}
		list += strconv.Quote(one)
	}
	return list
}

// freeAddress is one that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
}
