package rawfile

import "testing"

// What is handed to the disk follows the foremost write in whole steps, each part once.
func TestWritebackFollowsInSteps(t *testing.T) {
	var w Writeback
	for _, step := range []struct{ wrote, from, to int64 }{
		{1, 0, 0},
		{writebackStep + writebackLag - 1, 0, 0},
		{writebackStep + writebackLag, 0, writebackStep},
		{writebackStep + writebackLag - 1, writebackStep, writebackStep},
		{4*writebackStep + writebackLag + 5, writebackStep, 4 * writebackStep},
	} {
		if from, to := w.advance(step.wrote - writebackLag); from != step.from || to != step.to {
			t.Errorf("written up to %d: got [%d, %d), want [%d, %d)", step.wrote, from, to, step.from, step.to)
		}
	}
}
