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
	"github.com/clonecache/clonecache/plugin/imagesource"
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

// What Glance says of an image is no fault of the server.
func TestWhatGlanceSaysOfAnImageIsToldSo(t *testing.T) {
	for said, want := range map[error]int{
		imagesource.ErrNotFound: http.StatusNotFound, imagesource.ErrForbidden: http.StatusNotFound, imagesource.ErrNotActive: http.StatusBadRequest,
		imagesource.ErrRefused: http.StatusConflict, imagesource.ErrUnavailable: http.StatusServiceUnavailable,
	} {
		if status, text := explain(fmt.Errorf("image glance:x: %w", said)); status != want {
			t.Errorf("%v: %d %q, want %d", said, status, text, want)
		}
	}
}
