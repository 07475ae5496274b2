//go:build race

package diskimage_test

const underRaceDetector = true
