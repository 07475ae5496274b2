package kinds

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The configuration that the packages install says the defaults: with its commented lines it means the
// same as without them, but for the two that have no default.
func TestThePackagesConfigurationSaysTheDefaults(t *testing.T) {
	text, err := os.ReadFile("../../packages/conf/clonecache.toml")
	if err != nil {
		t.Fatal(err)
	}
	var asked, all strings.Builder
	commented := 0
	for line := range strings.Lines(string(text)) {
		key := strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ")
		switch {
		case strings.Contains(line, "<<<") && key:
			asked.WriteString(line[1:])
			all.WriteString(line[1:])
		case key:
			commented++
			all.WriteString(line[1:])
		default:
			asked.WriteString(line)
			all.WriteString(line)
		}
	}
	want, err := All().Parse([]byte(asked.String()), "/etc/clonecache/clonecache.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := All().Parse([]byte(all.String()), "/etc/clonecache/clonecache.toml")
	if err != nil {
		t.Fatal(err)
	}
	if commented < 10 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d commented keys; with them:\n%+v\nwithout:\n%+v", commented, got, want)
	}
}
