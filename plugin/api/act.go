package api

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// changes tells whether an operation is noted with who asked for it. Requests for volumes, and what becomes of loans,
// are not: they have events of their own, and there are very many.
func changes(op huma.Operation) bool {
	switch op.OperationID {
	case "create-volume", "create-volume-anywhere", "lend-image-volume", "end-loan", "renew-loan", "keep-loan", "end-loans-of-place":
		return false
	}
	return op.Method != http.MethodGet
}

// askedKey finds the request in its own context.
type askedKey struct{}

// entryOf is the whole ID of the entry that an answer is about; "" where that is none, or several.
func entryOf(answer any) string {
	switch a := answer.(type) {
	case *output[plugin.EntryView]:
		return a.Body.ID
	case *output[plugin.Revalidated]:
		return a.Body.Entry.ID
	case *output[plugin.PruneResult]:
		if len(a.Body.Removed) == 1 {
			return a.Body.Removed[0].ID
		}
	}
	return ""
}

// act is what somebody has asked for. entry is what it was done to: its path may have a part of that ID.
func act(ctx context.Context, op huma.Operation, entry string) plugin.Act {
	a := plugin.Act{Who: identityOf(ctx).Name, What: op.OperationID}
	r, ok := ctx.Value(askedKey{}).(*http.Request)
	if !ok {
		return a
	}
	a.What += " " + shown(r.URL)
	a.Backend, a.Volume = backends.Name(r.PathValue("backend")), backends.VolumeName(r.PathValue("volume"))
	if strings.HasPrefix(op.Path, "/v1/entries/{id}") {
		a.EntryID = cmp.Or(entry, r.PathValue("id"))
	}
	return a
}

// shown is a request's path with its query: neither has secrets.
func shown(u *url.URL) string {
	if u.RawQuery == "" {
		return u.Path
	}
	return u.Path + "?" + u.RawQuery
}
