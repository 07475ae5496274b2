package glanceapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
	"github.com/clonecache/clonecache/plugin/imagesource/glance"
)

// list shows the one image that is asked for, where it is what is asked for.
func (g *fakeGlance) list(w http.ResponseWriter, r *http.Request) {
	id, one := strings.CutPrefix(r.FormValue("id"), "in:")
	g.mu.Lock()
	i, ok := g.images[id]
	g.lists++
	g.mu.Unlock()
	if r.Header.Get("X-Auth-Token") != "admin" || !one || r.FormValue("visibility") != "public" || r.FormValue("status") != "active" {
		g.other(w, r)
		return
	}
	images := []any{}
	if ok && i.owner == "" && i.status == "active" && !i.hidden {
		images = append(images, i.described(id))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"images": images})
}

// other answers what the fake knows nothing of.
func (*fakeGlance) other(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Seen", r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("X-Auth-Token"))
	w.WriteHeader(http.StatusTeapot)
}

// anonymous lets who brings no token read public images.
func anonymous(c *glanceapi.Config, cache *plugin.Config) {
	c.Publics = cache.Sources[0].(*glance.Source)
}

// wantParts checks whether an answer tells that parts can be had.
func wantParts(t *testing.T, answer *http.Response, want string) {
	t.Helper()
	if got := answer.Header.Get("Accept-Ranges"); got != want {
		t.Errorf("Accept-Ranges: %q, want %q", got, want)
	}
}

func TestAPublicImageWithoutAToken(t *testing.T) {
	f := newFront(t, keeping, anonymous)
	data := f.glance.images[plainImage].data
	for range 2 {
		answer, body := f.download(t, "", plainImage)
		wantParts(t, answer, "bytes")
		answer.Header.Del("Accept-Ranges")
		f.wantImage(t, answer, body, plainImage)
		f.kept(t, plainImage)
	}
	answer, body := f.send(t, "", "GET", "/v2/images/"+plainImage+"/file", "Range: bytes=1000-1999")
	if answer.StatusCode != http.StatusPartialContent || body != string(data[1000:2000]) {
		t.Errorf("a part: %d, %d bytes", answer.StatusCode, len(body))
	}
	wantParts(t, answer, "bytes")
	answer, body = f.send(t, "", "HEAD", "/v2/images/"+plainImage+"/file")
	if answer.StatusCode != http.StatusOK || answer.ContentLength != int64(len(data)) || body != "" || answer.Header.Get("Content-Md5") == "" {
		t.Errorf("HEAD: %d, length %d", answer.StatusCode, answer.ContentLength)
	}
	wantParts(t, answer, "bytes")
	if f.glance.downloads() != 1 {
		t.Errorf("%d downloads from Glance, want 1", f.glance.downloads())
	}
}

// What such clients ask for before they read, or read in parts, is fetched ahead; the parts are Glance's until then.
func TestAPublicImageIsFetchedAhead(t *testing.T) {
	for _, c := range []struct {
		method string
		ranges bool // Glance's store has them
		status int  // of the first answer
		told   string
	}{
		{"HEAD", true, 200, "bytes"}, {"HEAD", false, 200, ""}, {"GET", true, 206, "bytes"}, {"GET", false, 400, ""},
	} {
		t.Run(fmt.Sprintf("%s, ranges %t", c.method, c.ranges), func(t *testing.T) {
			f := newFront(t, keeping, anonymous)
			f.glance.set(func() { f.glance.noRanges = !c.ranges })
			path := "/v2/images/" + plainImage + "/file"
			answer, _ := f.send(t, "", c.method, path, "Range: bytes=5-9")
			if answer.StatusCode != c.status {
				t.Errorf("first: %d, want %d", answer.StatusCode, c.status)
			}
			wantParts(t, answer, c.told)
			f.kept(t, plainImage)
			answer, _ = f.send(t, "", "HEAD", path)
			wantParts(t, answer, "bytes")
			answer, body := f.send(t, "", "GET", path, "Range: bytes=5-9")
			if data := f.glance.images[plainImage].data; answer.StatusCode != 206 || body != string(data[5:10]) {
				t.Errorf("then: %d, %q", answer.StatusCode, body)
			}
			f.wantEntries(t, 1)
		})
	}
}

// What cannot be kept is passed on, and nobody is told of parts that Glance's store does not give.
func TestAPublicImageThatIsNotKept(t *testing.T) {
	f := newFront(t, anonymous)
	for _, ranges := range []bool{true, false} {
		f.glance.set(func() { f.glance.noRanges = !ranges })
		answer, body := f.download(t, "", plainImage)
		wantParts(t, answer, map[bool]string{true: "bytes", false: ""}[ranges])
		if !bytes.Equal(body, f.glance.images[plainImage].data) {
			t.Errorf("got %d, %d bytes", answer.StatusCode, len(body))
		}
	}
}

// Whatever is not public is answered as without the setting, to who brings no token: also what is kept, and in the same way.
func TestWhatIsNotPublicNeedsAToken(t *testing.T) {
	f, without := newFront(t, keeping, anonymous), newFront(t, keeping)
	for _, g := range []*front{f, without} {
		g.glance.set(func() {
			g.glance.images[otherImage] = fakeImage{data: random(10 << 10), status: "active", hidden: true}
		})
	}
	f.keep(t, "demo", privateImage)
	for _, id := range []string{privateImage, deactivatedImage, queuedImage, absentImage, otherImage, strings.ToUpper("aaaaaaaa") + absentImage[8:]} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, part := range []header{"Accept: */*", "Range: bytes=0-9"} {
				f.glance.set(func() { f.glance.lists, f.glance.probes = 0, 0 })
				before := f.glance.downloads()
				got, body := f.send(t, "", method, "/v2/images/"+id+"/file", part)
				want, refusal := without.send(t, "", method, "/v2/images/"+id+"/file", part)
				got.Header.Del("Date")
				want.Header.Del("Date")
				if got.StatusCode != http.StatusUnauthorized || got.StatusCode != want.StatusCode || body != refusal || fmt.Sprint(got.Header) != fmt.Sprint(want.Header) {
					t.Errorf("%s of %s, %s: got %d %v %q, want %d %v %q", method, id, part, got.StatusCode, got.Header, body, want.StatusCode, want.Header, refusal)
				}
				if f.glance.probes > 0 || f.glance.downloads() != before || f.glance.lists > 1 {
					t.Errorf("%s of %s: Glance was asked for more than what is public", method, id)
				}
			}
		}
	}
	f.wantEntries(t, 1)
}

// A token that is no good, and one in another header, is Glance's to judge; so is every other method and path.
func TestOnlyWhoBringsNoTokenIsAnonymous(t *testing.T) {
	f := newFront(t, keeping, anonymous)
	f.keep(t, "demo", plainImage)
	file := "/v2/images/" + plainImage + "/file"
	for _, c := range []struct {
		who, method, path string
		header            header
		want              int
	}{
		{"expired", "GET", file, "Accept: */*", 401},
		{"", "GET", file, "X-Storage-Token: demo", 401},
		{"", "GET", file, "X-Service-Token: demo", 401},
		{"demo", "HEAD", file, "Accept: */*", 200}, // as the fake has it; Glance refuses it
		{"", "PUT", file, "Accept: */*", http.StatusTeapot},
		{"", "GET", "/v2/images/" + plainImage, "Accept: */*", 401},
		{"", "DELETE", "/v2/images/" + plainImage, "Accept: */*", 401},
		{"", "GET", "/v2/cache", "Accept: */*", 401},
	} {
		answer, body := f.send(t, c.who, c.method, c.path, c.header)
		if answer.StatusCode != c.want {
			t.Errorf("%s %s as %q, %s: %d %.80s, want %d", c.method, c.path, c.who, c.header, answer.StatusCode, body, c.want)
		}
		wantParts(t, answer, "")
	}
}

// It is asked at each request whether an image is public.
func TestAnImageThatIsPublicNoMore(t *testing.T) {
	f := newFront(t, keeping, anonymous)
	f.keep(t, "demo", plainImage)
	f.glance.set(func() { i := f.glance.images[plainImage]; i.owner = "demo"; f.glance.images[plainImage] = i })
	if answer, _ := f.download(t, "", plainImage); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %d, want 401", answer.StatusCode)
	}
	answer, body := f.download(t, "demo", plainImage)
	f.wantImage(t, answer, body, plainImage)
}

// Where Glance, or the account's Keystone, does not answer, nothing is given, and it is no matter of a login.
func TestPublicImagesWithoutGlance(t *testing.T) {
	f := newFront(t, keeping, anonymous)
	f.keep(t, "demo", plainImage)
	f.glance.set(func() { f.glance.account = "expired" })
	for _, id := range []string{plainImage, privateImage, absentImage} {
		if answer, _ := f.download(t, "", id); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d, want 503", id, answer.StatusCode)
		}
	}
}
