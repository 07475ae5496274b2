package ownertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/clonecache/clonecache/internaltenant"
)

func concurrentClaims(ctx context.Context, fresh New) error {
	const callers, fit = 32, 7
	s, err := open(ctx, fresh, Limits{Volumes: 20, Gigabytes: 3*fit + 2})
	if err != nil {
		return err
	}
	errs := atOnce(callers, func(i int) error {
		_, err := s.Claim(ctx, spec(i, 3))
		return err
	})
	made := 0
	for _, err := range errs {
		switch {
		case err == nil:
			made++
		case !errors.Is(err, internaltenant.ErrOverQuota):
			return fmt.Errorf("concurrent claim: %w", err)
		}
	}
	if made != fit {
		return fmt.Errorf("%d of %d concurrent claims succeeded, want %d", made, callers, fit)
	}
	return s.wantUsage(ctx, figures{0, fit, 0, 3 * fit})
}

func concurrentRepeats(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{Volumes: 1})
	if err != nil {
		return err
	}
	errs := atOnce(16, func(int) error {
		_, err := s.Claim(ctx, spec(1, 3))
		return err
	})
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("concurrent repeats of one claim: %w", err)
	}
	return s.wantUsage(ctx, figures{0, 1, 0, 3})
}

// atOnce runs n calls that start together, and returns their errors.
func atOnce(n int, call func(i int) error) []error {
	errs, start := make([]error, n), make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func cancelled(ctx context.Context, fresh New) error {
	s, err := open(ctx, fresh, Limits{})
	if err != nil {
		return err
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	want := figures{0, 1, 0, 2}
	if _, err := s.Claim(gone, spec(1, 2)); err != nil {
		want = figures{}
	}
	return s.wantUsage(ctx, want)
}
