package catalog

import (
	"errors"
	"testing"
)

// Who is in the midst of something when the catalog is closed is told so.
func TestAClosedCatalogSaysSo(t *testing.T) {
	c, err := Open(t.Context(), anew(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(t.Context(), Filter{}); !errors.Is(err, ErrClosed) {
		t.Errorf("list: got %v, want %v", err, ErrClosed)
	}
	if err := c.Remove(t.Context(), "e"); !errors.Is(err, ErrClosed) || errors.Is(err, ErrNotFound) {
		t.Errorf("remove: got %v, want %v", err, ErrClosed)
	}
}
