//go:build !failpoints

package failpoint

// Reached tells that step was done.
func Reached(Step) {}
