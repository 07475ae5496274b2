package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
)

type checkInput struct {
	Accept string `header:"Accept" hidden:"true"`
	Repair bool   `query:"repair" doc:"Mend what can be mended"`
	Deep   bool   `query:"deep" doc:"Also read every image-volume and compare its content, and look through whole backends for what no listing names"`
}

type pruneInput struct {
	DryRun bool `query:"dry_run" doc:"Remove nothing: planned says what would go, and why"`
}

type cleanInput struct {
	DryRun bool `query:"dry_run" doc:"Remove nothing: planned says what would go, and why"`
}

func (s *Server) upkeepRoutes() {
	route(s, post("prune", "/v1/prune", "Bring every store back within its bounds, and remove what is idle for too long"), func(ctx context.Context, svc Service, in *pruneInput) (*output[plugin.PruneResult], error) {
		if in.DryRun {
			return answer(svc.PlanPrune(ctx))
		}
		return s.pruned(ctx, "pruned")(svc.Prune(ctx))
	})
	route(s, post("clean", "/v1/clean", "Remove failed fills, leftovers and detached image-volumes without clones"), func(ctx context.Context, svc Service, in *cleanInput) (*output[plugin.CleanResult], error) {
		if in.DryRun {
			result, err := svc.PlanClean(ctx)
			result.Unavailable = notNull(result.Unavailable)
			return answer(result, err)
		}
		result, err := svc.Clean(ctx)
		result.Unavailable = notNull(result.Unavailable)
		if err == nil {
			s.logFor(ctx).WithFields(logrus.Fields{"failed": result.FailedEntries, "leftovers": result.Leftovers,
				"reaped": result.Reaped, "claims": result.Claims, "bytes": result.FreedBytes}).Info("cleaned")
		}
		return answer(result, err)
	})
	op := post("check", "/v1/check", "Compare catalog, backends and quota")
	op.Responses = streamResponse(s.api.OpenAPI().Components.Schemas, reflect.TypeFor[plugin.CheckResult](), reflect.TypeFor[checkLine]())
	route(s, op, s.check)
	s.scrubRoutes()
}

func (s *Server) check(ctx context.Context, svc Service, in *checkInput) (*huma.StreamResponse, error) {
	options := plugin.CheckOptions{Repair: in.Repair, Deep: in.Deep}
	if !acceptsLines(in.Accept) {
		result, err := s.checked(ctx, svc, options)
		if err != nil {
			return nil, err
		}
		return whole(result), nil
	}
	return s.lines(ctx, func(ctx context.Context, out *lineWriter) any {
		options.Progress = func(read, total int64) {
			out.progress(checkLine{Progress: &CheckProgress{ReadBytes: read, TotalBytes: total}})
		}
		result, err := s.checked(ctx, svc, options)
		if err != nil {
			return checkLine{Error: s.fail(ctx, http.MethodPost, err)}
		}
		return checkLine{Result: &result}
	}), nil
}

func (s *Server) checked(ctx context.Context, svc Service, o plugin.CheckOptions) (plugin.CheckResult, error) {
	result, err := svc.Check(ctx, o)
	result.Problems = notNull(result.Problems)
	if err == nil && o.Repair {
		s.logFor(ctx).WithFields(logrus.Fields{"problems": len(result.Problems), "ok": result.OK}).Info("checked and repaired")
	}
	return result, err
}
