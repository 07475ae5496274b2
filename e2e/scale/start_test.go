package scale

import (
	"fmt"
	"testing"
)

// BenchmarkStart opens a plugin that an earlier process closed.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			place := newPlace(b, n, 10*n, independent)
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				p := place.open(b, n)
				b.StopTimer()
				if err := p.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
