package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Every error that a request may be refused with has its word in the event of the fill.
func TestEveryErrorOfAFillHasAWord(t *testing.T) {
	for _, err := range usual() {
		if got := failureReason(classify(fmt.Errorf("fill: %w", err))); got == ReasonCacheError {
			t.Errorf("%v: got %s", err, got)
		}
	}
	if got := failureReason(classify(internaltenant.ErrOverQuota)); got != ReasonOverQuota {
		t.Errorf("got %s, want %s", got, ReasonOverQuota)
	}
	if got := failureReason(classify(errors.New("odd"))); got != ReasonCacheError {
		t.Errorf("got %s, want %s", got, ReasonCacheError)
	}
}

// Of a server that hangs, its client says what it says of a request whose time is over. Only that one is refused.
func TestAServersSilenceIsNoDeadlineOfTheRequest(t *testing.T) {
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for kind, want := range map[error]Reason{
		internaltenant.ErrUnavailable: ReasonTenantDown, backends.ErrUnavailable: ReasonUnavailable, catalog.ErrUnavailable: ReasonCatalogDown,
	} {
		err := fmt.Errorf("ask: %w: %w", kind, context.DeadlineExceeded)
		if why, aside := steppedAside(classifyIn(t.Context(), err)); !aside || why.reason != want {
			t.Errorf("%v: %+v, want %s", err, why, want)
		}
		if !cachesFault(err) {
			t.Errorf("%v: the image is not tried again for a while", err)
		}
		if _, aside := steppedAside(classifyIn(over, err)); aside {
			t.Errorf("%v: the request's time is over, and it is bypassed for another reason", err)
		}
	}
}

func TestEventKindsAreDistinct(t *testing.T) {
	seen := make(map[EventKind]bool)
	for _, k := range EventKinds() {
		if seen[k.Kind] || k.Meaning == "" {
			t.Errorf("%s is there twice, or has no meaning", k.Kind)
		}
		seen[k.Kind] = true
	}
}

func TestClippedTextIsStillText(t *testing.T) {
	long := ""
	for range 600 {
		long += "ä"
	}
	if got := clipped("ü" + long + "x"); len(got) > 303 || got[len(got)-len("…"):] != "…" {
		t.Errorf("got %d bytes", len(got))
	}
	if got := clippedTo(mostWho, long); len(got) > 255 || !strings.HasSuffix(got, "ä…") { // the narrowest column
		t.Errorf("who: got %d bytes", len(got))
	}
	if got := clipped("short"); got != "short" {
		t.Errorf("got %q", got)
	}
}

// docs/api.md has the table of kinds as it is here.
func TestEveryEventKindIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range EventKinds() {
		if row := fmt.Sprintf("| `%s` | %s |\n", k.Kind, k.Meaning); !strings.Contains(string(text), row) {
			t.Errorf("docs/api.md has no row %q", row)
		}
	}
}
