package catalog

import (
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestURLs(t *testing.T) {
	for _, test := range []struct{ url, want string }{
		{"sqlite:///var/lib/clonecache/catalog.db", "sqlite:///var/lib/clonecache/catalog.db"},
		{"sqlite:///a%20b/50%25", "sqlite:///a%20b/50%25"},
		{"mysql://clone@db.example.org/clonecache", "mysql://clone@db.example.org:3306/clonecache"},
		{"mysql://clone@a:3307,b,[::1]:3308/clonecache", "mysql://clone@a:3307,b:3306,[::1]:3308/clonecache"},
		{"postgres://c%40b@[fd00::1]/x", "postgres://c%40b@[fd00::1]:5432/x"},
	} {
		p, err := ParseURL(test.url)
		if err != nil || p.String() != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.url, p, err, test.want)
		}
		again, err := ParseURL(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("%s again: %s, %v", p, again, err)
		}
	}
}

func TestURLsThatAreRefusedSayWhy(t *testing.T) {
	for _, test := range []struct{ url, says string }{
		{"", "not a URL"},
		{"/var/lib/catalog.db", "not a URL"},
		{"oracle://x@y/z", "no database is called"},
		{"sqlite://catalog.db", "absolute path"},
		{"sqlite://", "absolute path"},
		{"mysql://db.example.org/clonecache", "no user"},
		{"mysql://u:secret@db.example.org/clonecache", "password_file"},
		{"mysql://u@db.example.org", "no database"},
		{"mysql://u@db.example.org/a/b", "no database"},
		{"postgres://u@db/x?sslmode=disable", "no database"},
		{"postgres://u@:5432/x", "HOST:PORT"},
		{"postgres://u@a,/x", "HOST:PORT"},
		{"postgres://u@a:0/x", "HOST:PORT"},
		{"postgres://u@a:99999/x", "HOST:PORT"},
	} {
		p, err := ParseURL(test.url)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %s, %v, want an error with %q", test.url, p, err, test.says)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("it says the password: %v", err)
		}
	}
}

func TestTheURLOfADirectoryNamesTheFileInIt(t *testing.T) {
	for _, dir := range []string{"/var/lib/clonecache", t.TempDir() + "/with space?#"} {
		p, err := ParseURL(InDir(dir))
		if err != nil || p.path != filepath.Join(dir, "catalog.db") || p.Server() {
			t.Errorf("%s: %+v, %v", dir, p, err)
		}
	}
}

// The servers' schemas begin with SQLite's eighth step; whoever adds a step adds it for each database.
func TestEveryStepIsThereForEveryDatabase(t *testing.T) {
	const first = "00008_catalog.sql"
	names := func(d dialect) (all []string) {
		files, err := fs.Glob(migrationFiles, d.migrations+"/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if name := path.Base(file); name > first && !strings.HasPrefix(name, "00008") {
				all = append(all, name)
			}
		}
		return all
	}
	want := names(sqliteDialect)
	for _, d := range []dialect{mariaDBDialect, postgresDialect} {
		if got := names(d); !slices.Equal(got, want) {
			t.Errorf("%s has the steps %v, SQLite has %v", d.migrations, got, want)
		}
	}
}
