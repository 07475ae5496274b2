package plugin

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// What could not be written down is, once that can be: it is told of again and again.
func TestWhatIsDamagedIsWrittenDownInTheEnd(t *testing.T) {
	dir := t.TempDir()
	var d damaged
	if err := d.open(dir); err != nil {
		t.Fatal(err)
	}
	inTheWay := filepath.Join(dir, damagedFile+".new")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	bad := catalog.Entry{ID: "entry", ImageVolume: "volume", Quarantine: "it differs"}
	if err := d.add(bad); err == nil {
		t.Error("it was written where that cannot be")
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if err := d.add(bad); err != nil {
		t.Fatal(err)
	}
	var again damaged
	if err := again.open(dir); err != nil {
		t.Fatal(err)
	}
	if v, known := again.of("volume"); !known || v.Why != "it differs" {
		t.Errorf("after a start: %+v, %t", v, known)
	}
}
