package plugin_test

import (
	"errors"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// A store that is new in a configuration which is refused stays nobody's; one that was this installation's stays so.
func TestARefusedConfigurationMarksNoStore(t *testing.T) {
	theirs := backends.Holder{Catalog: "11111111-1111-1111-1111-111111111111", Host: "elsewhere"}
	for name, refuse := range map[string]func(*rig, ...plugin.BackendConfig) error{
		"reload": func(r *rig, more ...plugin.BackendConfig) error {
			return r.Controls().SetLimits(plugin.Limits{Backends: more})
		},
		"start": func(r *rig, more ...plugin.BackendConfig) error {
			if err := r.Close(t.Context()); err != nil {
				return err
			}
			config := r.config
			config.Backends = append(config.Backends[:1:1], more...)
			p, err := plugin.Open(t.Context(), config)
			if err == nil {
				err = p.Close(t.Context())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			own, fresh, held := memory(), memory(), memory()
			r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(own))
			if err := held.HoldFor(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			if err := refuse(r, plugin.BackendConfig{Name: "fresh", Backend: fresh}, plugin.BackendConfig{Name: "held", Backend: held}); !errors.Is(err, backends.ErrHeld) {
				t.Errorf("got %v, want it refused", err)
			}
			if err := fresh.HoldFor(t.Context(), theirs); err != nil {
				t.Errorf("the new store is marked: %v", err)
			}
			if err := own.HoldFor(t.Context(), theirs); !errors.Is(err, backends.ErrHeld) {
				t.Errorf("the store that was there is not this installation's any more: %v", err)
			}
			if err := held.HoldFor(t.Context(), theirs); err != nil {
				t.Errorf("the other installation's store: %v", err)
			}
		})
	}
}
