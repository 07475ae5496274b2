package backendtest_test

import (
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
)

// A backend is accepted by a test of its own package that runs the suite. Each check opens a fresh, empty backend.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestContract(t *testing.T)
		backendtest.Run(t, func(tb testing.TB) backends.Backend {
			b := backendtest.NewMemory(backendtest.MemoryConfig{CapacityBytes: 1 << 30})
			tb.Cleanup(func() { _ = b.Close() })
			return b
		})
	}
	// Output:
}
