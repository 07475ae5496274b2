package harness

import (
	"os"
	"strings"
	"testing"
)

// The daemons that the tests start are built as the tests are.
func TestTheRaceDetectorSparesWhatTheMakefileSpares(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var spared []string
	for _, pattern := range raceSpares {
		spared = append(spared, strings.TrimPrefix(pattern, "modernc.org/"))
	}
	if want := "$(foreach package," + strings.Join(spared, " ") + ",-gcflags=modernc.org/$(package)=-race=false)"; !strings.Contains(string(text), want) {
		t.Errorf("the Makefile has no %s", want)
	}
}
