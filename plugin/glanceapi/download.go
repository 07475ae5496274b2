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
	data := s.askAhead(r)
	defer data() // it reads the request, which is the server's again after this
	if !s.giveKept(w, reading{r, id, data, false}) {
		data() // nobody reads the request while it is passed on
		s.passOn(w, r)
	}
}

// reading is a request for an image's data, by the right of the token that it bears.
type reading struct {
	*http.Request
	id     string
	data   func() given // what Glance says to that
	public bool         // by the account's right: the caller, whom nobody knows, is told that parts can be had
}

// giveKept gives an image's data from the file cache; false: it cannot, and nothing has been answered.
func (s *Server) giveKept(w http.ResponseWriter, r reading) bool {
	cache := s.current()
	part, plain := partOf(r.Header)
	if cache == nil || s.config.FileCache == "" || !plain {
		return false
	}
	request := s.bytesOf(r.Request, r.id)
	request.Permitted = func() bool { return r.data().may }
	switch {
	case !part.whole:
		request.Fetch = plugin.FetchNever // as Glance: what is read in parts is not cached by that
	case r.public:
		request.Fetch = plugin.FetchSparingly
	}
	image, err := cache.bytes.Open(r.Context(), request)
	if err != nil {
		s.log.WithField("image", request.Image).WithError(err).Debug("image's data is left to Glance")
		return false
	}
	defer image.Close()
	first, length, ok := part.within(image.Image.SizeBytes)
	if !ok {
		return false
	}
	dropBody(r.Request)
	if r.public && (image.Whole() || r.data().ranged) {
		w.Header().Set("Accept-Ranges", "bytes")
	}
	describeData(w, image.Image, part, first, length)
	to := patient{w, s.config.Patience}
	defer to.done()
	s.send(to, r.Request, image, first, length)
	return true
}

// given is what Glance says to who asks for an image's data.
type given struct {
	may    bool // they may have it
	ranged bool // its store gives parts of it
}

// askAhead is askData, which goes on while others are asked.
func (s *Server) askAhead(r *http.Request) func() given {
	answer := sync.OnceValue(func() given { return s.askData(r) })
	go answer()
	return answer
}

// askData asks Glance for one byte by the caller's right: who may see an image may not always download it. A store
// that has no ranges says so once it was decided.
func (s *Server) askData(r *http.Request) given {
	const most = 4 << 10
	answer, err := s.ask(r, r.URL.Path, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return given{}
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusPartialContent:
		return given{may: true, ranged: true}
	case http.StatusOK:
		return given{may: true}
	case http.StatusBadRequest:
		text, _ := io.ReadAll(io.LimitReader(answer.Body, most))
		return given{may: strings.Contains(string(text), "Getting images randomly from this store is not supported")}
	}
	return given{}
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
	rest := rest{from: first + sent, length: length - sent}
	if image.Unproven() {
		rest.given, rest.same = sent, image.Same
	}
	if err := s.sendRest(w, r, rest); err != nil && r.Context().Err() == nil {
		log.WithError(err).Warn("image's data breaks off: Glance does not give the rest")
		panic(http.ErrAbortHandler)
	}
}

// errRest: Glance does not give the rest of an image's data.
var errRest = errors.New("Glance does not give it")

// rest is what the cache has not given of an image's data.
type rest struct {
	from, length int64
	given        int64                 // so many bytes before that are compared first
	same         func(io.Reader) error // with these; nil: they are not
}

// sendRest sends what comes from Glance, skipping what it sends before that where its store has no ranges.
func (s *Server) sendRest(w io.Writer, r *http.Request, rest rest) error {
	first := rest.from - rest.given
	ranged := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", first, rest.from+rest.length-1)}}
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
		return rest.copy(r.Context(), w, answer.Body, skip)
	}
	return errRest
}

// copy copies the rest from what comes behind the bytes that are skipped.
func (rest rest) copy(ctx context.Context, w io.Writer, from io.Reader, skip int64) error {
	if _, err := io.CopyN(io.Discard, from, skip); err != nil {
		return errors.Join(err, ctx.Err())
	}
	if rest.same != nil {
		if err := rest.same(from); err != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	_, err := io.CopyN(w, from, rest.length)
	return errors.Join(err, ctx.Err())
}
