package daemon

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// shy is a toy that opens, as a pool does whose mons are away, and answers once it is mended.
type shy struct {
	toy
	opened **backendtest.Faulty
}

func (b *shy) Open(ctx context.Context, name backends.Name, host kinds.Host) (backends.Backend, error) {
	memory, err := b.toy.Open(ctx, name, host)
	faulty := backendtest.NewFaulty(memory)
	faulty.FailBefore(backendtest.MethodIdentify, backendtest.Every, fmt.Errorf("%w: no mon answers", backends.ErrUnavailable))
	*b.opened = faulty
	return faulty, err
}

// A backend that comes is told of where it does not answer, also if it could be opened: who reloads would not know otherwise.
func TestAReloadTellsWhatHasComeAndDoesNotAnswer(t *testing.T) {
	var quiet *backendtest.Faulty
	registry := kinds.All()
	registry.Backends["toy"] = kinds.Kind[kinds.Backend]{New: func() kinds.Backend { return &toy{Colour: "red"} }}
	registry.Backends["shy"] = kinds.Kind[kinds.Backend]{New: func() kinds.Backend { return &shy{toy: toy{Colour: "red"}, opened: &quiet} }}
	cfg, dir := parseWith(t, registry, withToy)
	writeImage(t, dir)
	d := runWith(t, cfg, Options{Reload: func() (config.Config, error) {
		return registry.Parse([]byte(withToy+"[[backend]]\nname = \"quiet\"\nkind = \"shy\"\n[[backend]]\nname = \"more\"\nkind = \"toy\"\n"), dir+"/c.toml")
	}})
	got, err := d.Reload(t.Context())
	if err != nil || len(got.Changed) != 2 {
		t.Fatalf("got %+v, %v, want two backends in effect", got, err)
	}
	quietAlone := func(got api.Reloaded) {
		t.Helper()
		if len(got.NotOpen) != 1 || got.NotOpen[0].Name != "quiet" || !strings.Contains(got.NotOpen[0].Reason, "no mon answers") {
			t.Errorf("not open: got %+v, want quiet alone, with the reason", got.NotOpen)
		}
	}
	quietAlone(got)
	again, err := d.Reload(t.Context())
	if err != nil || len(again.Changed) != 0 {
		t.Errorf("nothing has come since: got %+v, %v", again, err)
	}
	quietAlone(again) // it does not answer still
	create := func(volume backends.VolumeName) plugin.Outcome {
		t.Helper()
		a, err := d.CreateVolume(t.Context(), api.CreateRequest{Backend: "quiet", Image: "library:a.raw", Volume: volume}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a.Outcome
	}
	if got := create("v1"); got != plugin.Bypassed {
		t.Errorf("while it is silent: got %v", got)
	}
	quiet.Mend()
	if got := create("v2"); got != plugin.Filled {
		t.Errorf("once it answers: got %v", got)
	}
	if again, err := d.Reload(t.Context()); err != nil || len(again.NotOpen) != 0 {
		t.Errorf("once it answers: got %+v, %v", again, err)
	}
}
