package glanceapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// cachedImage is an image that is cached, as Glance writes it. Times are seconds since 1970 UTC.
type cachedImage struct {
	ImageID      string  `json:"image_id"`
	Hits         int64   `json:"hits"`
	LastAccessed float64 `json:"last_accessed"`
	LastModified float64 `json:"last_modified"`
	Size         int64   `json:"size"` // bytes of the image
}

// cacheState is what GET /v2/cache answers.
type cacheState struct {
	Cached []cachedImage `json:"cached_images"`
	Queued []string      `json:"queued_images"`
}

func (c *call) list() {
	if c.hasBody() || !c.may(cacheList) {
		return
	}
	state, err := c.state()
	if err != nil {
		c.failed(err)
		return
	}
	writeJSON(c.w, http.StatusOK, state)
}

// state is what is cached, and what waits for that or is being fetched, by the images' IDs. What comes to be cached meanwhile is
// in one of them at least: it is looked for in the queue first.
func (c *call) state() (cacheState, error) {
	ctx := c.r.Context()
	queued, err := c.queue(ctx)
	if err != nil {
		return cacheState{}, err
	}
	state := cacheState{Queued: []string{}}
	for _, q := range queued {
		state.Queued = c.s.addImage(state.Queued, q.ImageID)
	}
	for _, f := range c.cache.Fills() {
		if f.Backend == c.s.config.FileCache {
			state.Queued = c.s.addImage(state.Queued, f.ImageID)
		}
	}
	entries, err := c.cache.Entries(ctx, plugin.EntryFilter{State: string(catalog.Ready)})
	state.Cached = c.s.images(entries)
	return state, err
}

// addImage adds the ID of an image of Glance's, once.
func (s *Server) addImage(ids []string, ref string) []string {
	if id, ours := s.idOf(ref); ours && !slices.Contains(ids, id) {
		return append(ids, id)
	}
	return ids
}

// queue are the rows of Glance's images that wait or are being fetched.
func (c *call) queue(ctx context.Context) ([]plugin.QueuedView, error) {
	all, err := c.cache.Queue().Queued(ctx)
	return slices.DeleteFunc(all, func(q plugin.QueuedView) bool {
		_, ours := c.s.idOf(q.ImageID)
		return !ours || q.State != string(catalog.QueueWaiting) && q.State != string(catalog.QueueRunning)
	}), err
}

// idOf is Glance's ID in SOURCE:ID.
func (s *Server) idOf(ref string) (id string, ours bool) {
	return strings.CutPrefix(ref, s.config.Source+":")
}

// ref is SOURCE:ID of an image of Glance's.
func (s *Server) ref(id string) string { return s.config.Source + ":" + id }

// images are those that entries hold: one that lies in several stores is one image.
func (s *Server) images(entries []plugin.EntryView) []cachedImage {
	images := []cachedImage{}
	at := make(map[string]int)
	for _, e := range entries {
		for _, ref := range e.ImageIDs {
			id, ours := s.idOf(ref)
			if !ours {
				continue
			}
			i, known := at[id]
			if !known {
				i = len(images)
				at[id], images = i, append(images, cachedImage{ImageID: id})
			}
			images[i].add(e)
		}
	}
	slices.SortFunc(images, func(a, b cachedImage) int { return strings.Compare(a.ImageID, b.ImageID) })
	return images
}

// add counts one entry of the image.
func (i *cachedImage) add(e plugin.EntryView) {
	i.Hits += e.Hits
	i.LastAccessed = max(i.LastAccessed, seconds(e.LastUsedAt))
	i.LastModified = max(i.LastModified, seconds(e.CreatedAt))
	i.Size = max(i.Size, e.SourceBytes)
}

// seconds are since 1970; 0 for a time that there was not.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

// enqueue is PUT /v2/cache/ID. The image is fetched at once where there is a place among the fills.
func (c *call) enqueue() {
	image, ok := c.imageThere()
	if !ok || !c.may(cacheImage) {
		return
	}
	if image.Status != "active" {
		refuse(c.w, c.r, http.StatusBadRequest, notActiveText)
		return
	}
	if err := c.prefetch(); err != nil {
		c.failed(err)
		return
	}
	empty(c.w, http.StatusAccepted)
}

// prefetch has the image cached wherever it is to be: queued for backends, and its bytes fetched by the caller's right.
func (c *call) prefetch() error {
	config := c.s.config
	all := len(config.Backends) == 0
	volumes := slices.DeleteFunc(slices.Clone(config.Backends), func(b backends.Name) bool { return b == config.FileCache })
	var queued, fetched error
	if all || len(volumes) > 0 {
		_, queued = c.cache.Queue().Prefetch(c.r.Context(), plugin.Prefetch{Images: []string{c.s.ref(c.id)}, Backends: volumes, All: all})
	}
	if config.FileCache != "" && (all || slices.Contains(config.Backends, config.FileCache)) {
		fetched = c.cache.bytes.Fetch(c.r.Context(), c.s.bytesOf(c.r, c.id))
	}
	return errors.Join(queued, fetched)
}

// image is what the cache API asks of an image.
type image struct {
	Status string `json:"status"`
}

// imageThere asks Glance for the image by the caller's right. Where it is not there, or Glance does not answer, the
// request is answered.
func (c *call) imageThere() (image, bool) {
	found, status, err := c.look()
	switch {
	case err != nil:
		c.s.noGlance(c.w, c.r, err)
	case status == http.StatusOK:
		return found, true
	default:
		refuse(c.w, c.r, http.StatusNotFound, "Image "+c.id+" not found.")
	}
	return image{}, false
}

// errGlance: Glance does not say whether there is an image.
var errGlance = errors.New("Glance does not say what the image is")

// look asks Glance for the image by the caller's right; status is 200 or 404.
func (c *call) look() (found image, status int, err error) {
	const most = 1 << 20
	answer, err := c.s.ask(c.r, "v2/images/"+url.PathEscape(c.id), http.Header{})
	if err != nil {
		return image{}, 0, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		err = json.NewDecoder(io.LimitReader(answer.Body, most)).Decode(&found)
		return found, http.StatusOK, err
	case http.StatusNotFound, http.StatusForbidden:
		return image{}, http.StatusNotFound, nil
	}
	return image{}, 0, errGlance
}

// remove is DELETE /v2/cache/ID: of an image that Glance no longer has too, as long as it is cached or queued.
func (c *call) remove() {
	entries, queued, err := c.held()
	if err != nil {
		c.failed(err)
		return
	}
	if len(entries) == 0 && len(queued) == 0 || !c.manages() { // who may not is not told either what is cached of others' images
		if _, ok := c.imageThere(); !ok {
			return
		}
	}
	if !c.may(cacheDelete) {
		return
	}
	if err := errors.Join(c.dequeue(queued), c.deleteAll(entries)); err != nil {
		c.failed(err)
		return
	}
	empty(c.w, http.StatusNoContent)
}

// held are the image's entries, and its rows in the queue.
func (c *call) held() ([]plugin.EntryView, []plugin.QueuedView, error) {
	ctx := c.r.Context()
	entries, err := c.cache.Entries(ctx, plugin.EntryFilter{State: string(catalog.Ready), ImageID: c.s.ref(c.id)})
	if err != nil {
		return nil, nil, err
	}
	queued, err := c.queue(ctx)
	return entries, slices.DeleteFunc(queued, func(q plugin.QueuedView) bool { return q.ImageID != c.s.ref(c.id) }), err
}

// deleteAll removes entries; volumes that were made from them stay. One that has gone meanwhile is no error.
func (c *call) deleteAll(entries []plugin.EntryView) error {
	for _, e := range entries {
		if _, err := c.cache.DeleteEntry(c.r.Context(), e.ID, true); err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
	}
	return nil
}

// dequeue takes rows out of the queue. One that has ended meanwhile is no error.
func (c *call) dequeue(queued []plugin.QueuedView) error {
	for _, q := range queued {
		if err := c.cache.Queue().DropQueued(c.r.Context(), q.ID); err != nil && !errors.Is(err, catalog.ErrNotQueued) {
			return err
		}
	}
	return nil
}

// clear is DELETE /v2/cache, of the cache, the queue or both, as a header says.
func (c *call) clear() {
	if !c.may(cacheDelete) {
		return
	}
	target := strings.ToLower(c.r.Header.Get("X-Image-Cache-Clear-Target"))
	if target != "" && target != "cache" && target != "queue" {
		refuse(c.w, c.r, http.StatusBadRequest, "If provided 'x-image-cache-clear-target' must be 'cache', 'queue' or empty string.")
		return
	}
	var err error
	if target != "cache" {
		_, err = c.clearQueue()
	}
	if target != "queue" {
		_, cleared := c.clearCache()
		err = errors.Join(err, cleared)
	}
	if err != nil {
		c.failed(err)
		return
	}
	empty(c.w, http.StatusNoContent)
}

// clearCache removes all of Glance's images but those that are pinned, and says how many.
func (c *call) clearCache() (int, error) {
	entries, err := c.cache.Entries(c.r.Context(), plugin.EntryFilter{State: string(catalog.Ready)})
	if err != nil {
		return 0, err
	}
	entries = slices.DeleteFunc(entries, func(e plugin.EntryView) bool {
		return e.Pinned || !slices.ContainsFunc(e.ImageIDs, func(ref string) bool { _, ours := c.s.idOf(ref); return ours })
	})
	return len(c.s.images(entries)), c.deleteAll(entries)
}

// clearQueue empties the queue of Glance's images, and says how many there were.
func (c *call) clearQueue() (int, error) {
	queued, err := c.queue(c.r.Context())
	if err != nil {
		return 0, err
	}
	images := make(map[string]bool)
	for _, q := range queued {
		images[q.ImageID] = true
	}
	return len(images), c.dequeue(queued)
}

// clean is POST /v2/cache/clean: what failed and what was left half made goes.
func (c *call) clean() {
	if !c.may(cacheClean) {
		return
	}
	if _, err := c.cache.Clean(c.r.Context()); err != nil {
		c.failed(err)
		return
	}
	empty(c.w, http.StatusOK)
}

// prune is POST /v2/cache/prune: what is beyond the bounds, or too old, goes.
func (c *call) prune() {
	if !c.may(cachePrune) {
		return
	}
	pruned, err := c.cache.Prune(c.r.Context())
	if err != nil {
		c.failed(err)
		return
	}
	writeJSON(c.w, http.StatusOK, map[string]int64{
		"total_files_pruned": int64(len(pruned.Removed)), "total_bytes_pruned": pruned.FreedBytes,
	})
}

// nodes is GET /v2/cache/nodes/ID: the hosts that have the image, this one by the address that it was asked at.
func (c *call) nodes() {
	if c.hasBody() || !c.may(cacheNodes) {
		return
	}
	entries, _, err := c.held()
	if err != nil {
		c.failed(err)
		return
	}
	if len(entries) == 0 {
		if _, ok := c.imageThere(); !ok {
			return
		}
	}
	hosts := []string{}
	for _, e := range entries {
		host := e.Host
		if host == "" {
			host = base(c.r)
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	writeJSON(c.w, http.StatusOK, hosts)
}

// notActiveText is what Glance says of an image that cannot be cached now.
const notActiveText = "Only images with status active can be targeted for queueing"

// explain is the status and the sentence for an error of the cache.
func explain(err error) (int, string) {
	switch {
	case errors.Is(err, catalog.ErrPinned):
		return http.StatusConflict, "The image is pinned in the cache. Unpin it with `clonecache entry unpin`."
	case errors.Is(err, plugin.ErrBusy):
		return http.StatusConflict, "The image is being cached or removed. Repeat the request in a few seconds."
	case errors.Is(err, backends.ErrUnavailable), errors.Is(err, catalog.ErrUnavailable), errors.Is(err, plugin.ErrStopping):
		return http.StatusServiceUnavailable, "The cache does not answer. Repeat the request later."
	case errors.Is(err, imagesource.ErrUnavailable):
		return http.StatusServiceUnavailable, "Glance does not answer."
	case errors.Is(err, imagesource.ErrNotFound), errors.Is(err, imagesource.ErrForbidden):
		return http.StatusNotFound, "The image was not found."
	case errors.Is(err, imagesource.ErrNotActive):
		return http.StatusBadRequest, notActiveText
	case errors.Is(err, plugin.ErrUnknownBackend), errors.Is(err, plugin.ErrBadRequest), errors.Is(err, plugin.ErrNotKept), errors.Is(err, imagesource.ErrRefused):
		return http.StatusConflict, "The image cannot be cached there: " + err.Error()
	}
	return http.StatusInternalServerError, "The server has either erred or is incapable of performing the requested operation."
}
