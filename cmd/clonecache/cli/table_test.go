package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/report"
)

// golden compares got with a golden file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// shownTable is a table as some command shows it.
type shownTable struct {
	name string
	show func(*table)
}

func TestTablesForPeople(t *testing.T) {
	for _, c := range shownTables() {
		t.Run(c.name, func(t *testing.T) {
			golden(t, c.name+".txt", shown(t, c, look{}))
		})
	}
}

// shown is what a table looks like.
func shown(t *testing.T, c shownTable, l look) string {
	t.Helper()
	var out bytes.Buffer
	table := newTable(&out, testEnv(nil, nil).Now(), l)
	c.show(table)
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestALookOfATable: narrow, without heads, in bytes.
func TestALookOfATable(t *testing.T) {
	for _, c := range shownTables() {
		switch c.name {
		case "backends", "entries", "events", "report":
			golden(t, c.name+"-80.txt", shown(t, c, look{columns: 80}))
		case "volumes":
			golden(t, c.name+"-bare.txt", shown(t, c, look{bare: true, exact: true}))
		}
	}
}

func shownTables() []shownTable {
	now := testEnv(nil, nil).Now()
	ratio, one := 10./11, 1.
	figures := report.Figures{Hits: 10, Misses: 1, HitRatio: &ratio, Outcomes: map[string]int64{"filled": 1, "hit": 10},
		Latencies: map[string]report.Latency{"filled": {Requests: 1, P50MS: 3444.3, P99MS: 3444.3}, "hit": {Requests: 10, P50MS: 1.218, P99MS: 19.48}},
		Entries:   1, HeldBytes: 690 << 20, MaxSizeBytes: 200 << 30, Evictions: 2, EvictionsBy: map[string]int64{"size": 2},
		DownloadedBytes: 690 << 20, SavedBytes: 6900 << 20, Fallbacks: map[string]int64{"cannot_clone": 3},
		Fills: 1, FailedFills: 1, FillMeanMS: 3214.5, FillMaxMS: 3214.5,
		Images: []report.Image{{ImageID: "library:disk.raw", Requests: 11, Hits: 10, Misses: 1, DownloadedBytes: 690 << 20, SavedBytes: 6900 << 20, FillMeanMS: 3214.5}}}
	day := now.Add(-24 * time.Hour)
	next := now.Add(4 * time.Hour)
	entry := plugin.EntryView{Configured: true, ID: "0197c2f4-aaaa-bbbb-cccc-0123456789ab", Backend: "local", ImageIDs: []string{"library:disk.raw", "web:disk.raw"},
		Content: backends.Content{Digest: "sha256:00ff", DiskFormat: "raw", SourceBytes: 1 << 30, VirtualBytes: 2 << 30, InspectorVersion: 1}, State: "ready", Form: "decoded", ImageVolume: "iv-0197c2f4-1",
		HeldBytes: 690 << 20, Hits: 10, Clones: 2, Dependents: []backends.VolumeName{"v1", "v2"}, Pinned: true, CreatedAt: now.Add(-50 * time.Hour), LastUsedAt: now.Add(-3 * time.Minute)}
	filling := plugin.EntryView{Configured: true, ID: "0197c2f5-aaaa-bbbb-cccc-0123456789ab", Backend: "local", ImageIDs: []string{"library:\x1b[31mred"}, State: "filling", ReadBytes: 5 << 20}
	views := []plugin.BackendView{
		{Name: "local", Kind: "file", Location: "/v", CanClone: true, CloneMethod: "reflink", Fallback: "files", Available: true,
			Entries: 3, MaxCount: 50, HeldBytes: 5 << 30, MaxSizeBytes: 200 << 30, MaxPercent: 80, TotalBytes: 1 << 40, FreeBytes: 1 << 39},
		{Name: "slow", Kind: "file", Location: "/w", NoClone: "the filesystem has no reflinks", Error: "stat /w: input/output error"},
		{Name: "files", Kind: "filecache", Location: "/c", Available: true, MaxSizeBytes: 10 << 30},
	}
	amounts := plugin.QuotaAmounts{Limit: 50, InUse: 3, Reserved: 1, Actual: 3}
	return []shownTable{
		{"answer", func(t *table) {
			for _, v := range []plugin.Answer{
				{Outcome: plugin.Hit, Reason: plugin.ReasonReady, Volume: "v", Path: "/v/v", SizeBytes: 10 << 30, Backend: "local", ImageID: "library:a", TookMS: 1.25},
				{Outcome: plugin.Filled, Reason: plugin.ReasonMiss, Volume: "v", VolumeID: "17", SizeBytes: 1, Backend: "ceph", ImageID: "library:a", TookMS: 3214, DownloadedBytes: 690 << 20},
				{Outcome: plugin.Filled, Reason: plugin.ReasonMiss, MissCause: plugin.MissSameContent, Detail: "its content was cached already", Volume: "v", Path: "/v/v", Backend: "local", ImageID: "library:a"},
				{Outcome: plugin.Copied, Reason: plugin.ReasonOverQuota, Detail: "3 of 3 volumes are used", CopyMethod: "reflink", Volume: "v", Path: "/v/v", Backend: "local", ImageID: "library:a"},
				{Outcome: plugin.Bypassed, Reason: plugin.ReasonFilling, Volume: "v", TookMS: 0.2},
			} {
				showAnswer(t, v)
			}
		}},
		{"backends", func(t *table) { showBackends(t, views) }},
		{"check", func(t *table) {
			showCheck(t, plugin.CheckResult{Problems: []plugin.Problem{{Kind: "held-bytes", Backend: "local", ID: "0197", Detail: "the catalog says 1, the backend 2", Remedy: "run check --repair"}}})
		}},
		{"clean", func(t *table) { showCleaned(t, plugin.CleanResult{Leftovers: 2, FreedBytes: 3 << 20}) }},
		{"entries", func(t *table) { showEntries(t, []plugin.EntryView{entry, filling}) }},
		{"entry", func(t *table) { showEntry(t, entry) }},
		{"quota", func(t *table) {
			showQuota(t, plugin.Quota{ProjectID: "p", UserID: "u", Volumes: amounts, Gigabytes: plugin.QuotaAmounts{Unlimited: true, InUse: 12}, Warnings: []string{"no role"}})
		}},
		{"quota-cinder", func(t *table) {
			showQuota(t, plugin.Quota{ProjectID: "p", UserID: "u", Volumes: plugin.QuotaAmounts{Limit: 20, InUse: 7, Catalog: 5, Difference: 2, Actual: 5},
				Resources: []plugin.QuotaResource{{Name: "volumes_rbd1", Limit: -1, InUse: 7}, {Name: "gigabytes_rbd1", Limit: 100, InUse: 12}}})
		}},
		{"flattened", func(t *table) {
			showFlattened(t, plugin.Flattened{Volume: "v", Backend: "ceph", TookMS: 1500, Reaped: 1, FreedBytes: 1 << 30})
		}},
		{"volumes", func(t *table) {
			showVolumes(t, []plugin.VolumeView{{Volume: "v", Backend: "ceph", SizeBytes: 1 << 30, ImageID: "glance:a", EntryID: entry.ID, Complete: true, DependsOn: "cc-1"}, {Volume: "flat"}})
		}},
		{"removed", func(t *table) {
			showRemoved(t, plugin.PruneResult{Removed: []plugin.EntryView{entry}, FreedBytes: 0, Detached: 2, DetachedOpen: 1})
		}},
		{"report", func(t *table) {
			showReport(t, report.Report{Total: figures, Backends: []report.Backend{{Name: "local", Figures: figures}, {Name: "files"}}})
		}},
		{"report-one", func(t *table) {
			showReport(t, report.Report{Since: &day, Total: figures, Backends: []report.Backend{{Name: "local", Figures: figures}}})
		}},
		{"report-hosts", func(t *table) {
			showReportBy(report.ByHost)(t, report.Report{Since: &day, Total: figures, Hosts: []report.Share{
				{ID: "0197c2f4", Name: "storage-1", Requests: 9, Hits: 9, HitRatio: &one, SavedBytes: 6900 << 20, MeanMS: 1.2},
				{Name: report.Unnoted, Requests: 2, Hits: 1, Misses: 1, HitRatio: &ratio, DownloadedBytes: 690 << 20, Fills: 1, FailedFills: 1},
			}})
		}},
		{"status", func(t *table) {
			showStatus(t, plugin.Status{Version: "v1", Host: "h", StartedAt: now, StateDir: "/s", Ready: true, Backends: views,
				Clean: plugin.CleaningView{Every: 86400, LastAt: now.Add(-20 * time.Hour), NextAt: &next},
				Fills: []plugin.FillView{{EntryID: entry.ID, Backend: "local", ImageID: "library:a", Waiters: 2, ReadBytes: 1 << 20, TotalBytes: 4 << 20, WrittenBytes: 1 << 20, StartedAt: now.Add(-9 * time.Second)}}})
		}},
		{"events", func(t *table) {
			showEvents(t, []plugin.Event{
				{ID: 1, At: now, Kind: plugin.EventKind("filled"), Backend: "local", ImageID: "library:debian-12-generic-amd64.qcow2", EntryID: entry.ID, Volume: "web-1", Reason: plugin.ReasonMiss, Bytes: 690 << 20, TookMS: 3214},
				{ID: 2, At: now, Kind: plugin.EventKind("fill_failed"), Backend: "local", ImageID: "web:a/b.qcow2", Detail: "GET https://images.example.org/a/b.qcow2: 503 Service Unavailable,\nand so it went on for all of the five attempts that there were"},
			})
		}},
	}
}

func TestSizesAndTimes(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{size(0), "0 B"},
		{size(1 << 30), "1 GiB"},
		{size(3 << 29), "1.5 GiB"},
		{size(200 << 30), "200 GiB"},
		{size(-1), "unknown"},
		{took(0.17), "0.2 ms"},
		{took(999.4), "999 ms"},
		{took(61000), "1m1s"},
		{percent(1. / 3), "33.3%"},
		{short(90 * time.Second), "1m"},
		{short(47 * time.Hour), "47h"},
		{short(49 * time.Hour), "2d"},
		{shortID("0197c2f4-aaaa-bbbb"), "0197c2f4-aaaa"},
		{few([]string{"a", "b", "c"}), "a (+2)"},
		{listed(strings.Split(strings.Repeat("v ", 22), " ")[:22]), strings.Repeat("v, ", 19) + "v (+2)"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Whatever a name is, it is one cell of one line, in tables, in what is followed, and beside an error.
func TestNamesForgeNoLines(t *testing.T) {
	const forged = "v\n2026-11-28 15:00:00  hit\tx\u2028y\u202e\x1b[2J"
	var table, followed, failed bytes.Buffer
	now := testEnv(nil, nil).Now()
	event := plugin.Event{ID: 7, At: now, Kind: plugin.EventBypassed, Volume: forged, ImageID: forged, Detail: forged}
	shown := newTable(&table, now, look{})
	showEvents(shown, []plugin.Event{event})
	if err := shown.flush(); err != nil {
		t.Fatal(err)
	}
	a := &app{Env: testEnv(&followed, &failed)}
	if err := a.newEventLines().write(event); err != nil {
		t.Fatal(err)
	}
	a.finish(t.Context(), &usageError{errors.New(forged)})
	for name, c := range map[string]struct {
		text  string
		lines int
	}{"table": {table.String(), 2}, "followed": {followed.String(), 1}} {
		if strings.Count(c.text, "\n") != c.lines || strings.ContainsAny(c.text, "\u2028\u202e\x1b\t") {
			t.Errorf("%s: got %q, want %d lines", name, c.text, c.lines)
		}
	}
	if !strings.HasPrefix(failed.String(), "clonecache: v\n  2026") {
		t.Errorf("error: got %q, want its second line indented", failed.String())
	}
}
