package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// output is an answer with a body.
type output[T any] struct {
	Body T
}

// none is an input, or an answer, of nothing.
type none struct{}

// failure is an *Error on its way to the wire, as huma takes it.
type failure struct {
	Err *Error `json:"error"`
}

func (f *failure) Error() string  { return f.Err.Message }
func (f *failure) GetStatus() int { return f.Err.Status }

// route serves op: once there is a Service, handle does the work, and its error is explained to the
// user and logged.
func route[I, O any](s *Server, op huma.Operation, handle func(context.Context, Service, *I) (*O, error)) {
	op.BodyReadTimeout = -1 // ServeHTTP has read it
	op.MaxBodyBytes = -1
	op.RejectUnknownQueryParameters = true
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = errorResponse(s.api.OpenAPI().Components.Schemas)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		svc, err := s.current()
		if err != nil {
			return nil, &failure{withID(ctx, Explain(err))}
		}
		out, err := handle(ctx, svc, in)
		if err != nil {
			return nil, &failure{s.fail(ctx, op.Method, err)}
		}
		if changes(op) {
			svc.NoteAct(act(ctx, op, entryOf(out)))
		}
		return out, nil
	})
}

// answer wraps a result as an output.
func answer[T any](body T, err error) (*output[T], error) {
	if err != nil {
		return nil, err
	}
	return &output[T]{Body: body}, nil
}

// listed is answer for lists, where none is [], not null.
func listed[T any](list []T, err error) (*output[[]T], error) {
	if list == nil {
		list = []T{}
	}
	return answer(list, err)
}

func get(id, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary}
}

func post(id, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary}
}

func put(id, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodPut, Path: path, Summary: summary}
}

func del(id, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodDelete, Path: path, Summary: summary}
}
