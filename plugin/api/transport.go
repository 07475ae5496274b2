package api

import "net/http"

// transport are the answers that come before any route's work: of no error of the packages below, but in
// the documentation beside those.
var (
	noSuchRoute = row{code: "no_such_route", status: http.StatusNotFound, retry: final,
		sentence: "there is no such path, or not with this method; see /v1/openapi.json"}
	bodyTooLarge = row{code: "body_too_large", status: http.StatusRequestEntityTooLarge, retry: final,
		sentence: "the request's body has more than 64 KiB; that of a prefetch more than 8 MiB, or than 20,000 values"}
	bodyTimeout = row{code: "body_timeout", status: http.StatusRequestTimeout, retry: later,
		sentence: "the request's body did not arrive in time; send it at once, within 10 s"}
	crossOrigin = row{code: "cross_origin", status: http.StatusForbidden, retry: final,
		sentence: "requests of other sites' pages are refused"}
	wrongHost = row{code: "wrong_host", status: http.StatusForbidden, retry: final,
		sentence: "this address answers only to localhost, 127.0.0.1 or [::1]; use one of these in the URL"}
	unauthorized = row{code: "unauthorized", status: http.StatusUnauthorized, retry: final,
		sentence: "this address needs the daemon's token (Authorization: Bearer …), and got none or another one; give the content of its token_file, or, where it has [api.keystone], a valid token of Keystone in X-Auth-Token"}
	forbiddenRole = row{code: "role_too_low", status: http.StatusForbidden, retry: final,
		sentence: "your token or certificate has a role that may not do this; use one whose role may (reader, operator, admin)"}
	guestsAway = row{code: "keystone_unavailable", status: http.StatusServiceUnavailable, retry: later,
		sentence: "Keystone does not say whose the token in X-Auth-Token is; try again later, or come with a token of the daemon's own or a certificate"}
	starting = row{code: "starting", status: http.StatusServiceUnavailable, retry: later,
		sentence: "the daemon is starting and settles what an earlier one left; try again in a moment"}
)

// documented are all codes that the API answers, in the order of the documentation.
func documented() []row {
	all := append([]row{}, table...)
	return append(all, noSuchRoute, bodyTooLarge, bodyTimeout, crossOrigin, wrongHost, unauthorized, forbiddenRole, guestsAway, starting, internal)
}

// answer is the row as an error, with its own sentence or a better one.
func (r row) answer(better string) *Error {
	e := &Error{Code: r.code, Message: r.sentence, Status: r.status, Retryable: bool(r.retry)}
	if better != "" {
		e.Message = better
	}
	return e
}
