package glance

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// listing is a Glance with so many images, whose descriptions have so many bytes each, but for those of which more is said. asked
// are the limits that it was asked for.
type listing struct {
	images, bytes int
	others        map[int]int
	asked         []string
}

func (l *listing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	l.asked = append(l.asked, q.Get("limit"))
	first := 0
	if marker := q.Get("marker"); marker != "" {
		first, _ = strconv.Atoi(marker) // the IDs are numbers here
		first++
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || q.Get("tag") != "golden" {
		http.Error(w, "asked for "+r.URL.String(), http.StatusBadRequest)
		return
	}
	last := min(first+limit, l.images)
	var all []string
	for i := first; i < last; i++ {
		all = append(all, fmt.Sprintf(`{"id":"%d","name":"image","description":%q}`, i, strings.Repeat("x", max(l.bytes, l.others[i]))))
	}
	next := ""
	if last-first == limit {
		next = fmt.Sprintf(`,"next":"/v2/images?marker=%d&limit=%d"`, last-1, limit)
	}
	fmt.Fprintf(w, `{"images":[%s]%s}`, strings.Join(all, ","), next)
}

// Pages that are too long to be read become shorter, and no image is left out by that or comes twice.
func TestPagesThatAreTooLongBecomeShorter(t *testing.T) {
	for _, tt := range []struct {
		name          string
		images, bytes int
		asked         []string // limits
		err           error
	}{
		{"short", 201, 10, []string{"200", "200"}, nil},
		{"more again", 550, 300, []string{"200", "100", "100", "100", "100", "200", "100", "100"}, nil},
		{"half as many", 250, 300, []string{"200", "100", "100", "100"}, nil},
		{"none after the last", 100, 300, []string{"200"}, nil},
		{"one by one", 2, 30 << 10, []string{"200", "100", "50", "25", "12", "6", "3", "1", "1", "1"}, nil},
		{"one that is too long", 1, 400 << 10, []string{"200", "100", "50", "25", "12", "6", "3", "1"}, imagesource.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &listing{images: tt.images, bytes: tt.bytes}
			f := &fakeGlance{Server: httptest.NewServer(l)}
			t.Cleanup(f.Close)
			s, _ := f.source(t)
			s.longPage = 40 << 10
			got, err := s.List(t.Context(), imagesource.Match{Tag: "golden"})
			if !errors.Is(err, tt.err) || !slices.Equal(l.asked, tt.asked) {
				t.Fatalf("%v, asked for %v, want %v, %v", err, l.asked, tt.err, tt.asked)
			}
			if tt.err == nil && len(got) != tt.images {
				t.Errorf("%d images, want %d", len(got), tt.images)
			}
			for i, image := range got {
				if image.ID != fmt.Sprint(i) {
					t.Fatalf("image %d is %s", i, image.ID)
				}
			}
		})
	}
}

// One image that somebody has made long hides no other one, and few pages are short for it.
func TestOneLongImageHidesNoOther(t *testing.T) {
	l := &listing{images: 1000, bytes: 10, others: map[int]int{150: 100 << 10, 700: 300 << 10}}
	f := &fakeGlance{Server: httptest.NewServer(l)}
	t.Cleanup(f.Close)
	s, _ := f.source(t)
	s.longPage = 40 << 10
	got, err := s.List(t.Context(), imagesource.Match{Tag: "golden"})
	if err != nil || len(got) != l.images {
		t.Fatalf("%d images, %v, want %d", len(got), err, l.images)
	}
	if most := 100; len(l.asked) > most {
		t.Errorf("asked for %d pages, want at most %d: %v", len(l.asked), most, l.asked)
	}
}
