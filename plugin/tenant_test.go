package plugin_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// own sets who may share an image's content: "" is everybody.
func (s *gatedSource) own(id, domain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.Domain = domain
	s.images[id] = i
}

// tenantCase is one way of having tenant a's image cached, and of tenant b asking for its own image with that
// image's digest.
type tenantCase struct {
	sharedThen, sharedNow bool   // share = "all" when a's image was cached, and when b asks
	ownerThen, ownerNow   string // of a's image; "": it is public
	path                  string // hit: b asks the same backend. copy: another one with the same file cache. join: while a's is filled
	byRequest             bool   // b's digest is brought by the request, else promised by the source
	honest                bool   // b's image really has that digest
	domain                string // of b's image
	rebuilt               bool   // the catalog was lost between
}

func (c tenantCase) String() string {
	return fmt.Sprintf("%s share %t-%t owner %q-%q by_request %t honest %t of %q rebuilt %t", c.path, c.sharedThen, c.sharedNow, c.ownerThen, c.ownerNow, c.byRequest, c.honest, c.domain, c.rebuilt)
}

func tenantCases() []tenantCase {
	var all []tenantCase
	for bits := range 1 << 5 {
		bit := func(n int) bool { return bits>>n&1 == 1 }
		for _, owners := range [][2]string{{"a", "a"}, {"", ""}, {"", "a"}} {
			c := tenantCase{sharedThen: bit(0), sharedNow: bit(1), byRequest: bit(2), honest: bit(3), ownerThen: owners[0], ownerNow: owners[1], domain: "b"}
			c.path = map[bool]string{true: "hit", false: "copy"}[bit(4)]
			all = append(all, c)
			if c.sharedThen == c.sharedNow && bit(4) {
				c.path = "join"
				all = append(all, c)
				c.path, c.rebuilt = "hit", true
				all = append(all, c)
				c.rebuilt, c.domain = false, "" // b shows its image to everybody
				all = append(all, c)
			}
		}
	}
	return all
}

// tenants is two backends with one file cache, whose settings are the case's.
type tenants struct {
	*rig
	c      tenantCase
	source *gatedSource
	x, y   *capable
	secret []byte
	mine   []byte // what b's image holds
}

func newTenants(t *testing.T, c tenantCase) *tenants {
	w := &tenants{c: c, source: newGatedSource(), x: newCapable(), y: newCapable(), secret: random(64 << 10), mine: random(64 << 10)}
	if c.path == "copy" { // neither can clone
		for _, b := range []*capable{w.x, w.y} {
			b.Memory = backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{NoClone: "test"}})
		}
	}
	if c.honest {
		w.mine = w.secret
	}
	w.rig = newRig(t, t.TempDir(), lru.Bounds{}, withSource(w.source), withBackend(w.x), func(p *plugin.Config) {
		p.Backends[0].Name, p.Backends[0].ShareAll = "x", c.sharedThen
		p.Backends = append(p.Backends, plugin.BackendConfig{Name: "y", Backend: w.y, Fallback: "files", ShareAll: c.sharedThen})
	})
	w.source.put("secret", "1", w.secret)
	w.source.promise("secret", digestOf(w.secret))
	w.source.own("secret", c.ownerThen)
	w.source.put("claim", "1", w.mine)
	if !c.byRequest {
		w.source.promise("claim", digestOf(w.secret))
	}
	w.source.own("claim", c.domain)
	return w
}

// of is the backend that b asks.
func (w *tenants) of() (backends.Name, *capable) {
	if w.c.path == "copy" {
		return "y", w.y
	}
	return "x", w.x
}

// askAsB asks for b's image, which claims the digest of a's.
func (w *tenants) askAsB(t *testing.T, volume string) (plugin.Answer, error) {
	name, _ := w.of()
	ask := plugin.Request{Backend: name, Image: "gated:claim", Volume: backends.VolumeName(volume)}
	if w.c.byRequest {
		ask.Digest = digestOf(w.secret)
	}
	return w.CreateVolume(t.Context(), ask)
}

// fillAndAsk has a's image cached, changes what is to change, and asks as b.
func (w *tenants) fillAndAsk(t *testing.T) (plugin.Answer, error) {
	a := make(chan error, 1)
	fill := func() {
		_, err := w.CreateVolume(t.Context(), plugin.Request{Backend: "x", Image: "gated:secret", Volume: "a"})
		a <- err
	}
	if w.c.path == "join" {
		go fill()
		<-w.source.half // a's fill is under way
		w.source.own("secret", w.c.ownerNow)
		b := make(chan struct{})
		var answer plugin.Answer
		var err error
		go func() { answer, err = w.askAsB(t, "b"); close(b) }()
		<-w.source.half // and b's too: it joins nothing
		close(w.source.gate)
		<-b
		return answer, errors.Join(err, <-a)
	}
	close(w.source.gate)
	fill()
	if err := <-a; err != nil {
		t.Fatal(err)
	}
	w.source.own("secret", w.c.ownerNow)
	w.reopen(t, func() {
		for i := range w.config.Backends {
			w.config.Backends[i].ShareAll = w.c.sharedNow
		}
		if w.c.rebuilt {
			w.loseCatalog(t)
		}
	})
	return w.askAsB(t, "b")
}

// Whatever was cached, shared or public before, a digest that somebody claims opens nobody's image: a volume holds the
// bytes of the image that it was asked of, or is not made. What was read and found equal is found afterwards.
func TestAClaimedDigestOpensNobodysImage(t *testing.T) {
	for _, c := range tenantCases() {
		t.Run(c.String(), func(t *testing.T) {
			w := newTenants(t, c)
			_, on := w.of()
			got, err := w.fillAndAsk(t)
			if !c.honest {
				if !errors.Is(err, imagesource.ErrDigestMismatch) {
					t.Errorf("got %+v, %v, want ErrDigestMismatch", got, err)
				}
				if v, err := on.StatVolume(t.Context(), "b"); !errors.Is(err, backends.ErrNotExist) {
					t.Errorf("a volume was made: %+v, %v", v, err)
				}
				return
			}
			if err != nil || got.DownloadedBytes != int64(len(w.mine)) {
				t.Fatalf("got %+v, %v, want b's own image read", got, err)
			}
			on.wantContent(t, "b", w.mine)
			opened := w.source.opened.Load()
			again, err := w.askAsB(t, "b2")
			if err != nil || again.DownloadedBytes != 0 || w.source.opened.Load() != opened {
				t.Errorf("again: got %+v, %v, want it without a download", again, err)
			}
			on.wantContent(t, "b2", w.mine)
			w.wantOneEntryWhereShared(t)
		})
	}
}

// wantOneEntryWhereShared: equal content is one entry where the configuration of now lets it.
func (w *tenants) wantOneEntryWhereShared(t *testing.T) {
	t.Helper()
	want := 2
	if w.c.sharedNow || w.c.ownerThen == "" {
		want = 1
	}
	if w.c.path == "join" && w.c.ownerThen == "" && !w.c.sharedNow {
		return // whichever was ready first may be b's own, which a's cannot share
	}
	w.wantEntries(t, want)
	a, err := w.CreateVolume(t.Context(), plugin.Request{Backend: "x", Image: "gated:secret", Volume: "a2"})
	if err != nil || a.DownloadedBytes != 0 {
		t.Errorf("a's own image: got %+v, %v, want it without a download", a, err)
	}
}

// A direct clone is of the image that the source has authorised: neither a digest nor a location that its owner may
// set opens another one of the cluster.
func TestADirectCloneIsOfTheImageItself(t *testing.T) {
	const own, secret = "rbd://fsid/images/claim/snap", "rbd://fsid/images/secret/snap"
	for _, c := range []struct {
		location string
		err      error // of downloading it, which shows that the digest is a lie
	}{
		{own, nil}, {secret, imagesource.ErrDigestMismatch}, {"rbd://fsid/volumes/claim/backup", imagesource.ErrDigestMismatch},
		{"rbd://fsid/volumes/volume-1/claim", imagesource.ErrDigestMismatch}, {"rbd://fsid/claim/secret/snap", imagesource.ErrDigestMismatch},
	} {
		t.Run(c.location, func(t *testing.T) {
			w := newTenants(t, tenantCase{path: "hit", ownerThen: "a", ownerNow: "a", domain: "b"})
			close(w.source.gate)
			w.source.locate("claim", c.location)
			w.x.images[c.location] = w.secret
			w.x.images[own] = w.mine
			if _, err := w.CreateVolume(t.Context(), plugin.Request{Backend: "x", Image: "gated:secret", Volume: "a"}); err != nil {
				t.Fatal(err)
			}
			got, err := w.askAsB(t, "b")
			if !errors.Is(err, c.err) || err == nil && got.Outcome != plugin.Direct {
				t.Fatalf("got %+v, %v, want a direct clone, or %v", got, err, c.err)
			}
			if err == nil {
				w.x.wantContent(t, "b", w.mine)
			}
		})
	}
}

// A volume that another request has made is not somebody else's for the digest that their image claims.
func TestAClaimedDigestFindsNobodysVolume(t *testing.T) {
	w := newTenants(t, tenantCase{path: "hit", ownerThen: "a", ownerNow: "a", domain: "b"})
	close(w.source.gate)
	if _, err := w.CreateVolume(t.Context(), plugin.Request{Backend: "x", Image: "gated:secret", Volume: "a"}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.askAsB(t, "a"); !errors.Is(err, plugin.ErrConflict) {
		t.Errorf("got %+v, %v, want ErrConflict", got, err)
	}
}
