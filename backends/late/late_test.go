package late_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/late"
)

var errNotMounted = errors.New("its filesystem is not mounted")

// atOnce is an After that does not wait.
func atOnce(time.Duration) <-chan time.Time {
	now := make(chan time.Time, 1)
	now <- time.Time{}
	return now
}

// Once it is open it keeps the contract of what it opened.
func TestItKeepsTheContractOnceItIsOpen(t *testing.T) {
	backendtest.Run(t, func(testing.TB) backends.Backend {
		opened := make(chan struct{})
		b := late.NewBackend(late.Config[backends.Backend]{
			Why: errNotMounted, After: atOnce,
			Open: func(context.Context) (backends.Backend, error) {
				return backendtest.NewMemory(backendtest.MemoryConfig{}), nil
			},
			Opened: func(backends.Backend) { close(opened) },
		})
		<-opened
		return b
	})
}

// It tries again with longer and longer pauses, says why it is down, and reports each new reason once.
func TestItTriesUntilItIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var tried []time.Duration
		reasons := []error{errNotMounted, errNotMounted, errors.New("permission denied"), errors.New("permission denied")}
		memory := backendtest.NewMemory(backendtest.MemoryConfig{})
		var told []string
		b := late.NewBackend(late.Config[backends.Backend]{
			Why: errNotMounted, Info: backends.Info{Kind: "file", CanClone: true},
			Open: func(context.Context) (backends.Backend, error) {
				n := len(tried)
				tried = append(tried, time.Since(begun))
				if n < len(reasons) {
					return nil, reasons[n]
				}
				return memory, nil
			},
			Failed: func(err error) { told = append(told, err.Error()) },
		})
		defer b.Close()
		if _, ok := backends.Capability[backends.ImageVolumeReader](b); ok {
			t.Error("it can read what it has not opened")
		}
		if got := b.Info(); got.Kind != "file" || !got.CanClone {
			t.Errorf("before: got %+v", got)
		}
		time.Sleep(20 * time.Second)
		if err := b.Down(); !errors.Is(err, backends.ErrUnavailable) || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("got %v, want the last reason", err)
		}
		time.Sleep(20 * time.Second)
		if err := b.Down(); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if got := b.Info().Kind; got != "memory" {
			t.Errorf("afterwards: got kind %q", got)
		}
		if opened, ok := b.Opened(); !ok || opened != backends.Store(memory) {
			t.Errorf("got %v, %v", opened, ok)
		}
		want := []time.Duration{1 * time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second}
		if len(tried) != len(want) {
			t.Fatalf("tried after %v, want %v", tried, want)
		}
		for i := range want {
			if tried[i] != want[i] {
				t.Errorf("attempt %d: after %v, want %v", i+1, tried[i], want[i])
			}
		}
		if len(told) != 1 || told[0] != "permission denied" {
			t.Errorf("got %q, want one new reason", told)
		}
	})
}

// What is not open answers each call so, and no call of the contract is left out. The cause is told and not
// matched: "in use" of an open is not what became of a deletion.
func TestEveryCallSaysThatItIsNotOpen(t *testing.T) {
	never := func(time.Duration) <-chan time.Time { return nil }
	b := late.NewBackend(late.Config[backends.Backend]{Why: backends.ErrInUse, After: never,
		Open: func(context.Context) (backends.Backend, error) { return nil, backends.ErrInUse }})
	defer b.Close()
	c := late.NewFileCache(late.Config[late.ImageOpener]{Why: os.ErrPermission, After: never,
		Open: func(context.Context) (late.ImageOpener, error) { return nil, os.ErrPermission }})
	defer c.Close()
	ctx := t.Context()
	errs := map[string]error{"Down": b.Down()}
	_, errs["Stage"] = b.Stage(ctx, backends.StageSpec{})
	_, errs["Retire"] = b.Retire(ctx, "e-1")
	_, errs["Reap"] = b.Reap(ctx)
	_, errs["Capacity"] = b.Capacity(ctx)
	_, errs["Clone"] = b.Clone(ctx, "e-1", backends.VolumeSpec{})
	_, errs["CreateVolume"] = b.CreateVolume(ctx, backends.VolumeSpec{})
	_, errs["StatVolume"] = b.StatVolume(ctx, "v")
	errs["DeleteVolume"] = b.DeleteVolume(ctx, backends.VolumeRef{Name: "v"})
	_, errs["Settle"] = b.Settle(ctx, backends.VolumeSpec{})
	for _, err := range b.ListImageVolumes(ctx) {
		errs["ListImageVolumes"] = err
	}
	for _, err := range b.ListVolumes(ctx) {
		errs["ListVolumes"] = err
	}
	_, _, errs["OpenImage"] = c.OpenImage(ctx, "e-1")
	if len(errs) != 13 {
		t.Errorf("%d calls answered, want 13", len(errs))
	}
	for call, err := range errs {
		if !errors.Is(err, backends.ErrUnavailable) || errors.Is(err, backends.ErrInUse) {
			t.Errorf("%s: got %v, want %v alone", call, err, backends.ErrUnavailable)
		}
	}
}
