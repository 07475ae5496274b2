package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/words"
)

// What an image-volume's metadata in Cinder says of it.
const (
	metaEntry   = "clonecache_entry_id"
	metaAttempt = "clonecache_attempt"
	metaBackend = "clonecache_backend"
	metaImage   = "clonecache_image"
	metaState   = "clonecache_state"
	metaCatalog = "clonecache_catalog" // whose it is; older versions did not write it

	metaGeneration = "clonecache_generation" // "2" for the second volume of an image-volume
	metaContent    = "clonecache_content"    // contentImage where Cinder fills it

	contentImage = "image"

	stateReserved = "reserved" // being filled
	stateInUse    = "in-use"   // an image-volume
)

// Cinder's states that matter here.
const (
	statusCreating    = "creating"
	statusDownloading = "downloading" // being filled with an image
	statusAvailable   = "available"
	statusAttaching   = "attaching" // what os-reserve makes of available
	statusReserved    = "reserved"
	statusDeleting    = "deleting"
	statusError       = "error"
)

// errNoVolume: Cinder has no such volume. It never leaves the package.
var errNoVolume = errors.New("no such volume")

// cinder is the part of Cinder's API that an ordinary member of the project may use.
type cinder struct {
	api           *gophercloud.ServiceClient
	project, user string
	catalog       string // whose volumes ours are
}

// volume is Cinder's description of one volume.
type volume struct {
	volumes.Volume
	project, user string
}

// claimed tells whether some installation of clonecache had it made.
func (v volume) claimed() bool { return v.Metadata[metaEntry] != "" }

// ours tells whether this installation had the volume made. Volumes of an older version count too: they bear no
// installation's ID.
func (c *cinder) ours(v volume) bool {
	whose := v.Metadata[metaCatalog]
	return v.claimed() && (whose == "" || whose == c.catalog)
}

func (v volume) claim() internaltenant.Claim {
	attempt, _ := strconv.Atoi(v.Metadata[metaAttempt])
	generation, _ := strconv.Atoi(v.Metadata[metaGeneration])
	return internaltenant.Claim{
		Generation: generation,
		ID:         internaltenant.ClaimID(v.ID), ProjectID: v.project, UserID: v.user, Gigabytes: int64(v.Size),
		EntryID: words.EntryID(v.Metadata[metaEntry]), Attempt: attempt, InUse: v.Metadata[metaState] == stateInUse,
		Backend: v.Metadata[metaBackend], Unsure: v.Metadata[metaCatalog] == "",
		Volume: "volume-" + v.ID,
	}
}

func (c *cinder) volume(v volumes.Volume) volume { return volume{v, c.project, c.user} }

// isVolumeID tells Cinder's IDs from others.
func isVolumeID(id internaltenant.ClaimID) bool {
	u, err := uuid.Parse(string(id))
	return err == nil && u.String() == string(id)
}

// create makes Cinder begin to make a volume, which charges the quota at once.
func (c *cinder) create(ctx context.Context, spec internaltenant.ClaimSpec, of Backend) (volume, error) {
	_, image, qualified := strings.Cut(spec.ImageID, ":")
	if !qualified {
		image = spec.ImageID
	}
	opts := volumes.CreateOpts{
		Size: int(internaltenant.Gigabytes(spec.VirtualBytes)), VolumeType: of.VolumeType,
		Name: cut("image-"+image, maxText), Description: "image-volume of clonecache; do not change",
		Metadata: map[string]string{
			metaEntry: string(spec.EntryID), metaAttempt: strconv.Itoa(spec.Attempt), metaBackend: spec.Backend,
			metaImage: cut(spec.ImageID, maxText), metaState: stateReserved, metaCatalog: c.catalog,
		},
	}
	if spec.Generation > 1 {
		opts.Metadata[metaGeneration] = strconv.Itoa(spec.Generation)
	}
	if of.Content == OfImage {
		opts.ImageID, opts.Metadata[metaContent] = image, contentImage
	}
	made, err := volumes.Create(ctx, c.api, opts, nil).Extract()
	if err != nil {
		return volume{}, explain("create a volume", err)
	}
	return c.volume(*made), nil
}

// maxText is the length that Cinder allows a name and a value of metadata, in characters.
const maxText = 255

func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most])
	}
	return text
}

func (c *cinder) get(ctx context.Context, id string) (volume, error) {
	v, err := volumes.Get(ctx, c.api, id).Extract()
	if err != nil {
		return volume{}, explain("look at volume "+id, err)
	}
	return c.volume(*v), nil
}

// find looks up the volume of a claim of ours. errNoVolume.
func (c *cinder) find(ctx context.Context, spec internaltenant.ClaimSpec) (volume, error) {
	return c.search(ctx, spec, c.ours)
}

// findAny looks up the volume of a claim, whichever installation made it. errNoVolume.
func (c *cinder) findAny(ctx context.Context, spec internaltenant.ClaimSpec) (volume, error) {
	return c.search(ctx, spec, volume.claimed)
}

func (c *cinder) search(ctx context.Context, spec internaltenant.ClaimSpec, wanted func(volume) bool) (volume, error) {
	found, err := c.list(ctx, map[string]string{metaEntry: string(spec.EntryID), metaAttempt: strconv.Itoa(spec.Attempt)})
	if err != nil {
		return volume{}, err
	}
	for _, v := range found {
		same := v.Metadata[metaEntry] == string(spec.EntryID) && v.Metadata[metaAttempt] == strconv.Itoa(spec.Attempt) &&
			max(v.claim().Generation, 1) == max(spec.Generation, 1)
		if same && wanted(v) && v.Status != statusDeleting {
			return v, nil
		}
	}
	return volume{}, fmt.Errorf("of entry %s: %w", spec.EntryID, errNoVolume)
}

// list reads all volumes of the project, page by page, or those with that metadata.
func (c *cinder) list(ctx context.Context, metadata map[string]string) ([]volume, error) {
	const page = 500 // Cinder may be set to give less
	pages, err := volumes.List(c.api, volumes.ListOpts{Metadata: metadata, Limit: page}).AllPages(ctx)
	if err != nil {
		return nil, explain("list volumes", err)
	}
	found, err := volumes.ExtractVolumes(pages)
	if err != nil {
		return nil, explain("list volumes", err)
	}
	all := make([]volume, len(found))
	for i, v := range found {
		all[i] = c.volume(v)
	}
	return all, nil
}

// await waits until a volume is made. ErrUnavailable: Cinder could not make it, or takes too long. The
// volume is returned with the error.
func (c *cinder) await(ctx context.Context, v volume, patience time.Duration) (volume, error) {
	waits := newWaits(patience)
	for v.Status == statusCreating {
		if err := waits.pause(ctx); err != nil {
			return v, fmt.Errorf("volume %s is not made: %w", v.ID, err)
		}
		now, err := c.get(ctx, v.ID)
		if err != nil {
			return v, err
		}
		v = now
	}
	if strings.HasPrefix(v.Status, statusError) {
		return v, fmt.Errorf("%w: Cinder could not make volume %s (status %s): see `openstack volume message list` and the log of cinder-scheduler; is volume type %s right, and is there room?",
			internaltenant.ErrUnavailable, v.ID, v.Status, v.VolumeType)
	}
	return v, nil
}

// settle makes the volume read-only and reserved, and notes that it is in use, in this order, so that what
// is noted is done. errNoVolume.
func (c *cinder) settle(ctx context.Context, id string) error {
	v, err := c.get(ctx, id)
	if err != nil {
		return err
	}
	if !c.ours(v) || v.Status == statusDeleting {
		return errNoVolume
	}
	if v.Status == statusAvailable {
		if err := c.protect(ctx, v); err != nil {
			return err
		}
	}
	if v.Metadata[metaState] == stateInUse {
		return nil
	}
	return c.note(ctx, id, metaState, stateInUse)
}

// note writes one value of a volume's metadata; the others stay.
func (c *cinder) note(ctx context.Context, id, key, value string) error {
	body := map[string]any{"metadata": map[string]string{key: value}}
	return c.post(ctx, fmt.Sprintf("note %s %s at volume %s", key, value, id), body, http.StatusOK, "volumes", id, "metadata")
}

// protect needs a volume that is available: reserving it comes last. One that Cinder has filled is only read-only: Cinder
// would not copy from one that is reserved.
func (c *cinder) protect(ctx context.Context, v volume) error {
	id := v.ID
	body := map[string]any{"os-update_readonly_flag": map[string]bool{"readonly": true}}
	if err := c.post(ctx, "make volume "+id+" read-only", body, http.StatusAccepted, "volumes", id, "action"); err != nil {
		return err
	}
	if v.Metadata[metaContent] == contentImage {
		return nil
	}
	if err := volumes.Reserve(ctx, c.api, id).ExtractErr(); err != nil {
		return explain("reserve volume "+id, err)
	}
	return nil
}

func (c *cinder) post(ctx context.Context, what string, body any, ok int, path ...string) error {
	response, err := c.api.Post(ctx, c.api.ServiceURL(path...), body, nil, &gophercloud.RequestOpts{OkCodes: []int{ok}})
	if err != nil {
		return explain(what, err)
	}
	return response.Body.Close()
}

// remove takes the protection away and makes Cinder delete the volume, and waits until it is gone. A volume
// that is not there, or not ours, is left alone.
func (c *cinder) remove(ctx context.Context, id string, patience time.Duration) error {
	waits := newWaits(patience)
	for {
		v, err := c.get(ctx, id)
		switch {
		case errors.Is(err, errNoVolume):
			return nil
		case err != nil:
			return err
		case !c.ours(v):
			return nil
		}
		if err := c.removeStep(ctx, v); err != nil && !errors.Is(err, errNoVolume) && !c.moved(ctx, v) {
			return err
		}
		if err := waits.pause(ctx); err != nil {
			return fmt.Errorf("volume %s is not removed (status %s): %w", id, v.Status, err)
		}
	}
}

// moved tells whether a volume is in another state by now than when it was looked at: somebody else is removing it, and Cinder
// refuses to begin that twice.
func (c *cinder) moved(ctx context.Context, was volume) bool {
	now, err := c.get(ctx, was.ID)
	return errors.Is(err, errNoVolume) || err == nil && now.Status != was.Status
}

// removeStep does what brings a volume in this state nearer to its end.
func (c *cinder) removeStep(ctx context.Context, v volume) error {
	switch v.Status {
	case statusCreating, statusDownloading, statusDeleting: // Cinder is at it
		return nil
	case statusAttaching, statusReserved:
		if len(v.Attachments) == 0 {
			if err := volumes.Unreserve(ctx, c.api, v.ID).ExtractErr(); err != nil {
				return explain("unreserve volume "+v.ID, err)
			}
			return nil
		}
	}
	if err := volumes.Delete(ctx, c.api, v.ID, nil).ExtractErr(); err != nil {
		return explain(fmt.Sprintf("delete volume %s (status %s)", v.ID, v.Status), err)
	}
	return nil
}
