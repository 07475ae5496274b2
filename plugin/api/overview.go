package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
)

type reportInput struct {
	Backend backends.Name `query:"backend" doc:"One backend or file cache. Default: all"`
	Since   string        `query:"since" maxLength:"64" doc:"A span back from now (90m, 24h, 7d, 1d12h) or an RFC 3339 time. Default: the beginning" example:"24h"`
	By      report.By     `query:"by" enum:"backend,image,host,project" doc:"host, project: what each did, too. Backends and images are always told of"`
	Until   string        `query:"until" maxLength:"64" doc:"Likewise: the end of the time that is told of. Default: now"`
}

type quotaInput struct {
	UseOnly bool `query:"use_only" doc:"Limits and use as the tenant's own service counts them, and nothing that would have to be listed"`
}

func quota(ctx context.Context, svc Service, in *quotaInput) (*output[plugin.Quota], error) {
	if in.UseOnly {
		return answer(svc.QuotaUse(ctx))
	}
	return answer(svc.Quota(ctx))
}

func (s *Server) overviewRoutes() {
	route(s, get("list-fills", "/v1/fills", "Fills in flight"), func(ctx context.Context, svc Service, _ *none) (*output[[]plugin.FillView], error) {
		return listed(svc.AllFills(ctx))
	})
	route(s, get("report", "/v1/report", "The clone-cache report"), func(ctx context.Context, svc Service, in *reportInput) (*output[report.Report], error) {
		since, err := parseSince(in.Since, s.cfg.Now())
		if err != nil {
			return nil, err
		}
		until, err := parseSince(in.Until, s.cfg.Now())
		if err != nil {
			return nil, err
		}
		if !until.IsZero() && !until.After(since) {
			return nil, fmt.Errorf("%w: until: it is not later than since", plugin.ErrBadRequest)
		}
		return answer(svc.ReportOf(ctx, plugin.ReportQuery{Backend: in.Backend, Span: catalog.Span{Since: since, Until: until}, By: in.By}))
	})
	route(s, get("quota", "/v1/quota", "The internal tenant's quota, beside what really exists"), quota)
	route(s, get("list-backends", "/v1/backends", "Backends and file caches"), func(ctx context.Context, svc Service, _ *none) (*output[[]plugin.BackendView], error) {
		return listed(svc.Backends(ctx))
	})
	route(s, get("status", "/v1/status", "How the daemon is"), func(ctx context.Context, svc Service, _ *none) (*output[plugin.Status], error) {
		status, err := svc.Status(ctx)
		status.Fills, status.Backends, status.Sources = notNull(status.Fills), notNull(status.Backends), notNull(status.Sources)
		return answer(status, err)
	})
}

func notNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// parseSince reads a span back from now, with days before what time.ParseDuration knows, or an RFC 3339
// time. "" is the zero time, the beginning.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UTC(), nil
	}
	span, ok := parseSpan(text)
	if !ok || span < 0 {
		return time.Time{}, fmt.Errorf("%w: since: %q is neither a span such as 24h or 7d nor an RFC 3339 time", plugin.ErrBadRequest, text)
	}
	return now.Add(-span).UTC(), nil
}

func parseSpan(text string) (time.Duration, bool) {
	const mostDays = 36500
	var span time.Duration
	if days, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > mostDays {
			return 0, false
		}
		span, text = time.Duration(n)*24*time.Hour, rest
		if text == "" {
			return span, true
		}
	}
	rest, err := time.ParseDuration(text)
	if err != nil || rest < 0 {
		return 0, false
	}
	return span + rest, true
}
