package plugin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// following names images that are followed; a test sweeps by itself.
func following(rules ...plugin.FollowConfig) option {
	return func(c *plugin.Config) {
		for i := range rules {
			rules[i].Every = time.Hour
		}
		c.Follows = rules
	}
}

// aged is an image that has been in the library for so long.
func (r *rig) aged(t *testing.T, name string, age time.Duration) []byte {
	t.Helper()
	content := r.image(t, name, 64<<10)
	at := time.Now().Add(-age)
	if err := os.Chtimes(filepath.Join(r.dir, "images", name), at, at); err != nil {
		t.Fatal(err)
	}
	return content
}

// sweep looks at all rules until all that is followed is there, and once more, and returns the first rule's view.
func (r *rig) sweep(t *testing.T) plugin.FollowView {
	t.Helper()
	var v plugin.FollowView
	waitFor(t, func() bool {
		all, err := r.Queue().Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v = all[0]
		return !slices.ContainsFunc(all, func(v plugin.FollowView) bool {
			return slices.ContainsFunc(v.Images, func(i plugin.FollowedView) bool { return i.State == "queued" })
		})
	})
	return v
}

// cached are the images of the ready entries.
func (r *rig) cached(t *testing.T) []string {
	t.Helper()
	all, err := r.Entries(t.Context(), plugin.EntryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var images []string
	for _, e := range all {
		if e.State == "ready" {
			images = append(images, e.ImageIDs...)
		}
	}
	slices.Sort(images)
	return images
}

func (r *rig) wantCached(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := r.cached(t); !slices.Equal(got, want) {
		t.Errorf("%s: cached are %q, want %q", when, got, want)
	}
}

func TestTheNewestOfAPatternAreAlwaysThere(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, following(
		plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "golden-*.raw"}, Keep: 1},
		plugin.FollowConfig{Source: "library", Image: "golden-0.raw", Pin: true},
	))
	content := r.aged(t, "golden-0.raw", 3*time.Hour)
	r.aged(t, "golden-1.raw", 2*time.Hour)
	r.aged(t, "other.raw", time.Hour)
	r.aged(t, "golden-9.raw", -30*time.Minute) // is still being copied there
	v := r.sweep(t)
	if len(v.Images) != 1 || v.Images[0].ImageID != "library:golden-1.raw" || v.Images[0].State != "ready" || v.Images[0].Backend != "local" || v.Error != "" || v.LookedAt == nil || v.NextAt == nil {
		t.Errorf("the rule: %+v", v)
	}
	r.wantCached(t, "at first", "library:golden-0.raw", "library:golden-1.raw")
	if a := r.create(t, "library:golden-0.raw", "v0", 0); a.Outcome != plugin.Hit {
		t.Errorf("first request: %+v, want a hit", a)
	} else {
		r.holds(t, a, content)
	}
	content = r.aged(t, "golden-2.raw", time.Hour)
	if v = r.sweep(t); v.Images[0].ImageID != "library:golden-2.raw" {
		t.Errorf("with a newer one: %+v", v)
	}
	if a := r.create(t, "library:golden-2.raw", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("first request of the new version: %+v, want a hit", a)
	} else {
		r.holds(t, a, content)
	}
	r.wantCached(t, "with a newer one", "library:golden-0.raw", "library:golden-2.raw")
	r.aged(t, "golden-3.raw", time.Minute)
	r.create(t, "library:golden-2.raw", "v3", 0)
	r.sweep(t)
	r.wantCached(t, "with the newest", "library:golden-0.raw", "library:golden-3.raw")

	if err := os.RemoveAll(filepath.Join(r.dir, "images")); err != nil {
		t.Fatal(err)
	}
	if v = r.sweep(t); v.Error == "" {
		t.Errorf("without the directory: %+v, want why", v)
	}
	if err := os.Mkdir(filepath.Join(r.dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.sweep(t)
	r.wantCached(t, "with an empty directory", "library:golden-0.raw", "library:golden-3.raw")
	checkClean(t, r)
}

// A rule that was not looked at since the start has images too, which another one, that is looked at first, must not drop.
func TestWhatARuleWantsStaysUntilItIsLookedAt(t *testing.T) {
	one := plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "golden-*.raw"}, Keep: 1}
	all := plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "golden-[12].raw"}}
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, following(one, all))
	for i := range 4 {
		r.aged(t, fmt.Sprintf("golden-%d.raw", i), time.Duration(100-i)*time.Minute)
	}
	r.sweep(t)
	want := []string{"library:golden-1.raw", "library:golden-2.raw", "library:golden-3.raw"}
	r.wantCached(t, "at first", want...)
	before := r.wantEntries(t, 3)

	r.reopen(t, func() {})
	r.sweep(t)
	r.wantCached(t, "after a start", want...)
	for i, e := range r.wantEntries(t, 3) {
		if e.ID != before[i].ID {
			t.Errorf("after a start: entry %s, had been %s: it was dropped and filled again", e.ID, before[i].ID)
		}
	}
	checkClean(t, r)
}

func TestTheNewestContentsOfOneImageStay(t *testing.T) {
	for _, keep := range []int{0, 2} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, following(
				plugin.FollowConfig{Source: "library", Image: "latest.raw", Keep: keep, Pin: true}))
			for version := range 4 {
				content := r.aged(t, "latest.raw", time.Duration(100-version)*time.Minute)
				r.sweep(t)
				if a := r.create(t, "library:latest.raw", fmt.Sprint("v", version), 0); a.Outcome != plugin.Hit {
					t.Errorf("version %d: %+v, want a hit", version, a)
				} else {
					r.holds(t, a, content)
				}
			}
			r.sweep(t)
			if all := r.wantEntries(t, max(keep, 1)); !all[0].Pinned {
				t.Errorf("entries: %+v, want the newest pinned", all)
			}
			checkClean(t, r)
		})
	}
}

func TestWhatABoundTookIsNotFollowedForEver(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 2}, quick, following(
		plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "many-*"}}))
	for i := range 4 {
		r.aged(t, fmt.Sprintf("many-%d.raw", i), time.Duration(100-i)*time.Minute)
	}
	r.sweep(t)
	states := func(v plugin.FollowView) map[string]int {
		n := make(map[string]int)
		for _, i := range v.Images {
			n[i.State]++
		}
		return n
	}
	if got := states(r.sweep(t)); got["ready"] < 1 || got["ready"] > 2 || got["ready"]+got["evicted"] != 4 {
		t.Errorf("states: %v, want two of four ready at most, and the others evicted", got)
	}
	filled := len(r.queued(t))
	r.sweep(t)
	if got := len(r.queued(t)); got != filled {
		t.Errorf("queued again: %d rows, %d before", got, filled)
	}
}

func TestARuleThatMeansNothingIsRefused(t *testing.T) {
	web, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: "https://images.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, t.TempDir(), lru.Bounds{}, quick, withSource(newGatedSource()), withSource(web))
	pattern := imagesource.Match{Pattern: "*.raw"}
	for name, rule := range map[string]plugin.FollowConfig{
		"nothing":             {Source: "library"},
		"two things":          {Source: "library", Image: "a.raw", Match: pattern},
		"no source":           {Match: pattern},
		"no such source":      {Source: "absent", Match: pattern},
		"no list":             {Source: "gated", Match: pattern},
		"a wrong pattern":     {Source: "library", Match: imagesource.Match{Pattern: "a["}},
		"a tag of a folder":   {Source: "library", Match: imagesource.Match{Pattern: "*", Tag: "golden"}},
		"no such backend":     {Source: "library", Match: pattern, Backends: []backends.Name{"absent"}},
		"no such group":       {Source: "library", Match: pattern, Group: "absent"},
		"backends and group":  {Source: "library", Match: pattern, Group: "g", Backends: []backends.Name{"local"}},
		"keep":                {Source: "library", Match: pattern, Keep: -1},
		"every":               {Source: "library", Match: pattern, Every: time.Millisecond},
		"a URL of nobody":     {URL: "https://example.org/a.raw"},
		"a URL with a secret": {URL: "https://example.org/a.raw?token=x"},
		"an ID with a secret": {Source: "web", Image: "a.raw?token=x"},
	} {
		if err := r.Controls().SetLimits(plugin.Limits{Follows: []plugin.FollowConfig{rule}}); !errors.Is(err, plugin.ErrBadRequest) {
			t.Errorf("%s: %v, want ErrBadRequest", name, err)
		}
	}
	if all, err := r.Queue().Follows(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("rules: %+v, %v, want none", all, err)
	}
	if err := r.Controls().SetLimits(plugin.Limits{Follows: []plugin.FollowConfig{{Source: "library", Match: pattern}}}); err != nil {
		t.Fatal(err)
	}
	if all, err := r.Queue().Follows(t.Context()); err != nil || len(all) != 1 || all[0].Pattern != "*.raw" || all[0].Every != 300 {
		t.Errorf("rules: %+v, %v, want one", all, err)
	}
}

// Who writes a list chooses its names: those that no request may have are left alone, and keep none of the others away.
func TestOddNamesInAListAreNotFollowed(t *testing.T) {
	content := random(mib)
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	var list strings.Builder
	for _, name := range []string{"good-1.raw", "good-2.raw?x=1", "good-3.raw?token=secret", "good-4\u009b2J.raw", "good-5\u202e.raw", "good-6#.raw"} {
		fmt.Fprintf(&list, "%s  %s\n", sum, name)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/SHA256SUMS":
			fmt.Fprint(w, list.String())
		case "/good-1.raw":
			http.ServeContent(w, q, "", time.Unix(1e9, 0), bytes.NewReader(content))
		default:
			http.NotFound(w, q)
		}
	}))
	t.Cleanup(web.Close)
	source, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source), following(
		plugin.FollowConfig{Source: "web", Match: imagesource.Match{Pattern: "good-*"}, Keep: 1}))
	v := r.sweep(t)
	if len(v.Images) != 1 || v.Images[0].ImageID != "web:good-1.raw" || v.Images[0].State != "ready" || v.Error != "" {
		t.Errorf("the rule: %+v, want good-1.raw alone", v)
	}
	r.wantCached(t, "after a look", "web:good-1.raw")
}

// shownToSome is an image service: its account sees the images that it lists, and each token one image more.
type shownToSome struct {
	*gatedSource
	listed []string
	whose  map[string]imagesource.Token // of the images that are not listed
}

func (*shownToSome) CheckMatch(imagesource.Match) error { return nil }

func (s *shownToSome) List(context.Context, imagesource.Match) ([]imagesource.Listed, error) {
	var all []imagesource.Listed
	for _, id := range s.listed {
		all = append(all, imagesource.Listed{ID: id, Name: "disk"})
	}
	return all, nil
}

func (s *shownToSome) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	if of, private := s.whose[id]; private && imagesource.TokenOf(ctx) != of {
		return imagesource.Image{}, imagesource.ErrNotFound
	}
	return s.gatedSource.Stat(ctx, id)
}

// That an image service does not show somebody's image to its account is no word that the image is gone.
func TestAPatternTakesNoPrivateImagesForGone(t *testing.T) {
	source := &shownToSome{gatedSource: newGatedSource(), listed: []string{"public"}, whose: map[string]imagesource.Token{"private": "alice"}}
	close(source.gate)
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source), following(
		plugin.FollowConfig{Source: "gated", Match: imagesource.Match{Pattern: "*"}}))
	for _, id := range []string{"public", "private"} {
		source.put(id, "1", random(mib))
	}
	if a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:private", Volume: "v", Token: "alice"}); err != nil || a.Outcome != plugin.Filled {
		t.Fatalf("Alice: %+v, %v, want filled", a, err)
	}
	r.sweep(t)
	r.sweep(t)
	r.wantCached(t, "after two looks", "gated:private", "gated:public")
	for _, e := range r.wantEntries(t, 2) {
		if e.SupersededAt != nil {
			t.Errorf("%s is superseded", e.ImageIDs[0])
		}
	}
	if a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:private", Volume: "w", Token: "bob"}); !errors.Is(err, imagesource.ErrNotFound) {
		t.Errorf("Bob: %+v, %v, want ErrNotFound", a, err)
	}
}

// What a rule has pinned goes with the rule; what a person has pinned, before or after it, stays until a person unpins it.
func TestARuleKeepsAPersonsPin(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, following(
		plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "golden-*.raw"}, Keep: 1, Pin: true}))
	pinnedBy := func(ref string) string { return r.entry(t, ref).PinnedBy }
	version := func(n int) string {
		name := fmt.Sprintf("golden-%d.raw", n)
		r.aged(t, name, time.Duration(100-n)*time.Minute)
		return "library:" + name
	}
	first := version(0)
	if _, err := r.Queue().Prefetch(t.Context(), plugin.Prefetch{Images: []string{first}, All: true, Pin: true}); err != nil {
		t.Fatal(err)
	}
	r.sweep(t)
	second := version(1)
	r.sweep(t)
	if first, second := pinnedBy(first), pinnedBy(second); first != "person" || second != "rule" {
		t.Errorf("pinned by: %q, %q, want person, rule", first, second)
	}
	third := version(2)
	r.sweep(t)
	r.wantCached(t, "beyond keep", first, third)
	if _, err := r.SetPinned(t.Context(), r.entry(t, third).ID, true); err != nil {
		t.Fatal(err)
	}
	if by := pinnedBy(third); by != "person" {
		t.Errorf("a person has pinned what a rule had: pinned by %q", by)
	}
	fourth := version(3)
	r.sweep(t)
	r.wantCached(t, "beyond keep", first, third, fourth)
	for _, ref := range []string{first, third} {
		if _, err := r.SetPinned(t.Context(), r.entry(t, ref).ID, false); err != nil {
			t.Fatal(err)
		}
	}
	r.sweep(t)
	r.wantCached(t, "unpinned", fourth)
	checkClean(t, r)
}
