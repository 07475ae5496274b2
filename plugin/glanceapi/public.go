package glanceapi

import (
	"errors"
	"net/http"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// KubeVirt's importer, qemu-img and curl read an image's data by its plain URL, without a token. Glance refuses them; with
// Config.Publics those images are read for them that are everybody's, by the account's right. Glance is asked at each request
// whether an image is one of these, in a way that is the same for all that are not, and these are Glance's to refuse.

// tokenHeaders are those in which Glance looks for tokens.
var tokenHeaders = []string{callerHeader, "X-Storage-Token", "X-Service-Token"}

// nobodys tells that a request comes without a token.
func nobodys(r *http.Request) bool {
	for _, name := range tokenHeaders {
		for _, value := range r.Header.Values(name) {
			if value != "" {
				return false
			}
		}
	}
	return true
}

// downloadPublic gives a public image's data to whomever, or describes it.
func (s *Server) downloadPublic(w http.ResponseWriter, r *http.Request, id string) {
	image, token, err := s.config.Publics.Public(r.Context(), id)
	switch {
	case errors.Is(err, imagesource.ErrNotFound):
		s.passOn(w, r)
	case err != nil:
		s.noGlance(w, r, err)
	default:
		dropBody(r)
		s.givePublic(w, r, byAccount(r, image, token))
	}
}

// byAccount is a request for an image's data in the account's name, with nothing of the caller's but which part it wants.
func byAccount(r *http.Request, image imagesource.Image, token imagesource.Token) publicRequest {
	ours := r.Clone(r.Context())
	ours.Body, ours.ContentLength, ours.TransferEncoding, ours.Trailer = http.NoBody, 0, nil, nil
	ours.URL.Path, ours.URL.RawPath, ours.URL.RawQuery = "/v2/images/"+image.ID+"/file", "", ""
	ours.Header = http.Header{callerHeader: {string(token)}}
	for _, name := range []string{"Range", "Content-Range", "Accept", "User-Agent", "Via"} {
		if values := r.Header.Values(name); len(values) > 0 {
			ours.Header[name] = values
		}
	}
	return publicRequest{ours, image}
}

// publicRequest is one for a public image's data, by the account's right.
type publicRequest struct {
	*http.Request
	image imagesource.Image
}

// givePublic answers as Glance answers who has a token, and besides HEAD, and that parts can be had where they can: such
// clients look at that first. What it is not asked for as a whole is fetched ahead, since these clients come again.
func (s *Server) givePublic(w http.ResponseWriter, r *http.Request, ours publicRequest) {
	data := s.askAhead(ours.Request)
	defer data()
	head := r.Method == http.MethodHead
	part, plain := partOf(ours.Header)
	if !head && s.giveKept(w, reading{ours.Request, ours.image.ID, data, true}) {
		return
	}
	said := data()
	if !said.may {
		s.passOn(w, r)
		return
	}
	kept := (head || plain && !part.whole) && s.keptOrFetched(ours)
	if said.ranged || kept {
		w.Header().Set("Accept-Ranges", "bytes")
	}
	if head {
		describeData(w, ours.image, partOfAll, 0, ours.image.SizeBytes)
		return
	}
	s.passOn(w, ours.Request)
}

// keptOrFetched tells whether an image's bytes are kept. Where they are not, they are fetched in the background.
func (s *Server) keptOrFetched(r publicRequest) bool {
	cache := s.current()
	if cache == nil || s.config.FileCache == "" {
		return false
	}
	want := s.bytesOf(r.Request, r.image.ID)
	want.Fetch = plugin.FetchSparingly
	if cache.bytes.Keeps(r.Context(), want) {
		return true
	}
	if err := cache.bytes.Fetch(r.Context(), want); err != nil {
		s.log.WithField("image", want.Image).WithError(err).Debug("public image's data is not fetched ahead")
	}
	return false
}
