package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

type flattenAnyInput struct {
	Accept string              `header:"Accept" hidden:"true"`
	Volume backends.VolumeName `path:"volume"`
}

type flattenInput struct {
	Accept  string              `header:"Accept" hidden:"true"`
	Backend backends.Name       `path:"backend"`
	Volume  backends.VolumeName `path:"volume"`
}

func (s *Server) flattenRoutes() {
	const what = "Copy into a volume what it shares with its image-volume, so that it depends on nothing any more"
	route(s, s.flattens(post("flatten-volume", "/v1/backends/{backend}/volumes/{volume}/flatten", what)), func(ctx context.Context, svc Service, in *flattenInput) (*huma.StreamResponse, error) {
		return s.flatten(ctx, svc, in)
	})
	route(s, s.flattens(post("flatten-volume-anywhere", "/v1/volumes/{volume}/flatten", what)), func(ctx context.Context, svc Service, in *flattenAnyInput) (*huma.StreamResponse, error) {
		return s.flatten(ctx, svc, &flattenInput{Accept: in.Accept, Volume: in.Volume})
	})
}

// flattens describes the two forms of a flatten's answer.
func (s *Server) flattens(op huma.Operation) huma.Operation {
	op.Responses = streamResponse(s.api.OpenAPI().Components.Schemas, reflect.TypeFor[plugin.Flattened](), reflect.TypeFor[flattenLine]())
	return op
}

func (s *Server) flatten(ctx context.Context, svc Service, in *flattenInput) (*huma.StreamResponse, error) {
	if !acceptsLines(in.Accept) {
		result, err := svc.FlattenVolume(ctx, in.Backend, in.Volume, nil)
		if err != nil {
			return nil, err
		}
		return whole(result), nil
	}
	return s.lines(ctx, func(ctx context.Context, out *lineWriter) any {
		result, err := svc.FlattenVolume(ctx, in.Backend, in.Volume, func(done, total int64) {
			out.progress(flattenLine{Progress: &FlattenProgress{DoneBytes: done, TotalBytes: total}})
		})
		if err != nil {
			return flattenLine{Error: s.fail(ctx, http.MethodPost, err)}
		}
		return flattenLine{Result: &result}
	}), nil
}
