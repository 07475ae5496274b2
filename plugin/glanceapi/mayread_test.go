package glanceapi_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/glance"
)

// ask makes a volume by somebody's right.
func (f *front) ask(t *testing.T, who, volume string) (plugin.Answer, error) {
	return f.cache.CreateVolume(t.Context(), plugin.Request{
		Backend: "local", Image: "glance:" + plainImage, Volume: backends.VolumeName(volume), Token: imagesource.Token(who),
	})
}

// Who may see an image and not download it gets a volume by whichever way its bytes are here; with RequireDownload by none.
func TestWhoMaySeeAndNotDownload(t *testing.T) {
	ways := map[string]struct {
		here    bool
		prepare func(t *testing.T, f *front)
	}{
		"not here":   {false, func(*testing.T, *front) {}},
		"downloaded": {true, func(t *testing.T, f *front) { f.keep(t, "demo", plainImage) }},
		"cached": {true, func(t *testing.T, f *front) {
			_, err := f.ask(t, "demo", "first")
			must(t, err)
		}},
	}
	for _, require := range []bool{false, true} {
		for way, c := range ways {
			t.Run(fmt.Sprintf("%s, required %t", way, require), func(t *testing.T) {
				f := newFront(t, keeping, requiring(require))
				c.prepare(t, f)
				_, err := f.ask(t, "reader", "second")
				wantMay(t, err, c.here && !require)
			})
		}
		t.Run(fmt.Sprintf("being filled, required %t", require), func(t *testing.T) {
			f := newFront(t, keeping, requiring(require))
			gate := make(chan struct{})
			f.glance.set(func() { f.glance.gates[plainImage] = gate })
			first := f.askMeanwhile(t, "demo", "first")
			until(t, "the fill reads", func() bool { return f.glance.downloads() == 1 })
			second := f.askMeanwhile(t, "reader", "second")
			if !require {
				until(t, "the reader waits too", func() bool { all := f.cache.Fills(); return len(all) == 1 && all[0].Waiters == 2 })
				close(gate)
			}
			wantMay(t, <-second, !require)
			if require {
				close(gate)
			}
			must(t, <-first)
		})
	}
}

// askMeanwhile is ask in the background.
func (f *front) askMeanwhile(t *testing.T, who, volume string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := f.ask(t, who, volume)
		done <- err
	}()
	return done
}

func wantMay(t *testing.T, err error, may bool) {
	t.Helper()
	if may && err != nil || !may && !errors.Is(err, imagesource.ErrForbidden) {
		t.Errorf("got %v; may have it: %t", err, may)
	}
}

// A store without ranges says that it has none to who may download, and only to them.
func TestAStoreWithoutRangesIsAskedToo(t *testing.T) {
	f := newFront(t, requiring(true))
	f.glance.noRanges = true
	_, err := f.ask(t, "demo", "first")
	wantMay(t, err, true)
	_, err = f.ask(t, "reader", "second")
	wantMay(t, err, false)
}

// requiring sets what the source asks of requesters.
func requiring(download bool) func(*glanceapi.Config, *plugin.Config) {
	return func(api *glanceapi.Config, c *plugin.Config) {
		account := api.Glance.(*fakeGlance)
		source, err := glance.New(glance.Config{Name: "glance", Account: account, Backoff: time.Millisecond, RequireDownload: download})
		if err != nil {
			panic(err)
		}
		c.Sources = []imagesource.Source{source}
	}
}
