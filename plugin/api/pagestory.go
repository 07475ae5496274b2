package api

import (
	"net/http"
	"net/url"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// entryData is what the page of an entry shows, and the question before it is deleted.
type entryData struct {
	pageBase
	Entry    plugin.EntryView
	Happened []plugin.Event // the oldest first
}

// entryPage shows an entry and what happened to it, or the question before it is deleted.
func (s *Server) entryPage(name string) func(Service, *http.Request, pageBase) (string, any, error) {
	return func(svc Service, r *http.Request, b pageBase) (string, any, error) {
		e, err := svc.Entry(r.Context(), r.PathValue("id"))
		if err != nil {
			return "", nil, err
		}
		d := entryData{pageBase: b, Entry: e}
		d.Title, d.At = "Entry "+e.ID, "entries"
		if name == "delete" {
			d.Title = "Delete an entry?"
			return name, d, nil
		}
		d.Happened, err = svc.EntryEvents(r.Context(), e.ID)
		return name, d, err
	}
}

// volumeData is what the page of a volume shows.
type volumeData struct {
	pageBase
	Story plugin.VolumeStory
}

// volumePage tells the story of a volume; it may be gone.
func (s *Server) volumePage(svc Service, r *http.Request, b pageBase) (string, any, error) {
	q := r.URL.Query()
	story, err := svc.ExplainVolume(r.Context(), backends.Name(q.Get("backend")), backends.VolumeName(q.Get("volume")))
	if err != nil {
		return "", nil, err
	}
	b.Title, b.At = "Volume "+string(story.Volume), "entries"
	return "volume", volumeData{b, story}, nil
}

// storyURL is the page of a volume.
func storyURL(backend backends.Name, volume backends.VolumeName) string {
	return "/ui/volume?" + url.Values{"backend": {string(backend)}, "volume": {string(volume)}}.Encode()
}
