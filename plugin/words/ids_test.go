package words_test

import (
	"testing"

	"github.com/clonecache/clonecache/plugin/words"
)

func TestNoTwoImagesHaveOneKey(t *testing.T) {
	type image struct{ ref, revision, format string }
	seen := map[words.Key]image{}
	for _, i := range []image{
		{"web:a@b", "1", "raw"}, {"web:a%40b", "1", "raw"}, {"web:a%2540b", "1", "raw"}, {"web:a", "b@1", "raw"}, {"web:a@b@1", "", "raw"},
		{"web:a", "1", "raw/x"}, {"web:a", "1/raw", "x"}, {"web:a", "1", "raw%2fx"}, {"web:a", "1", "raw%252fx"},
	} {
		key := words.RevisionKey(i.ref, i.revision, i.format)
		if other, known := seen[key]; known {
			t.Errorf("%v and %v have one key, %s", i, other, key)
		}
		seen[key] = i
		for _, ref := range []string{"web:a@b", "web:a%40b", "web:a", "web:a@b@1"} {
			if got, want := key.Of(ref), ref == i.ref; got != want {
				t.Errorf("%s is a key of %s: %v", key, ref, got)
			}
		}
	}
}
