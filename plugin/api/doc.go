// Package api serves the plugin over HTTP, on a unix socket or TCP, and is the client of that: wire
// types, routes, client and the one table of errors live here together, so that both ends change
// together.
//
// All routes lie under /v1 and are described by /v1/openapi.json; the storage driver's hook is
// POST /v1/backends/{backend}/volumes. /healthz, /readyz and /metrics are beside it. The package keeps
// no state: a crash leaves nothing of it but a stale socket, which Listen replaces.
package api
