package plugin

import "testing"

// What is left out each time is tried less and less often, and at once after something has changed.
func TestWhatIsLeftOutAgainIsTriedLessAndLessOften(t *testing.T) {
	var r repeats
	next := func() (passed int) {
		for !r.due() {
			passed++
		}
		return passed
	}
	for _, want := range []int{0, 0, 1, 3, 7, mostRepeatsPassed, mostRepeatsPassed} {
		if got := next(); got != want {
			t.Errorf("passed over: got %d times, want %d", got, want)
		}
		r.ended(false)
	}
	r.anew()
	if got := next(); got != 0 {
		t.Errorf("after a change: passed over %d times, want none", got)
	}
	r.ended(true)
	r.ended(false)
	if got := next(); got != 0 {
		t.Errorf("after a whole one: passed over %d times, want none", got)
	}
}
