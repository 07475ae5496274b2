package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
)

// surveyStrays looks on every backend that can do so for what carries our mark and no listing names. It
// takes a look at each volume.
func (v *surveyor) surveyStrays(ctx context.Context) ([]finding, error) {
	var findings []finding
	for _, s := range v.stock.orderedStores() {
		lister, ok := backends.Capability[backends.DeepLister](s.images)
		if !ok {
			continue
		}
		for stray, err := range lister.ListStrays(ctx) {
			switch {
			case err == nil:
				findings = append(findings, v.stray(s, lister, stray))
			case stray.Place == "":
				findings = append(findings, unavailable(s, err))
			default:
				findings = append(findings, finding{Problem: Problem{
					Kind: "unreadable", Backend: s.name, ID: stray.Place, Detail: err.Error(),
					Remedy: "look at it with the backend's own tools",
				}})
			}
		}
	}
	return findings, ctx.Err()
}

// stray is a finding of one. What is put back into the listing, and no row names, is dealt with at once as
// a survey would: taken into the catalog, or removed.
func (v *surveyor) stray(s *store, lister backends.DeepLister, stray backends.Stray) finding {
	f := finding{Problem: Problem{
		Kind: "stray-image-volume", Backend: s.name, ID: stray.Place, Detail: stray.Detail, Remedy: stray.Remedy,
	}}
	if stray.Volume != "" {
		f.Kind = "stray-volume"
	}
	if !stray.Recoverable {
		return f
	}
	f.fix = func(ctx context.Context) error {
		err := lister.Recover(ctx, stray)
		if errors.Is(err, backends.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("recover %s: %w", stray.Place, err)
		}
		v.log.WithFields(map[string]any{"backend": s.name, "id": stray.Place, "image_volume": stray.ImageVolume}).Info("stray recovered")
		return v.surveyRecovered(ctx, s, stray.ImageVolume)
	}
	return f
}

// surveyRecovered does with an image-volume that is listed again what its store's survey says of it.
func (v *surveyor) surveyRecovered(ctx context.Context, s *store, id backends.ImageVolumeID) error {
	if id == "" {
		return nil
	}
	findings, err := v.surveyStore(ctx, s, new(comparedClaims))
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.ID == string(id) && f.fix != nil {
			return f.fix(ctx)
		}
	}
	return nil
}
