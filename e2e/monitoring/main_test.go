// Package monitoring proves what is shipped for Prometheus and Grafana on the real programs: promtool reads the rules, and a
// real Prometheus scrapes real daemons.
package monitoring

import (
	"os"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// shipped are the files that people give to Prometheus and Grafana.
const (
	rules     = "../../docs/monitoring/clonecache.rules.yml"
	dashboard = "../../docs/monitoring/clonecache.dashboard.json"
)
