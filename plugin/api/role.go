package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// Role is what somebody may do: all that a lesser one may, and more.
type Role int

// The roles, from the least. Nobody is who did not say who he is.
const (
	Nobody Role = iota
	// monitor reads /metrics alone: whoever brings the token of metrics_token_file.
	monitor
	// Reader looks at everything and changes nothing.
	Reader
	// Operator also makes and deletes volumes, and looks after entries and the queue.
	Operator
	// Admin also does what concerns everybody: backends, hosts, the configuration, all entries at once.
	Admin
)

// Roles are those that a token or a certificate may have, by their words in the configuration.
func Roles() map[string]Role {
	return map[string]Role{"reader": Reader, "operator": Operator, "admin": Admin}
}

func (r Role) String() string {
	switch r {
	case Nobody:
		return "nobody"
	case monitor:
		return "monitor"
	case Reader:
		return "reader"
	case Operator:
		return "operator"
	case Admin:
		return "admin"
	}
	return fmt.Sprintf("role %d", int(r))
}

// Identity is who asks.
type Identity struct {
	Name string // a token's, a certificate's, or how he came; for people
	Role Role
}

// leastRole is what each route asks for. A route that is not in it is a mistake that NewServer reports.
func leastRole() map[string]Role {
	all := map[string]Role{
		"GET /healthz": Nobody, "GET /readyz": Nobody,
		"GET /metrics":         monitor,
		"/":                    Reader, // what is not there
		"GET /v1/openapi.json": Reader, "GET /v1/openapi.yaml": Reader,

		"GET /v1/volumes": Reader, "GET /v1/backends/{backend}/volumes": Reader, "GET /v1/loans": Reader,
		"GET /v1/entries": Reader, "GET /v1/entries/{id}": Reader, "GET /v1/entries/{id}/events": Reader,
		"GET /v1/volumes/{volume}/explain": Reader, "GET /v1/backends/{backend}/volumes/{volume}/explain": Reader,
		"GET /v1/fills": Reader, "GET /v1/report": Reader, "GET /v1/quota": Reader, "GET /v1/backends": Reader,
		"GET /v1/status": Reader, "GET /v1/events": Reader, "GET /v1/hosts": Reader,
		"GET /v1/queue": Reader, "GET /v1/sinks": Reader, "GET /v1/follow": Reader,

		"POST /v1/volumes": Operator, "POST /v1/backends/{backend}/volumes": Operator,
		"DELETE /v1/volumes/{volume}": Operator, "DELETE /v1/backends/{backend}/volumes/{volume}": Operator,
		"POST /v1/volumes/{volume}/keep": Operator, "POST /v1/backends/{backend}/volumes/{volume}/keep": Operator,
		"POST /v1/volumes/{volume}/flatten": Operator, "POST /v1/backends/{backend}/volumes/{volume}/flatten": Operator,
		"POST /v1/backends/{backend}/loans": Operator, "PUT /v1/backends/{backend}/loans": Operator, "PUT /v1/loans/{loan}": Operator,
		"POST /v1/loans/{loan}/renew": Operator, "POST /v1/loans/{loan}/keep": Operator,
		"DELETE /v1/entries/{id}": Operator, "POST /v1/entries/{id}/pin": Operator, "POST /v1/entries/{id}/unpin": Operator,
		"POST /v1/entries/{id}/revalidate": Operator,
		"POST /v1/prune":                   Operator, "POST /v1/clean": Operator, "POST /v1/check": Operator, "POST /v1/scrub": Operator,
		"POST /v1/prefetch": Operator, "DELETE /v1/queue": Operator, "DELETE /v1/queue/{id}": Operator,
		"POST /v1/queue/retry": Operator, "POST /v1/queue/{id}/retry": Operator, "POST /v1/follow/sweep": Operator,

		"DELETE /v1/entries": Admin, "DELETE /v1/hosts/{id}": Admin, "POST /v1/reload": Admin,
		"POST /v1/backends/{backend}/disable": Admin, "POST /v1/backends/{backend}/enable": Admin,
	}
	maps.Copy(all, pageRoles())
	return all
}

// doors registers routes, each behind the check of what it asks for. It is the mux that all routes go through.
type doors struct {
	*http.ServeMux
	server *Server
	least  map[string]Role
	wild   []string // routes that ask for no known role
}

// HandleFunc registers a route. The body of a request that is not let in is not kept: it costs no memory.
func (d *doors) HandleFunc(pattern string, handle func(http.ResponseWriter, *http.Request)) {
	least, known := d.least[pattern]
	if !known {
		d.wild = append(d.wild, pattern)
		return
	}
	d.ServeMux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := lets(r, least); err != nil {
			d.server.dropBody(r)
			d.server.turnAway(w, r, err)
			return
		}
		if err := d.server.takeBody(w, r); err != nil {
			d.server.refuse(w, r, err)
			return
		}
		handle(w, r.WithContext(context.WithValue(r.Context(), askedKey{}, r)))
	})
}

// complete tells of routes without a role.
func (d *doors) complete() error {
	if len(d.wild) > 0 {
		return fmt.Errorf("no role is set for %s", strings.Join(d.wild, ", "))
	}
	return nil
}

// lets tells what keeps a request from a route that asks for least; nil: nothing.
func lets(r *http.Request, least Role) error {
	who := identityOf(r.Context())
	switch {
	case who.Role >= least:
		return nil
	case who.Role < Reader:
		return unauthorized.answer("")
	}
	return forbiddenRole.answer(fmt.Sprintf("you are %s, and this needs the role %s; use a token or a certificate that has it", who, least))
}

func (i Identity) String() string { return fmt.Sprintf("%s with the role %s", i.Name, i.Role) }

// identityKey finds in a request's context who asks.
type identityKey struct{}

func identityOf(ctx context.Context) Identity {
	who, _ := ctx.Value(identityKey{}).(Identity)
	return who
}

// WithIdentity says who asks, for programs that serve a Server by themselves: it lets nobody in of whom it is not told.
func WithIdentity(ctx context.Context, who Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, who)
}
