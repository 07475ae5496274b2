package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

type createInput struct {
	Backend backends.Name `path:"backend" doc:"Where to make the volume"`
	Accept  string        `header:"Accept" hidden:"true"`
	Token   string        `header:"X-Auth-Token" maxLength:"16384" doc:"The requester's own token, for image sources that authorise by it (Glance). Neither stored nor logged"`
	Body    CreateBody
}

type createAnyInput struct {
	Accept string `header:"Accept" hidden:"true"`
	Token  string `header:"X-Auth-Token" maxLength:"16384" doc:"The requester's own token, for image sources that authorise by it (Glance). Neither stored nor logged"`
	Body   createAnyBody
}

type backendInput struct {
	Backend backends.Name `path:"backend"`
}

type volumeInput struct {
	Volume backends.VolumeName `path:"volume"`
}

type backendVolumeInput struct {
	Backend backends.Name       `path:"backend"`
	Volume  backends.VolumeName `path:"volume"`
}

func (s *Server) volumeRoutes() {
	const (
		all  = "/v1/volumes"
		of   = "/v1/backends/{backend}/volumes"
		what = "Make a volume from an image. 200 with outcome bypassed says that no volume was made and nothing is wrong: go the usual way"
	)
	route(s, s.creates(post("create-volume", of, what)), func(ctx context.Context, svc Service, in *createInput) (*huma.StreamResponse, error) {
		return s.create(ctx, svc, creation{backend: in.Backend, accept: in.Accept, token: imagesource.Token(in.Token), body: in.Body})
	})
	route(s, s.creates(post("create-volume-anywhere", all, what)), func(ctx context.Context, svc Service, in *createAnyInput) (*huma.StreamResponse, error) {
		return s.create(ctx, svc, creation{backend: in.Body.Backend, accept: in.Accept, token: imagesource.Token(in.Token), body: in.Body.CreateBody})
	})
	route(s, get("list-volumes", all, "Volumes that clonecache made, of all backends"), func(ctx context.Context, svc Service, _ *none) (*volumesOutput, error) {
		return s.allVolumes(svc.ListVolumes(ctx, ""))
	})
	route(s, get("list-volumes-of-backend", of, "Volumes that clonecache made on one backend"), func(ctx context.Context, svc Service, in *backendInput) (*output[[]plugin.VolumeView], error) {
		return listed(svc.ListVolumes(ctx, in.Backend))
	})
	route(s, del("delete-volume-anywhere", all+"/{volume}", "Delete a volume that clonecache made on the only backend"), func(ctx context.Context, svc Service, in *volumeInput) (*none, error) {
		return s.deleteVolume(ctx, svc, "", in.Volume)
	})
	route(s, del("delete-volume", of+"/{volume}", "Delete a volume that clonecache made"), func(ctx context.Context, svc Service, in *backendVolumeInput) (*none, error) {
		return s.deleteVolume(ctx, svc, in.Backend, in.Volume)
	})
}

// volumesOutput is the volumes of all backends that answer.
type volumesOutput struct {
	Unavailable string `header:"Clonecache-Unavailable" doc:"Backends that do not answer, with commas between them: their volumes are not in the list"`
	Body        []plugin.VolumeView
}

// allVolumes answers what there is, and names the backends that it leaves out.
func (s *Server) allVolumes(views []plugin.VolumeView, err error) (*volumesOutput, error) {
	var partial *plugin.PartialError
	if err != nil && !errors.As(err, &partial) {
		return nil, err
	}
	out := &volumesOutput{Body: notNull(views)}
	if partial != nil {
		s.log.WithError(err).Warn("volumes listed without those of some backends")
		names := make([]string, len(partial.Unavailable))
		for i, u := range partial.Unavailable {
			names[i] = string(u.Name)
		}
		out.Unavailable = strings.Join(names, ",")
	}
	return out, nil
}

func (s *Server) keepRoutes() {
	const what = "Say that a volume which was kept, and of which perhaps nobody knew, is wanted"
	route(s, post("keep-volume", "/v1/backends/{backend}/volumes/{volume}/keep", what), func(ctx context.Context, svc Service, in *backendVolumeInput) (*none, error) {
		return s.keepVolume(ctx, svc, in.Backend, in.Volume)
	})
	route(s, post("keep-volume-anywhere", "/v1/volumes/{volume}/keep", what), func(ctx context.Context, svc Service, in *volumeInput) (*none, error) {
		return s.keepVolume(ctx, svc, "", in.Volume)
	})
}

func (s *Server) keepVolume(ctx context.Context, svc Service, backend backends.Name, volume backends.VolumeName) (*none, error) {
	if err := svc.KeepVolume(ctx, backend, volume); err != nil {
		return nil, err
	}
	s.logFor(ctx).WithFields(logrus.Fields{"backend": backend, "volume": volume}).Info("volume is wanted")
	return nil, nil
}

// creates describes the two forms of a creation's answer.
func (s *Server) creates(op huma.Operation) huma.Operation {
	op.Responses = streamResponse(s.api.OpenAPI().Components.Schemas, reflect.TypeFor[plugin.Answer](), reflect.TypeFor[createLine]())
	return op
}

// creation is what a client asks for, on either route.
type creation struct {
	backend backends.Name
	accept  string
	token   imagesource.Token
	body    CreateBody
	lend    *lendBody // of a loan
}

func (s *Server) create(ctx context.Context, svc Service, c creation) (*huma.StreamResponse, error) {
	request, err := c.request()
	if err != nil {
		return nil, err
	}
	if !acceptsLines(c.accept) {
		return &huma.StreamResponse{Body: func(hctx huma.Context) { s.createWhole(ctx, hctx, svc, request) }}, nil
	}
	return s.lines(ctx, func(ctx context.Context, out *lineWriter) any {
		request.Progress = func(p plugin.Progress) { out.progress(createLine{Progress: &p}) }
		given := false
		request.Deliver = func(a plugin.Answer) error {
			given = true
			return out.deliver(createLine{Answer: &a}, request.Deadline)
		}
		answer, err := s.created(ctx, svc, request)
		switch {
		case given:
			return nil
		case err != nil:
			return createLine{Error: s.fail(ctx, http.MethodPost, err)}
		}
		return createLine{Answer: &answer}
	}), nil
}

// createWhole answers with one JSON object.
func (s *Server) createWhole(ctx context.Context, hctx huma.Context, svc Service, request plugin.Request) {
	_, w := unwrap(hctx)
	given := false
	request.Deliver = func(a plugin.Answer) error {
		given = true
		return deliverJSON(w, a, request.Deadline)
	}
	answer, err := s.created(ctx, svc, request)
	switch {
	case given:
	case err != nil:
		e := s.fail(ctx, http.MethodPost, err)
		writeJSON(w, e.Status, errorBody{e})
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

// created makes the volume and logs what it came to.
func (s *Server) created(ctx context.Context, svc Service, r plugin.Request) (plugin.Answer, error) {
	a, err := svc.CreateVolume(ctx, r)
	if err != nil {
		return a, err
	}
	s.logFor(ctx).WithFields(lentFields(a)).WithFields(logrus.Fields{
		"backend": a.Backend, "image": a.ImageID, "volume": a.Volume, "outcome": a.Outcome, "reason": a.Reason,
		"bytes": a.DownloadedBytes, "took": time.Duration(a.TookMS * float64(time.Millisecond)).Round(time.Microsecond),
	}).Info("volume request answered")
	return a, nil
}

// request turns it into what the plugin is asked. plugin.ErrBadRequest names a field that is wrong.
func (c creation) request() (plugin.Request, error) {
	b := c.body
	digest, err := parseDigest(b.Digest)
	if err != nil {
		return plugin.Request{}, err
	}
	r := plugin.Request{Backend: c.backend, Image: b.Image, Volume: b.Volume, SizeBytes: b.SizeBytes,
		OnMiss: b.OnMiss, Digest: digest, DiskFormat: b.DiskFormat,
		ImageVirtualBytes: b.ImageVirtualBytes, ImageLocations: b.ImageLocations, VolumeType: b.VolumeType, Encrypted: b.Encrypted, ProjectID: b.ProjectID, Transfer: b.Transfer, Token: c.token}
	if c.lend != nil {
		r.Lend, r.Place, r.Renews = true, c.lend.Place, c.lend.Renews
	}
	if b.Deadline != nil {
		r.Deadline = *b.Deadline
	}
	return r, nil
}

// parseDigest reads "sha256:HEX" or "sha512:HEX"; "" is the zero Digest.
func parseDigest(text string) (imagesource.Digest, error) {
	if text == "" {
		return imagesource.Digest{}, nil
	}
	digest, err := imagesource.ParseDigest(text)
	if err != nil {
		return imagesource.Digest{}, fmt.Errorf("%w: digest: %w", plugin.ErrBadRequest, err)
	}
	return digest, nil
}

func (s *Server) deleteVolume(ctx context.Context, svc Service, backend backends.Name, volume backends.VolumeName) (*none, error) {
	if err := svc.DeleteVolume(ctx, backend, volume); err != nil {
		return nil, err
	}
	s.logFor(ctx).WithFields(logrus.Fields{"backend": backend, "volume": volume}).Info("volume deleted")
	return nil, nil
}

func acceptsLines(accept string) bool { return strings.Contains(accept, ndjson) }

// whole answers body as one JSON object.
func whole(body any) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		_, w := unwrap(ctx)
		writeJSON(w, http.StatusOK, body)
	}}
}
