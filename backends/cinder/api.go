package cinder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"

	"github.com/clonecache/clonecache/backends"
)

// Cinder's states that matter here; those that begin with "error" all mean that something failed.
const (
	statusCreating    = "creating"
	statusDownloading = "downloading"
	statusAvailable   = "available"
	statusDeleting    = "deleting"
	statusInUse       = "in-use"
	statusOffered     = "awaiting-transfer"
)

// call is Cinder for one call.
func (b *Backend) call(ctx context.Context) (*gophercloud.ServiceClient, error) {
	api, err := b.c.Account.Cinder(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	}
	return api, nil
}

// get looks at a volume of the project. ErrNotExist, also of one that another project has taken over: an account that
// administers the cloud sees it all the same, and could delete it.
func (b *Backend) get(ctx context.Context, id string) (volume, error) {
	project, err := b.c.Account.Project(ctx)
	if err != nil {
		return volume{}, fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	}
	api, err := b.call(ctx)
	if err != nil {
		return volume{}, err
	}
	api.Microversion = showsTypeID
	var v volume
	if err := volumes.Get(ctx, api, id).ExtractInto(&v); err != nil {
		return volume{}, explain(ctx, "look at volume "+id, err)
	}
	if v.TenantID != "" && v.TenantID != project {
		return volume{}, fmt.Errorf("look at volume %s: %w: it is project %s's", id, backends.ErrNotExist, v.TenantID)
	}
	return v, nil
}

// list reads the volumes of the project with that metadata, page by page.
func (b *Backend) list(ctx context.Context, metadata map[string]string) ([]volume, error) {
	api, err := b.call(ctx)
	if err != nil {
		return nil, err
	}
	api.Microversion = showsTypeID
	pages, err := volumes.List(api, withMetadata(metadata)).AllPages(ctx)
	if err != nil {
		return nil, explain(ctx, "list volumes", err)
	}
	var found []volume
	if err := volumes.ExtractVolumesInto(pages, &found); err != nil {
		return nil, explain(ctx, "list volumes", err)
	}
	return found, nil
}

// note writes metadata of a volume; what it has besides stays.
func (b *Backend) note(ctx context.Context, id string, metadata map[string]string) error {
	api, err := b.call(ctx)
	if err != nil {
		return err
	}
	return finish(ctx, "note what volume "+id+" is", func() (*http.Response, error) {
		return api.Post(ctx, api.ServiceURL("volumes", id, "metadata"), map[string]any{"metadata": metadata}, nil, accept(http.StatusOK))
	})
}

// unnote removes one key of a volume's metadata; it is no error if it is not there.
func (b *Backend) unnote(ctx context.Context, id, key string) error {
	api, err := b.call(ctx)
	if err != nil {
		return err
	}
	err = finish(ctx, "forget what volume "+id+" is", func() (*http.Response, error) {
		return api.Delete(ctx, api.ServiceURL("volumes", id, "metadata", key), accept(http.StatusOK, http.StatusNoContent))
	})
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

func accept(codes ...int) *gophercloud.RequestOpts { return &gophercloud.RequestOpts{OkCodes: codes} }

func finish(ctx context.Context, what string, call func() (*http.Response, error)) error {
	response, err := call()
	if err != nil {
		return explain(ctx, what, err)
	}
	return response.Body.Close()
}

// remove has Cinder delete a volume, and waits until it is gone. ErrInUse: the driver does not delete it, as long as
// clones depend on it. ErrUnavailable: it takes too long.
func (b *Backend) remove(ctx context.Context, id string) error {
	return b.removeAfter(ctx, id, func() error { return b.withdrawAny(ctx, id) })
}

// removeAfter is remove; offered is what is done where the volume turns out to be offered, and its error ends it.
func (b *Backend) removeAfter(ctx context.Context, id string, offered func() error) error {
	asked := false
	return b.watch(ctx, id, b.c.Patience, func(v volume, err error) (bool, error) {
		switch {
		case errors.Is(err, backends.ErrNotExist):
			return true, nil
		case err != nil:
			return true, err
		case v.Status == statusCreating, v.Status == statusDownloading, v.Status == statusDeleting:
			return false, nil
		case v.Status == statusOffered:
			return false, offered()
		case asked:
			return true, fmt.Errorf("%w: Cinder has not deleted volume %s (status %s): clones may depend on it", backends.ErrInUse, id, v.Status)
		}
		asked = true
		return false, b.delete(ctx, id)
	})
}

func (b *Backend) delete(ctx context.Context, id string) error {
	api, err := b.call(ctx)
	if err != nil {
		return err
	}
	err = volumes.Delete(ctx, api, id, nil).ExtractErr()
	if err = explain(ctx, "delete volume "+id, err); errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

// await waits until a volume is made, and returns it. filled is told of nothing but the end: Cinder does not say how far it
// is. ErrNotExist, ErrUnavailable.
func (b *Backend) await(ctx context.Context, id string, patience time.Duration) (volume, error) {
	var made volume
	err := b.watch(ctx, id, patience, func(v volume, err error) (bool, error) {
		made = v
		switch {
		case err != nil:
			return true, err
		case v.Status == statusCreating, v.Status == statusDownloading:
			return false, nil
		case strings.HasPrefix(v.Status, "error"):
			return true, fmt.Errorf("%w: Cinder could not make volume %s (status %s): see `openstack volume message list`, and the logs of cinder-scheduler and cinder-volume", backends.ErrUnavailable, id, v.Status)
		}
		return true, nil
	})
	return made, err
}

// watch looks at a volume again and again, until look says that it is enough. ErrUnavailable: patience is at its end.
func (b *Backend) watch(ctx context.Context, id string, patience time.Duration, look func(volume, error) (enough bool, err error)) error {
	until := b.c.Now().Add(patience)
	for {
		v, err := b.get(ctx, id)
		enough, err := look(v, err)
		if enough || err != nil {
			return err
		}
		if b.c.Now().After(until) {
			return fmt.Errorf("%w: volume %s is %s for longer than %v", backends.ErrUnavailable, id, v.Status, patience)
		}
		timer := time.NewTimer(b.c.Pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// explain says what an error of Cinder's client means. ErrNotExist, ErrNoSpace (a quota), ErrUnavailable; ctx's own.
func explain(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	var status gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &status) {
		switch late := errors.Is(err, context.DeadlineExceeded); {
		case errors.Is(err, context.Canceled), late && ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, err)
		case late: // by net/http's own patience: the caller has time
			return fmt.Errorf("%s: %w: %v", what, backends.ErrUnavailable, err)
		}
		return fmt.Errorf("%s: %w: %w", what, backends.ErrUnavailable, err)
	}
	said := message(status)
	switch status.Actual {
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w: Cinder: %s", what, backends.ErrNotExist, said)
	case http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%s: %w: Cinder: %s", what, backends.ErrNoSpace, said)
	default:
		return fmt.Errorf("%s: %w: Cinder answers %d: %s", what, backends.ErrUnavailable, status.Actual, said)
	}
}

// message is the sentence in Cinder's answer, such as {"badRequest": {"message": "..."}}.
func message(r gophercloud.ErrUnexpectedResponseCode) string {
	var body map[string]struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(r.Body, &body) == nil {
		for _, fault := range body {
			if fault.Message != "" {
				return fault.Message
			}
		}
	}
	return http.StatusText(r.Actual)
}
