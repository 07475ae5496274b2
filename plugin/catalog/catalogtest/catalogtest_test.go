package catalogtest_test

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/catalog/catalogtest"
)

// What a test begins with is a catalog that belongs to nobody yet, and one that is in use is not replaced.
func TestACatalogBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "catalog.db")
	for _, want := range []string{"first", "first"} {
		catalogtest.Begin(t, path)
		c, err := catalog.Open(t.Context(), catalog.Config{Access: catalog.Access{URL: catalog.FileURL(path)}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Identify(t.Context(), "first"); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if err := c.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
