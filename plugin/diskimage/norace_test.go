//go:build !race

package diskimage_test

// underRaceDetector: loops over many millions of words are left out.
const underRaceDetector = false
