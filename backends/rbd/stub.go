//go:build !ceph

package rbd

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
)

// Missing says why this build cannot open RBD; "" where it can.
const Missing = "this build has no RBD: install the package clonecache-ceph in place of clonecache, or run `make build` on a machine with librbd-dev and librados-dev"

// Open says how to get a build that has RBD.
func Open(_ context.Context, c Config) (backends.Backend, error) {
	return nil, fmt.Errorf("open rbd backend %s: %w", c.Name, errors.New(Missing))
}

// Check says how to get a build that has RBD.
func Check(_ context.Context, _ Config) (string, error) { return "", errors.New(Missing) }

// Look says how to get a build that has RBD.
func Look(_ context.Context, _ Config) (backends.Belongs, error) {
	return backends.Belongs{}, errors.New(Missing)
}
