package api

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

type scrubInput struct {
	Accept  string        `header:"Accept" hidden:"true"`
	Backend backends.Name `query:"backend" doc:"Those of this backend or file cache. Default: all"`
	Share   int           `query:"share" minimum:"0" maximum:"100" doc:"How much of the time it may take, in percent. Default: scrub_share of the configuration"`
}

// scrubLine is one line of a scrub's stream.
type scrubLine struct {
	Progress *CheckProgress      `json:"progress,omitempty"`
	Result   *plugin.ScrubResult `json:"result,omitempty"`
	Error    *Error              `json:"error,omitempty"`
}

func (s *Server) scrubRoutes() {
	op := post("scrub", "/v1/scrub", "Read image-volumes back; those that are not what was written go into quarantine")
	op.Responses = streamResponse(s.api.OpenAPI().Components.Schemas, reflect.TypeFor[plugin.ScrubResult](), reflect.TypeFor[scrubLine]())
	route(s, op, s.scrub)
}

func (s *Server) scrub(ctx context.Context, svc Service, in *scrubInput) (*huma.StreamResponse, error) {
	r := plugin.ScrubRequest{Backend: in.Backend, Share: in.Share}
	if !acceptsLines(in.Accept) {
		result, err := svc.Scrub(ctx, r)
		if err != nil {
			return nil, err
		}
		return whole(result), nil
	}
	return s.lines(ctx, func(ctx context.Context, out *lineWriter) any {
		r.Progress = func(read, total int64) {
			out.progress(scrubLine{Progress: &CheckProgress{ReadBytes: read, TotalBytes: total}})
		}
		result, err := svc.Scrub(ctx, r)
		if err != nil {
			return scrubLine{Error: s.fail(ctx, http.MethodPost, err)}
		}
		return scrubLine{Result: &result}
	}), nil
}

// Scrub reads image-volumes back on the stores that the daemon has. onProgress, if not nil, hears how far it has come, from
// the calling goroutine. When ctx ends, the daemon gives it up.
func (c *Client) Scrub(ctx context.Context, r plugin.ScrubRequest, onProgress func(CheckProgress)) (plugin.ScrubResult, error) {
	query := url.Values{}
	if r.Backend != "" {
		query.Set("backend", string(r.Backend))
	}
	if r.Share != 0 {
		query.Set("share", strconv.Itoa(r.Share))
	}
	req := call{method: http.MethodPost, path: "/v1/scrub", query: query}
	if onProgress == nil {
		return fetch[plugin.ScrubResult](ctx, c, req)
	}
	return streamed(ctx, c, req, func(line scrubLine) (*plugin.ScrubResult, *Error) {
		if line.Progress != nil {
			onProgress(*line.Progress)
		}
		return line.Result, line.Error
	})
}
