package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// describe is the API's description and behaviour, before its routes.
func describe(version string) huma.Config {
	const prefix = "#/components/schemas/"
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "clonecache", Version: version,
				Description: "A volume-backend image cache: volumes from images, and its admin's verbs.",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry(prefix, schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "On TCP; a unix socket trusts its permissions"}},
			},
			Security: []map[string][]string{{}, {"token": {}}},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{plainErrors},
	}
}

// schemaName names wire types by their Go names, with a capital.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	return strings.ToUpper(name[:1]) + name[1:]
}

// errorResponse describes what every route answers instead of a result.
func errorResponse(schemas huma.Registry) *huma.Response {
	return &huma.Response{
		Description: "An error: a stable code, and a sentence with the remedy",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: schemas.Schema(reflect.TypeFor[errorBody](), true, "ErrorBody")},
		},
	}
}

// streamResponse describes an answer that comes as JSON, or as lines where the client accepts ndjson.
func streamResponse(schemas huma.Registry, result, line reflect.Type) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "The result; with Accept: " + ndjson + " one JSON object a line, progress first and then the result or an error",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: schemas.Schema(result, true, "")},
			ndjson:             {Schema: schemas.Schema(line, true, "")},
		},
	}}
}

// describePlain describes the routes for monitors, which go by no Service: plainRoutes serves them.
func describePlain(api *huma.OpenAPI) {
	schemas := api.Components.Schemas
	status, ready := schemas.Schema(reflect.TypeFor[statusBody](), true, ""), schemas.Schema(reflect.TypeFor[readyBody](), true, "")
	open := []map[string][]string{{}}
	for _, probe := range []struct {
		id, path, summary, yes, no string
		body                       *huma.Schema
	}{
		{"healthz", "/healthz", "Whether the process lives", "It lives: it may start, serve or stop", "", status},
		{"readyz", "/readyz", "Whether requests are served", "They are. Backends that do not answer are listed", "They are not: starting, stopping", ready},
	} {
		op := get(probe.id, probe.path, probe.summary)
		op.Security = open
		op.Responses = map[string]*huma.Response{"200": {Description: probe.yes, Content: map[string]*huma.MediaType{"application/json": {Schema: probe.body}}}}
		if probe.no != "" {
			op.Responses["503"] = errorResponse(schemas)
			op.Responses["503"].Description = probe.no
		}
		api.AddOperation(&op)
	}
	op := get("metrics", "/metrics", "Metrics in Prometheus' text format")
	op.Responses = map[string]*huma.Response{"200": {Description: "docs/operations.md lists them", Content: map[string]*huma.MediaType{
		"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}}
	api.AddOperation(&op)
}

// humaContext is embedded under a name other than its method Context.
type humaContext = huma.Context

// refinedContext lets plainErrors choose the status of what huma itself refuses.
type refinedContext struct {
	humaContext
	status int // 0: as it is
}

func (c *refinedContext) Unwrap() huma.Context { return c.humaContext }

func (c *refinedContext) SetStatus(status int) {
	if c.status != 0 {
		status = c.status
	}
	c.humaContext.SetStatus(status)
}

func refineErrors(ctx huma.Context, next func(huma.Context)) { next(&refinedContext{humaContext: ctx}) }

// plainErrors turns the errors that huma makes (of validation, mostly) into ours.
func plainErrors(ctx huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	e := &Error{Code: "bad_request", Status: http.StatusBadRequest, Message: model.Detail}
	if model.Status >= http.StatusInternalServerError {
		e = &Error{Code: internal.code, Status: internal.status, Message: internal.sentence}
	}
	if len(model.Errors) > 0 && e.Code == "bad_request" {
		e.Message, e.Field = validationMessage(model.Errors)
	}
	if refined, ok := ctx.(*refinedContext); ok {
		refined.status = e.Status
	}
	ctx.SetHeader("Content-Type", "application/json")
	return errorBody{withID(ctx.Context(), e)}, nil
}

// validationMessage says what is wrong with each field, and names the first one.
func validationMessage(details []*huma.ErrorDetail) (message, field string) {
	const most = 5
	var problems []string
	for i, d := range details {
		if i == most {
			problems = append(problems, "…")
			break
		}
		where := d.Location
		for _, part := range []string{"body.", "query.", "path."} {
			where = strings.TrimPrefix(where, part)
		}
		problems = append(problems, strings.TrimPrefix(where+": ", ": ")+d.Message)
	}
	return "bad request: " + strings.Join(problems, "; "), details[0].Location
}

// spec is the finished description.
type spec struct {
	json []byte
	yaml []byte
}

// finishSpec renders the description once, without what huma adds for its own errors.
func finishSpec(api *huma.OpenAPI) (spec, error) {
	schemas := api.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	compact, err := json.Marshal(api)
	if err != nil {
		return spec{}, fmt.Errorf("describe the API: %w", err)
	}
	var pretty bytes.Buffer
	inJSON := json.Indent(&pretty, compact, "", "  ")
	yaml, inYAML := api.YAML()
	if err := errors.Join(inJSON, inYAML); err != nil {
		return spec{}, fmt.Errorf("describe the API: %w", err)
	}
	pretty.WriteByte('\n')
	return spec{json: pretty.Bytes(), yaml: yaml}, nil
}

func (s spec) serveJSON(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.json)
}

func (s spec) serveYAML(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(s.yaml)
}
