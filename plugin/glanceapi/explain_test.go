package glanceapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// What does not answer is to be asked again, and why it does not is for the log alone: it names places on this host.
func TestWhatDoesNotAnswerIsAskedAgain(t *testing.T) {
	for _, down := range []error{backends.ErrUnavailable, catalog.ErrUnavailable} {
		err := fmt.Errorf("%w: %w: %w", plugin.ErrNotKept, down, errors.New("open /var/cache/clonecache: input/output error"))
		if status, text := explain(err); status != http.StatusServiceUnavailable || strings.Contains(text, "/var") {
			t.Errorf("%v: %d %q, want %d", err, status, text, http.StatusServiceUnavailable)
		}
	}
}
