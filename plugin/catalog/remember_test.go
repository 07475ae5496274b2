package catalog

import (
	"fmt"
	"testing"
)

// Whoever lists with ever other limits has no more statements kept than there may be; those that are known stay so.
func TestFewStatementsAreRemembered(t *testing.T) {
	made := map[string]int{}
	rewrite := remembering(func(stmt string) string {
		made[stmt]++
		return stmt + ";"
	})
	for range 2 {
		for i := range 2 * mostRemembered {
			if got, want := rewrite(fmt.Sprint("LIMIT ", i)), fmt.Sprintf("LIMIT %d;", i); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
	if kept := 4*mostRemembered - sum(made); kept != mostRemembered {
		t.Errorf("%d statements were kept, want %d", kept, mostRemembered)
	}
}

func sum(counts map[string]int) (all int) {
	for _, n := range counts {
		all += n
	}
	return all
}
