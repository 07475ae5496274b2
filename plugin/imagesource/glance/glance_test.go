package glance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

func TestStatSaysWhatGlanceSays(t *testing.T) {
	f := newFake(t)
	f.fields["min_disk"], f.fields["virtual_size"] = "3", "400000"
	f.fields["locations"] = `[{"url":"file:///images/x","metadata":{}},{"url":"rbd://fsid/images/x/snap","metadata":{"store":"rbd"}}]`
	s, _ := f.source(t)
	got, err := s.Stat(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := imagesource.Image{
		Source: "glance", ID: id, Revision: f.digest().String(), SizeBytes: int64(len(f.data)), VirtualBytes: 400000, MD5: "58b5e1671b23eac3837117ff51b74470", MinDiskGiB: 3,
		Digest: f.digest(), ClaimedBy: imagesource.ByService, DiskFormat: "raw", Domain: "9ac9", ModifiedAt: time.Date(2026, 11, 20, 13, 27, 0, 0, time.UTC),
		Location: "rbd://fsid/images/x/snap",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestImageFields(t *testing.T) {
	for _, c := range []struct {
		name, field, value string
		look               func(imagesource.Image) any
		want               any
	}{
		{"public", "visibility", `"public"`, func(i imagesource.Image) any { return i.Domain }, ""},
		{"community", "visibility", `"community"`, func(i imagesource.Image) any { return i.Domain }, ""},
		{"private", "visibility", `"private"`, func(i imagesource.Image) any { return i.Domain }, "9ac9"},
		{"nobody's", "owner", "null", func(i imagesource.Image) any { return i.Domain }, "image-" + id},
		{"md5 only", "os_hash_algo", `"md5"`, func(i imagesource.Image) any { return i.Digest.IsZero() }, true},
		{"no hash", "os_hash_value", "null", func(i imagesource.Image) any { return strings.Contains(i.Revision, "updated_at=2026-11-20T13:27:00Z") }, true},
		{"no size", "size", "null", func(i imagesource.Image) any { return i.SizeBytes }, int64(-1)},
		{"no virtual size", "virtual_size", "null", func(i imagesource.Image) any { return i.VirtualBytes }, int64(0)},
		{"direct URL", "direct_url", `"rbd://a/b/c/snap"`, func(i imagesource.Image) any { return i.Location }, "rbd://a/b/c/snap"},
		{"direct URL of a file", "direct_url", `"file:///b"`, func(i imagesource.Image) any { return i.Location }, ""},
	} {
		f := newFake(t)
		f.fields[c.field] = c.value
		s, _ := f.source(t)
		i, err := s.Stat(t.Context(), id)
		if err != nil || c.look(i) != c.want {
			t.Errorf("%s: got %v, %v; want %v of %+v", c.name, c.look(i), err, c.want, i)
		}
	}
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, field, value string
		want               error
	}{
		{"queued", "status", `"queued"`, imagesource.ErrNotActive},
		{"saving", "status", `"saving"`, imagesource.ErrNotActive},
		{"deactivated", "status", `"deactivated"`, imagesource.ErrNotActive},
		{"deleted", "status", `"deleted"`, imagesource.ErrNotFound},
		{"container", "container_format", `"ova"`, imagesource.ErrRefused},
		{"another image", "id", `"x"`, imagesource.ErrUnavailable},
	} {
		f := newFake(t)
		f.fields[c.field] = c.value
		f.tokens["admin"] = true
		s, account := f.source(t)
		account.token = "admin"
		if _, err := s.Stat(t.Context(), id); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestStatusesOfStat(t *testing.T) {
	f := newFake(t)
	s, account := f.source(t)
	for _, other := range []string{"debian.qcow2", "", "../" + id, strings.ToUpper(id), id + "/file"} {
		if _, err := s.Stat(t.Context(), other); !errors.Is(err, imagesource.ErrNotFound) {
			t.Errorf("ID %q: %v, want ErrNotFound", other, err)
		}
	}
	if account.asked != 0 {
		t.Error("Glance was asked for what cannot be an ID")
	}
	if _, err := s.Stat(by(t, "expired"), id); !errors.Is(err, imagesource.ErrForbidden) || account.asked != 0 {
		t.Errorf("an expired token: %v after asking the account %d times, want ErrForbidden without", err, account.asked)
	}
	f.gone = true
	if _, err := s.Stat(by(t, "theirs"), id); !errors.Is(err, imagesource.ErrNotFound) {
		t.Errorf("deleted or foreign: %v, want ErrNotFound", err)
	}
	account.err = errors.New("Keystone is down")
	if _, err := s.Stat(t.Context(), id); !errors.Is(err, imagesource.ErrUnavailable) {
		t.Errorf("no token to be had: %v, want ErrUnavailable", err)
	}
	account.err = nil
	f.Close()
	if _, err := s.Stat(t.Context(), id); !errors.Is(err, imagesource.ErrUnavailable) {
		t.Errorf("Glance is down: %v, want ErrUnavailable", err)
	}
}

func TestAnAccountsTokenIsRenewedOnce(t *testing.T) {
	f := newFake(t)
	f.tokens = map[string]bool{"mine-2": true}
	s, account := f.source(t)
	if _, err := s.Stat(t.Context(), id); err != nil {
		t.Errorf("with a renewed token: %v", err)
	}
	f.tokens = map[string]bool{}
	account.token = "mine"
	if _, err := s.Stat(t.Context(), id); !errors.Is(err, imagesource.ErrUnavailable) {
		t.Errorf("with none that is accepted: %v, want ErrUnavailable", err)
	}
}

// read opens the image and reads all of it.
func read(ctx context.Context, t *testing.T, s *Source) ([]byte, error) {
	t.Helper()
	image, err := s.Stat(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(ctx, image)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestABrokenDownloadIsResumed(t *testing.T) {
	for _, c := range []struct {
		name     string
		noRanges bool
		want     []string
	}{
		{"ranges", false, []string{"theirs", "theirs bytes=100000-", "theirs bytes=150000-"}},
		{"no ranges", true, []string{"theirs", "theirs bytes=100000-", "theirs", "theirs"}},
	} {
		f := newFake(t)
		f.noRanges, f.breakAt = c.noRanges, []int{100000, 50000}
		if c.noRanges {
			f.breakAt[1] = 150000 // of the whole
		}
		s, _ := f.source(t)
		got, err := read(by(t, "theirs"), t, s)
		if err != nil || !bytes.Equal(got, f.data) {
			t.Errorf("%s: %d bytes, %v; want the image", c.name, len(got), err)
		}
		if !slices.Equal(f.reads, c.want) {
			t.Errorf("%s: requests %q, want %q", c.name, f.reads, c.want)
		}
	}
}

func TestTheNextTokenTakesOver(t *testing.T) {
	for _, c := range []struct {
		name string
		next imagesource.Token // that the context names once the first has died
		want string            // who reads the rest
	}{
		{"the next requester's", "next", "next bytes=1000-"},
		{"the account's, since nobody else has one", "", "mine bytes=1000-"},
		{"the account's, since there is no other", "first", "mine bytes=1000-"},
	} {
		f := newFake(t)
		f.tokens["first"], f.tokens["next"] = true, true
		f.breakAt = []int{1000}
		now := make(chan imagesource.Token, 1)
		now <- "first"
		f.between = func() {
			delete(f.tokens, "first")
			<-now
			now <- c.next
		}
		ctx := imagesource.WithTokens(t.Context(), func() imagesource.Token {
			token := <-now
			now <- token
			return token
		})
		s, _ := f.source(t)
		got, err := read(ctx, t, s)
		if err != nil || !bytes.Equal(got, f.data) {
			t.Errorf("%s: %d bytes, %v; want the image", c.name, len(got), err)
		}
		if want := []string{"first", c.want}; !slices.Equal(f.reads, want) {
			t.Errorf("%s: requests %q, want %q", c.name, f.reads, want)
		}
	}
}

// To an administrator's token Glance gives the bytes of a deactivated image; the source does not take them.
func TestWhatIsDeactivatedMeanwhileIsNotReadFurther(t *testing.T) {
	f := newFake(t)
	f.tokens["admin"] = true
	f.breakAt = []int{1000}
	f.between = func() { f.fields["status"] = `"deactivated"` }
	s, account := f.source(t)
	account.token = "admin"
	if got, err := read(t.Context(), t, s); !errors.Is(err, imagesource.ErrChanged) || len(got) != 1000 {
		t.Errorf("%d bytes, %v; want 1000 and ErrChanged", len(got), err)
	}
	if len(f.reads) != 1 {
		t.Errorf("requests for data: %q, want one", f.reads)
	}
}

func TestDownloadsThatCannotGoOn(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(f *fakeGlance)
		want  error
	}{
		{"deleted", func(f *fakeGlance) { f.gone = true }, imagesource.ErrChanged},
		{"other data", func(f *fakeGlance) { f.data[0]++ }, imagesource.ErrChanged},
		{"down for good", func(f *fakeGlance) { f.down = 100 }, imagesource.ErrTruncated},
	} {
		f := newFake(t)
		f.breakAt = []int{70000}
		f.between = func() { c.spoil(f) }
		s, _ := f.source(t)
		if got, err := read(by(t, "theirs"), t, s); !errors.Is(err, c.want) || len(got) != 70000 {
			t.Errorf("%s: %d bytes, %v; want 70000 and %v", c.name, len(got), err, c.want)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	f := newFake(t)
	s, _ := f.source(t)
	image, err := s.Stat(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		spoil func()
		want  error
	}{
		{"deactivated", func() { f.fields["status"] = `"deactivated"` }, imagesource.ErrNotActive},
		{"queued", func() { f.fields["status"] = `"queued"` }, imagesource.ErrNotActive},
		{"another size", func() { delete(f.fields, "status"); f.data = f.data[1:] }, imagesource.ErrChanged},
		{"deleted", func() { f.gone = true }, imagesource.ErrNotFound},
	} {
		c.spoil()
		if r, err := s.Open(t.Context(), image); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, r, err, c.want)
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var leaked string
	elsewhere := newFake(t)
	elsewhere.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked = r.Header.Get("X-Auth-Token") })
	f := newFake(t)
	f.Config.Handler = http.RedirectHandler(elsewhere.URL, http.StatusFound)
	s, _ := f.source(t)
	if _, err := s.Stat(by(t, "theirs"), id); !errors.Is(err, imagesource.ErrRefused) || leaked != "" {
		t.Errorf("error %v, and token %q went elsewhere", err, leaked)
	}
}

func TestErrorsShowNoToken(t *testing.T) {
	f := newFake(t)
	f.Close()
	s, _ := f.source(t)
	_, err := s.Stat(by(t, "very-secret"), id)
	if err == nil || strings.Contains(fmt.Sprintf("%+v", err), "very-secret") || !strings.Contains(err.Error(), id) {
		t.Errorf("error is %v", err)
	}
}

func TestCheckNamesTheEndpoint(t *testing.T) {
	f := newFake(t)
	s, _ := f.source(t)
	if where, err := s.Check(t.Context()); err != nil || where != f.URL+"/" {
		t.Errorf("check: %q, %v", where, err)
	}
	for _, c := range []Config{{Name: "g"}, {Account: &fakeAccount{}}, {Name: "g", Account: &fakeAccount{}, Retries: -1}, {Name: "g", Account: &fakeAccount{}, Endpoint: "http://u:p@h"}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v): no error", c)
		}
	}
}
