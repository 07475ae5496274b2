package plugin

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
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
