package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	return c.at
}

// inFile is a SQLite catalog, for what only SQLite has. Other tests take that of anew.
func inFile(path string) Config { return Config{Access: Access{URL: FileURL(path)}} }

// open opens a catalog that is closed when the test ends. now may be nil.
func open(t testing.TB, cfg Config, now func() time.Time) *Catalog {
	t.Helper()
	cfg.Now, cfg.URL = now, fromAnotherNode(cfg.URL)
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	c.rehearse = true
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// fromAnotherNode is a URL whose nodes, where it has several, begin with another one than last time: what several programs
// write to several nodes has to be right too.
func fromAnotherNode(url string) string {
	before, rest, _ := strings.Cut(url, "@")
	hosts, database, found := strings.Cut(rest, "/")
	all := strings.Split(hosts, ",")
	if !found || len(all) == 1 {
		return url
	}
	first := int(catalogsOpened.Add(1)) % len(all)
	return before + "@" + strings.Join(slices.Concat(all[first:], all[:first]), ",") + "/" + database
}

var catalogsOpened atomic.Int64

// fresh is a new catalog on a clock of its own.
func fresh(t testing.TB) (*Catalog, *clock) {
	t.Helper()
	at := newClock()
	return open(t, anew(t), at.now), at
}

func TestSQLiteRefusesWhatIsNotACatalog(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole.db")
	c, err := Open(t.Context(), inFile(whole))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		content []byte
	}{
		{"text", []byte("this is not a database, by any means, and it is longer than a header is: " + string(make([]byte, 200)))},
		{"one byte", []byte{1}},
		{"half", good[:len(good)/2]},
		{"one page", good[:4096]},
		{"not a whole page", good[:4096+100]},
		{"one page short", good[:len(good)-4096]},
		{"header overwritten", append(make([]byte, 100), good[100:]...)},
		{"schema overwritten", append(append(good[:100:100], make([]byte, 3996)...), good[4096:]...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalog.db")
			if err := os.WriteFile(path, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Open(t.Context(), inFile(path))
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
			if err == nil {
				c.Close()
			}
			t.Log(err)
		})
	}
}

func TestSQLiteTakesAnyPath(t *testing.T) {
	for _, name := range []string{"plain", "with space", "50%", "what?", "a#b", "a&b=c", "äöü"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			open(t, inFile(filepath.Join(dir, name)), nil)
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSQLiteSaysWhatIsMissing(t *testing.T) {
	for name, path := range map[string]string{
		"no path":      "",
		"no directory": filepath.Join(t.TempDir(), "absent", "catalog.db"),
		"a directory":  t.TempDir(),
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := Open(t.Context(), inFile(path)); err == nil {
				c.Close()
				t.Error("opened")
			}
		})
	}
}
