package words_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/clonecache/clonecache/plugin/words"
)

// TestEveryReasonHasAnOutcome: what Outcomes leaves out has no series before it happens.
func TestEveryReasonHasAnOutcome(t *testing.T) {
	known := map[string]bool{}
	for _, reasons := range words.Outcomes() {
		for _, r := range reasons {
			known[string(r)] = true
		}
	}
	source, err := os.ReadFile("words.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`Reason\w+ +Reason += "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(declared) < 20 {
		t.Fatalf("%d reasons were found", len(declared))
	}
	for _, m := range declared {
		if !known[m[1]] {
			t.Errorf("reason %s is of no outcome", m[1])
		}
	}
}
