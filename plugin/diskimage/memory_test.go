package diskimage_test

import (
	"os"
	"runtime/debug"
	"testing"
)

// softLimit is where the collector begins to work harder, in bytes. Disks are decoded into memory here, several at
// once, and other packages' tests run beside these.
const softLimit = 1 << 30

func TestMain(m *testing.M) {
	debug.SetMemoryLimit(softLimit)
	os.Exit(m.Run())
}
