package glanceapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// bytesOf asks for an image's bytes by the caller's right.
func (s *Server) bytesOf(r *http.Request, id string) plugin.BytesRequest {
	return plugin.BytesRequest{Image: s.ref(id), Cache: s.config.FileCache, Token: imagesource.Token(r.Header.Get(callerHeader))}
}

// download gives an image's data from the file cache. Glance says at each request whether this caller may download it.
// Whatever is in doubt, is Glance's to answer.
func (s *Server) download(w http.ResponseWriter, r *http.Request, id string) {
	cache := s.current()
	part, plain := partOf(r.Header)
	if cache == nil || s.config.FileCache == "" || !plain {
		s.passOn(w, r)
		return
	}
	request := s.bytesOf(r, id)
	request.Permitted = s.askMayDownload(r)
	defer request.Permitted() // it reads the request, which is the server's again after this
	if !part.whole {
		request.Fetch = plugin.FetchNever // as Glance: what is read in parts is not cached by that
	}
	image, err := cache.bytes.Open(r.Context(), request)
	if err != nil {
		s.log.WithField("image", request.Image).WithError(err).Debug("image's data is left to Glance")
		request.Permitted() // nobody reads the request while it is passed on
		s.passOn(w, r)
		return
	}
	defer image.Close()
	first, length, ok := part.within(image.Image.SizeBytes)
	if !ok {
		s.passOn(w, r)
		return
	}
	dropBody(r)
	describeData(w, image.Image, part, first, length)
	to := patient{w, s.config.Patience}
	defer to.done()
	s.send(to, r, image, first, length)
}

// askMayDownload is mayDownload, which goes on while others are asked.
func (s *Server) askMayDownload(r *http.Request) func() bool {
	answer := sync.OnceValue(func() bool { return s.mayDownload(r) })
	go answer()
	return answer
}

// mayDownload asks Glance for one byte by the caller's right: who may see an image may not always download it. A store
// that has no ranges says so once it was decided.
func (s *Server) mayDownload(r *http.Request) bool {
	const most = 4 << 10
	answer, err := s.ask(r, r.URL.Path, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusPartialContent, http.StatusOK:
		return true
	case http.StatusBadRequest:
		text, _ := io.ReadAll(io.LimitReader(answer.Body, most))
		return strings.Contains(string(text), "Getting images randomly from this store is not supported")
	}
	return false
}

// describeData writes the headers that Glance writes.
func describeData(w http.ResponseWriter, image imagesource.Image, part part, first, length int64) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if image.MD5 != "" {
		h.Set("Content-Md5", image.MD5)
	}
	h.Set("Content-Length", fmt.Sprint(length))
	h.Set("X-Openstack-Request-Id", "req-"+uuid.NewString())
	status := http.StatusOK
	if !part.whole {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+length-1, image.SizeBytes))
		status = http.StatusPartialContent
	}
	w.WriteHeader(status)
}

// send sends the data. What the cache cannot give comes from Glance, and what that cannot give breaks off, as it would from
// Glance alone.
func (s *Server) send(w io.Writer, r *http.Request, image *plugin.KeptImage, first, length int64) {
	sent, err := image.Copy(r.Context(), w, first, length)
	if !errors.Is(err, plugin.ErrPart) || r.Context().Err() != nil {
		return // where the caller has gone there is nobody to tell
	}
	log := s.log.WithFields(logrus.Fields{"image": image.Image.Ref(), "bytes": sent})
	log.WithError(err).Warn("the rest of the image's data is read from Glance")
	if err := s.sendRest(w, r, first+sent, length-sent); err != nil && r.Context().Err() == nil {
		log.WithError(err).Warn("image's data breaks off: Glance does not give the rest")
		panic(http.ErrAbortHandler)
	}
}

// errRest: Glance does not give the rest of an image's data.
var errRest = errors.New("Glance does not give it")

// sendRest sends what comes from Glance from first on, skipping what it sends before that where its store has no ranges.
func (s *Server) sendRest(w io.Writer, r *http.Request, first, length int64) error {
	ranged := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", first, first+length-1)}}
	for _, header := range []http.Header{ranged, {}} {
		answer, err := s.ask(r, r.URL.Path, header)
		if err != nil {
			return err
		}
		skip := int64(0)
		switch {
		case answer.StatusCode == http.StatusOK:
			skip = first
		case answer.StatusCode != http.StatusPartialContent || len(header) == 0:
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusBadRequest {
				return fmt.Errorf("%w: it answers %d", errRest, answer.StatusCode)
			}
			continue
		}
		defer answer.Body.Close()
		return copyRest(r.Context(), w, answer.Body, skip, length)
	}
	return errRest
}

// copyRest copies length bytes after those that are skipped.
func copyRest(ctx context.Context, w io.Writer, from io.Reader, skip, length int64) error {
	if _, err := io.CopyN(io.Discard, from, skip); err != nil {
		return errors.Join(err, ctx.Err())
	}
	_, err := io.CopyN(w, from, length)
	return errors.Join(err, ctx.Err())
}
