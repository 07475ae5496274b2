//go:build !race

package randomops

// slower is 1 without the race detector.
const slower = 1
