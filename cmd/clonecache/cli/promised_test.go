package cli

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/report"
)

// answers are what commands print as JSON, with nothing to tell.
var answers = map[string]any{
	"volume create":   plugin.Answer{},
	"volume list":     []plugin.VolumeView{{}},
	"volume delete":   deletedVolumes{Failed: []failedVolume{{}}},
	"entry list":      []plugin.EntryView{{}},
	"entry delete":    plugin.PruneResult{Planned: []plugin.PlannedRemoval{{}}, Unavailable: []plugin.UnavailableView{{}}},
	"report":          report.Report{Backends: []report.Backend{{}}, Hosts: []report.Share{{}}, Projects: []report.Share{{}}},
	"loan list":       []plugin.LoanView{{}},
	"volume explain":  plugin.VolumeStory{},
	"scrub":           plugin.ScrubResult{Unavailable: []plugin.UnavailableView{{}}},
	"sink list":       []plugin.SinkView{{Dead: []plugin.DeadLetter{{}}}},
	"loan end":        endedLoans{},
	"quota":           plugin.Quota{Resources: []plugin.QuotaResource{{}}},
	"host list":       []plugin.HostView{{Leases: []plugin.LeaseView{{}}}},
	"prefetch":        []plugin.QueuedView{{}},
	"queue delete":    takenOut{},
	"queue clear":     api.QueueCount{},
	"clean":           plugin.CleanResult{Unavailable: []plugin.UnavailableView{{}}},
	"check":           plugin.CheckResult{Problems: []plugin.Problem{{}}},
	"catalog migrate": migrated{},
	"catalog copy":    copied{},
	"config check":    checked{Problems: []config.Problem{{}}},
	"image inspect":   inspected{},
	"version":         build{},
}

// TestPromisedFieldsDoNotVanish compares what docs/cli.md says of each command's JSON with an answer in which every
// field is empty. What may be absent stands behind a word like "also", and such parts are not looked at.
func TestPromisedFieldsDoNotVanish(t *testing.T) {
	text, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	optional := regexp.MustCompile(`[^;|]*\balso\b[^;|]*`)
	for command, answer := range answers {
		_, row, found := strings.Cut(string(text), "\n| `"+command+"`")
		_, row, _ = strings.Cut(row, "|")
		row, _, _ = strings.Cut(row, "\n")
		if !found {
			t.Errorf("%s: docs/cli.md does not say what its JSON is", command)
			continue
		}
		raw, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(optional.ReplaceAllString(row, ""), -1) {
			if !strings.Contains(string(raw), `"`+name[1]+`":`) {
				t.Errorf("%s: %q is not in %s", command, name[1], raw)
			}
		}
	}
}

func TestShortIDsTellTheEntriesOfAListApart(t *testing.T) {
	self := func(s string) string { return s }
	far := []string{"0197c2f4-aaaa-7bbb-8ccc-dddddddddddd", "0197c2f5-aaaa-7bbb-8ccc-dddddddddddd"}
	if got := shortIDs(far, self)(far[0]); got != "0197c2f4-aaaa" {
		t.Errorf("apart: got %q", got)
	}
	near := []string{"0197c2f4-aaaa-7bbb-8ccc-dddddddddddd", "0197c2f4-aaaa-7bbc-8ccc-dddddddddddd", "0197c2f4-aaaa-7bbb-8ccc-dddddddddddd", ""}
	short := shortIDs(near, self)
	if a, b := short(near[0]), short(near[1]); a == b || a != "0197c2f4-aaaa-7bbb" {
		t.Errorf("of one millisecond: got %q and %q", a, b)
	}
}
