package catalog

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestTheFirstNodeThatServesIsTaken(t *testing.T) {
	const one, two, three = "a:3306", "b:3306", "c:3306"
	n := newNodes([]string{one, two, three})
	at := time.Now()
	want := func(after time.Duration, what string, order ...string) {
		t.Helper()
		at = at.Add(after)
		if got := n.order(at); !slices.Equal(got, order) {
			t.Errorf("%s: asked in the order %v, want %v", what, got, order)
		}
	}
	want(0, "nothing known", one, two, three)
	n.heard(one, context.Canceled, at)
	want(0, "the caller went away", one, two, three)
	n.heard(one, errors.New("connection refused"), at)
	n.heard(two, nil, at)
	want(0, "the first one refuses", two, three, one)
	n.heard(two, context.DeadlineExceeded, at)
	want(0, "two do not serve", three, one, two)
	want(asideFor, "half a minute later", one, two, three)
	n.heard(one, errors.New("connection refused"), at)
	n.heard(one, nil, at)
	want(0, "it serves again", one, two, three)
}
