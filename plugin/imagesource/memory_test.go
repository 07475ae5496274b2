package imagesource

import (
	"fmt"
	"strings"
	"testing"
)

func TestMemoryIsBoundedBySize(t *testing.T) {
	m := newSizedMemory[string](10, func(v int) int { return v })
	kept := func() string {
		all := ""
		for _, k := range []string{"a", "b", "c"} {
			if v, known := m.get(k); known {
				all += fmt.Sprint(k, v, " ")
			}
		}
		return strings.TrimSpace(all)
	}
	for _, step := range []struct {
		key  string
		size int
		want string
	}{
		{"a", 4, "a4"}, {"b", 6, "a4 b6"}, {"a", 4, "a4 b6"}, {"a", 1, "a1 b6"}, {"c", 3, "a1 b6 c3"}, {"c", 4, "c4"}, {"b", 6, "b6 c4"}, {"a", 99, "a99"}, {"b", 2, "b2"},
	} {
		if m.put(step.key, step.size); kept() != step.want {
			t.Fatalf("after %s of %d: %s, want %s", step.key, step.size, kept(), step.want)
		}
	}
}

// A server with many large lists does not have its way with the memory: what is kept is bounded in lines.
func TestLargeListsAreNotAllKept(t *testing.T) {
	var text strings.Builder
	for i := range 3 * linesAList {
		fmt.Fprintf(&text, "%064x  f%d.img\n", i, i)
	}
	h := newTestHTTP(t, "web", "https://images.example.org/x")
	s, err := parseSums(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxListsKept {
		h.lists.put(fmt.Sprint(i), httpList{sums: s})
	}
	lines := 0
	for i := range maxListsKept {
		if l, known := h.lists.get(fmt.Sprint(i)); known {
			lines += l.sums.lines
		}
	}
	if lines == 0 || lines > maxListsKept*linesAList {
		t.Errorf("%d lines are kept, want at most %d", lines, maxListsKept*linesAList)
	}
}
