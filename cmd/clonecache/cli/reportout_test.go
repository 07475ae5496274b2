package cli

import (
	"encoding/csv"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A report in the forms that it has alone, on a real daemon: names are text in each.
func TestReportsInTheirForms(t *testing.T) {
	d := startDaemon(t)
	const name = "=<b>x</b>.raw"
	write(t, filepath.Join(d.dir, "images", name), d.image)
	for _, volume := range []string{"r1", "r2"} {
		if exit, _, stderr := d.run(t, "volume", "create", "library:"+name, "--name", volume); exit != exitOK {
			t.Fatal(stderr)
		}
	}
	exit, out, stderr := d.run(t, "report", "-o", "csv", "--top", "1")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if exit != exitOK || err != nil || rows[0][0] != "kind" || rows[1][0] != "total" || rows[1][2] != "2" || rows[1][3] != "1" {
		t.Fatalf("csv: %d %v %q %s", exit, err, rows, stderr)
	}
	first := slices.Index(rows[0], "bypassed_p50_ms")
	times := func(row []string) string { return strings.Trim(strings.Join(row[first:], " "), " ") }
	if first < 0 || times(rows[0]) == "" || times(rows[1]) == "" || times(rows[2]) != times(rows[1]) || times(rows[len(rows)-1]) != "" {
		t.Errorf("times of requests: from column %d on of %q", first, rows)
	}
	if last := rows[len(rows)-1]; last[0] != "image" || last[1] != "library:"+name || last[3] != "1" {
		t.Errorf("the image: got %q", last)
	}
	_, page, _ := d.run(t, "report", "-o", "html")
	if !strings.Contains(page, "library:=&lt;b&gt;x&lt;/b&gt;.raw") || strings.Contains(page, "<b>x") || strings.Contains(page, "http") || !strings.Contains(page, "</html>") || !strings.Contains(page, "99 % within") {
		t.Errorf("the page: %s", page)
	}
	if _, table, _ := d.run(t, "report"); !strings.Contains(table, "99 % WITHIN") {
		t.Errorf("the table: %s", table)
	}
	if _, out, _ := d.run(t, "report", "--month", "2001-02", "-o", "csv"); !strings.Contains(out, "total,,0,0,0,0,0,0.000,0,0.000") {
		t.Errorf("a month of before: %s", out)
	}
	for _, args := range [][]string{{"report", "--month", "May"}, {"report", "--month", "2026-11", "--since", "1h"}, {"status", "-o", "csv"}, {"report", "--since", "1h", "--until", "2h"}} {
		if exit, _, stderr := d.run(t, args...); exit != exitUsage || stderr == "" {
			t.Errorf("%q: exit code %d, %s", args, exit, stderr)
		}
	}
	for by, want := range map[string]string{"host": ",2,1,1,1048576,", "project": "(everybody's),2,1,1,"} {
		exit, out, stderr := d.run(t, "report", "--by", by, "-o", "csv")
		rows := strings.Split(strings.TrimSpace(out), "\n")
		if exit != exitOK || len(rows) != 3 || !strings.HasPrefix(rows[2], by+",") || !strings.Contains(rows[2], want) {
			t.Errorf("--by %s: %d %q %s, want %q", by, exit, rows, stderr, want)
		}
		if _, table, _ := d.run(t, "report", "--by", by); !strings.Contains(table, strings.ToUpper(by)) || strings.Contains(table, "IMAGES") {
			t.Errorf("--by %s as a table: %s", by, table)
		}
		if _, page, _ := d.run(t, "report", "--by", by, "-o", "html"); !strings.Contains(page, "<h2>"+strings.ToUpper(by[:1])+by[1:]+"s") {
			t.Errorf("--by %s as a page: %s", by, page)
		}
		if exit, _, stderr := d.run(t, "report", "--by", by, "--backend", "local"); exit != exitUsage || !strings.Contains(stderr, "leave the backend out") {
			t.Errorf("--by %s of one backend: %d %s", by, exit, stderr)
		}
	}
	if _, out, _ := d.run(t, "report", "--by", "backend", "-o", "csv"); !strings.Contains(out, "\nbackend,local,") || strings.Contains(out, "\nimage,") {
		t.Errorf("--by backend: %s", out)
	}
	if _, table, _ := d.run(t, "report", "--by", "backend"); !strings.Contains(table, "hit ratio") || strings.Contains(table, "IMAGE") {
		t.Errorf("--by backend as a table: %s", table)
	}
	if got := noFormula("=1+1"); got != "'=1+1" {
		t.Errorf("a formula: got %q", got)
	}
}
