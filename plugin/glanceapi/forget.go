package glanceapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// deleteImage lets Glance delete an image. Where it has, the image's data leaves the file cache before the caller is answered,
// as it leaves Glance's own cache.
func (s *Server) deleteImage(w http.ResponseWriter, r *http.Request, id string) {
	s.passOnAnd(w, r, func(answer *http.Response) error {
		if cache := s.current(); cache != nil && s.config.FileCache != "" && answer.StatusCode/100 == 2 {
			s.forget(r.Context(), cache, id)
		}
		return nil
	})
}

// forget removes the entries of an image's data. Those that are pinned or other images' too stay, and where the cache does not
// answer in time all do: what nobody can download any more is evicted as what is not used.
func (s *Server) forget(ctx context.Context, cache *opened, id string) {
	const most = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()
	log := s.log.WithFields(logrus.Fields{"image": s.ref(id)})
	entries, err := cache.Entries(ctx, plugin.EntryFilter{State: string(catalog.Ready), ImageID: s.ref(id), Backend: s.config.FileCache})
	if err != nil {
		log.WithError(err).Warn("the data of a deleted image stays in the cache")
		return
	}
	entries = slices.DeleteFunc(entries, func(e plugin.EntryView) bool { return e.Pinned || len(e.ImageIDs) > 1 })
	for _, e := range entries {
		if _, err := cache.DeleteEntry(ctx, e.ID, false); err != nil {
			log.WithError(err).WithField("entry", e.ID).Info("the data of a deleted image stays in the cache")
		}
	}
}
