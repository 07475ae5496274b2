package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/report"
)

// ClientConfig says how to reach a daemon. The zero value does for a unix socket.
type ClientConfig struct {
	// TokenFile holds the bearer token that the daemon asks for on TCP. "": none.
	TokenFile string
	// KeystoneTokenFile holds a token of Keystone's, for a daemon that lets those in whom Keystone knows. Images are read
	// with its right, too. "": none.
	KeystoneTokenFile string
	// CAFile holds the PEM certificates that the daemon's certificate is checked against. "": the
	// system's.
	CAFile string
	// CertFile and KeyFile are the client's own certificate and its key, PEM, for a daemon that knows clients by these.
	CertFile string
	KeyFile  string
}

// Client calls a daemon. Its methods may be used from several goroutines; each returns an *Error, or
// ctx's error where the caller gave up.
type Client struct {
	http  *http.Client
	base  string // without a trailing slash
	where string // the server as the user named it, for messages
	token token
	guest token // Keystone's
}

// NewClient makes a client for serverURL: unix:///path/to.sock, http://host:port or
// https://host:port. It does not connect yet.
func NewClient(serverURL string, cfg ClientConfig) (*Client, error) {
	target, err := parseServer(serverURL)
	if err != nil {
		return nil, err
	}
	secret, err := readToken(cfg.TokenFile)
	if err != nil {
		return nil, err
	}
	guest, err := readToken(cfg.KeystoneTokenFile)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(target, cfg)
	if err != nil {
		return nil, err
	}
	caller := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Client{http: caller, base: target.base, where: serverURL, token: secret, guest: guest}, nil
}

// CreateVolume asks for a volume and waits for it. onProgress, if not nil, is told how far a fill or a
// copy has come, from the calling goroutine. When ctx ends, the daemon gives the request up, and what
// it made is removed. An answer with outcome bypassed is no error.
func (c *Client) CreateVolume(ctx context.Context, r CreateRequest, onProgress func(plugin.Progress)) (plugin.Answer, error) {
	req := call{method: http.MethodPost, path: "/v1/volumes", body: createAnyBody{CreateBody: r.body()}, token: r.Token}
	if r.Backend != "" {
		req = call{method: http.MethodPost, path: volumesPath(r.Backend), body: r.body(), token: r.Token}
	}
	if onProgress == nil {
		return fetch[plugin.Answer](ctx, c, req)
	}
	return streamed(ctx, c, req, func(line createLine) (*plugin.Answer, *Error) {
		if line.Progress != nil {
			onProgress(*line.Progress)
		}
		return line.Answer, line.Error
	})
}

// Volumes lists the volumes that clonecache made on one backend; "" is all backends. Where some of all do not
// answer, the others' volumes come beside an *Error with code backend_unavailable that names them.
func (c *Client) Volumes(ctx context.Context, backend backends.Name) ([]plugin.VolumeView, error) {
	req := call{method: http.MethodGet, path: "/v1/volumes"}
	if backend != "" {
		req.path = volumesPath(backend)
	}
	resp, err := c.send(ctx, req, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var volumes []plugin.VolumeView
	if err := json.NewDecoder(resp.Body).Decode(&volumes); err != nil {
		return nil, c.lost(ctx, err)
	}
	if names := resp.Header.Get("Clonecache-Unavailable"); names != "" {
		return volumes, &Error{Code: "backend_unavailable", Status: http.StatusServiceUnavailable, Retryable: true,
			Message: "left out, since they do not answer: " + names + "; `clonecache backend list` says why"}
	}
	return volumes, nil
}

// DeleteVolume deletes a volume that clonecache made; backend "" is the only one.
func (c *Client) DeleteVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	req := call{method: http.MethodDelete, path: "/v1/volumes/" + url.PathEscape(string(volume))}
	if backend != "" {
		req.path = volumesPath(backend) + "/" + url.PathEscape(string(volume))
	}
	_, err := fetch[struct{}](ctx, c, req)
	return err
}

// KeepVolume says that a volume which was kept is wanted; backend "" is the only one.
func (c *Client) KeepVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	path := "/v1/volumes/"
	if backend != "" {
		path = volumesPath(backend) + "/"
	}
	_, err := fetch[struct{}](ctx, c, call{method: http.MethodPost, path: path + url.PathEscape(string(volume)) + "/keep"})
	return err
}

// FlattenVolume copies into a volume what it still shares; backend "" is the only one. onProgress may be nil.
func (c *Client) FlattenVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName, onProgress func(FlattenProgress)) (plugin.Flattened, error) {
	path := "/v1/volumes/"
	if backend != "" {
		path = volumesPath(backend) + "/"
	}
	req := call{method: http.MethodPost, path: path + url.PathEscape(string(volume)) + "/flatten"}
	return streamed(ctx, c, req, func(line flattenLine) (*plugin.Flattened, *Error) {
		if line.Progress != nil && onProgress != nil {
			onProgress(*line.Progress)
		}
		return line.Result, line.Error
	})
}

// Entries lists cache entries in the order that is asked for.
func (c *Client) Entries(ctx context.Context, f plugin.EntryFilter) ([]plugin.EntryView, error) {
	query := url.Values{}
	setQuery(query, "backend", string(f.Backend))
	setQuery(query, "state", f.State)
	setQuery(query, "image", f.ImageID)
	setQuery(query, "contains", f.Contains)
	setQuery(query, "sort", string(f.Sort))
	setQuery(query, "after", f.After)
	if f.Limit > 0 {
		query.Set("limit", strconv.Itoa(f.Limit))
	}
	return fetch[[]plugin.EntryView](ctx, c, call{method: http.MethodGet, path: "/v1/entries", query: query})
}

// Entry describes one entry; id may be a unique prefix of at least 4 characters.
func (c *Client) Entry(ctx context.Context, id string) (plugin.EntryView, error) {
	return fetch[plugin.EntryView](ctx, c, call{method: http.MethodGet, path: entryPath(id)})
}

// DeleteEntry evicts one entry; id may be a unique prefix. Without force one that has live clones is
// refused with code has_clones.
func (c *Client) DeleteEntry(ctx context.Context, id string, force plugin.ForceDetach) (plugin.PruneResult, error) {
	return fetch[plugin.PruneResult](ctx, c, call{method: http.MethodDelete, path: entryPath(id), query: forceQuery(force)})
}

// DeleteAllEntries evicts all entries of a backend or file cache; "" is all of them.
func (c *Client) DeleteAllEntries(ctx context.Context, backend backends.Name, force plugin.ForceDetach) (plugin.PruneResult, error) {
	query := forceQuery(force)
	setQuery(query, "backend", string(backend))
	return fetch[plugin.PruneResult](ctx, c, call{method: http.MethodDelete, path: "/v1/entries", query: query})
}

// DeleteSupersededEntries evicts the entries of a backend or file cache, "" is all of them, whose image has other
// content by now or is gone.
func (c *Client) DeleteSupersededEntries(ctx context.Context, backend backends.Name, force plugin.ForceDetach) (plugin.PruneResult, error) {
	query := forceQuery(force)
	setQuery(query, "backend", string(backend))
	setFlag(query, "superseded", true)
	return fetch[plugin.PruneResult](ctx, c, call{method: http.MethodDelete, path: "/v1/entries", query: query})
}

// PlanDeletion tells in Planned what a deletion of many entries would remove, and what it would leave and why.
func (c *Client) PlanDeletion(ctx context.Context, d plugin.Deletion) (plugin.PruneResult, error) {
	query := forceQuery(d.Force)
	setQuery(query, "backend", string(d.Backend))
	setFlag(query, "superseded", d.Superseded)
	setFlag(query, "dry_run", true)
	return fetch[plugin.PruneResult](ctx, c, call{method: http.MethodDelete, path: "/v1/entries", query: query})
}

// SetPinned pins or unpins an entry; id may be a unique prefix.
func (c *Client) SetPinned(ctx context.Context, id string, pin plugin.Pinning) (plugin.EntryView, error) {
	verb := "/unpin"
	if pin {
		verb = "/pin"
	}
	return fetch[plugin.EntryView](ctx, c, call{method: http.MethodPost, path: entryPath(id) + verb})
}

// Revalidate has the daemon read and inspect an entry's bytes again; id may be a unique prefix.
func (c *Client) Revalidate(ctx context.Context, id string) (plugin.Revalidated, error) {
	return fetch[plugin.Revalidated](ctx, c, call{method: http.MethodPost, path: entryPath(id) + "/revalidate"})
}

// Fills lists the fills in flight.
func (c *Client) Fills(ctx context.Context) ([]plugin.FillView, error) {
	return fetch[[]plugin.FillView](ctx, c, call{method: http.MethodGet, path: "/v1/fills"})
}

// Report computes the clone-cache report. backend "" is all; since is a span back from now ("24h",
// "7d"), an RFC 3339 time, or "" for the beginning.
func (c *Client) Report(ctx context.Context, backend backends.Name, since string) (report.Report, error) {
	return c.ReportOf(ctx, ReportRequest{Backend: backend, Since: since})
}

// ReportRequest says what a report is of.
type ReportRequest struct {
	Backend      backends.Name // "": all
	By           report.By     // report.ByHost, report.ByProject: what each did, too
	Since, Until string        // spans back from now, or RFC 3339 times; "": the beginning, and now
}

// ReportOf computes the clone-cache report of a span of time.
func (c *Client) ReportOf(ctx context.Context, r ReportRequest) (report.Report, error) {
	query := url.Values{}
	setQuery(query, "backend", string(r.Backend))
	setQuery(query, "since", r.Since)
	setQuery(query, "until", r.Until)
	setQuery(query, "by", string(r.By))
	return fetch[report.Report](ctx, c, call{method: http.MethodGet, path: "/v1/report", query: query})
}

// Quota is the internal tenant's use.
func (c *Client) Quota(ctx context.Context) (plugin.Quota, error) {
	return fetch[plugin.Quota](ctx, c, call{method: http.MethodGet, path: "/v1/quota"})
}

// Backends lists backends and file caches.
func (c *Client) Backends(ctx context.Context) ([]plugin.BackendView, error) {
	return fetch[[]plugin.BackendView](ctx, c, call{method: http.MethodGet, path: "/v1/backends"})
}

// Events lists what happened, oldest first.
func (c *Client) Events(ctx context.Context, r EventsRequest) ([]plugin.Event, error) {
	query := r.query()
	if r.Limit > 0 {
		query.Set("limit", strconv.Itoa(r.Limit))
	}
	return fetch[[]plugin.Event](ctx, c, call{method: http.MethodGet, path: "/v1/events", query: query})
}

// FollowEvents calls take, from the calling goroutine, for what has happened, oldest first, and then for
// each new event, until take returns an error, ctx ends, or the daemon stops: code "stopping", or
// CodeDaemonUnreachable where it is killed. Who follows again asks for what came since the last ID.
func (c *Client) FollowEvents(ctx context.Context, r EventsRequest, take func(plugin.Event) error) error {
	query := r.query()
	query.Set("follow", "true")
	resp, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/events", query: query}, ndjson)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var line eventLine
		if err := lines.Decode(&line); err != nil {
			return c.lost(ctx, err)
		}
		if line.Error != nil {
			return line.Error
		}
		if line.Event == nil { // of a later version
			continue
		}
		if err := take(*line.Event); err != nil {
			return err
		}
	}
}

// Prune brings every store back within its bounds and removes what is idle for too long.
func (c *Client) Prune(ctx context.Context) (plugin.PruneResult, error) {
	return fetch[plugin.PruneResult](ctx, c, call{method: http.MethodPost, path: "/v1/prune"})
}

// PlanPrune tells in Planned what Prune would remove, and why.
func (c *Client) PlanPrune(ctx context.Context) (plugin.PruneResult, error) {
	return fetch[plugin.PruneResult](ctx, c, call{method: http.MethodPost, path: "/v1/prune", query: url.Values{"dry_run": {"true"}}})
}

// Clean removes what no longer serves anything: failed fills, leftovers, detached image-volumes whose
// last clone is gone.
func (c *Client) Clean(ctx context.Context) (plugin.CleanResult, error) {
	return fetch[plugin.CleanResult](ctx, c, call{method: http.MethodPost, path: "/v1/clean"})
}

// PlanClean tells in Planned what Clean would remove, and why.
func (c *Client) PlanClean(ctx context.Context) (plugin.CleanResult, error) {
	return fetch[plugin.CleanResult](ctx, c, call{method: http.MethodPost, path: "/v1/clean", query: url.Values{"dry_run": {"true"}}})
}

// Check compares catalog, backends and quota. onProgress, if not nil, hears how far a deep check has
// come, from the calling goroutine.
func (c *Client) Check(ctx context.Context, r CheckRequest, onProgress func(CheckProgress)) (plugin.CheckResult, error) {
	query := url.Values{}
	setFlag(query, "repair", r.Repair)
	setFlag(query, "deep", r.Deep)
	req := call{method: http.MethodPost, path: "/v1/check", query: query}
	if onProgress == nil {
		return fetch[plugin.CheckResult](ctx, c, req)
	}
	return streamed(ctx, c, req, func(line checkLine) (*plugin.CheckResult, *Error) {
		if line.Progress != nil {
			onProgress(*line.Progress)
		}
		return line.Result, line.Error
	})
}

// Hosts lists the daemons that use the catalog.
func (c *Client) Hosts(ctx context.Context) ([]plugin.HostView, error) {
	return fetch[[]plugin.HostView](ctx, c, call{method: http.MethodGet, path: "/v1/hosts"})
}

// RemoveHost forgets a daemon that is gone for good, and returns it as it was.
func (c *Client) RemoveHost(ctx context.Context, id string) (plugin.HostView, error) {
	return fetch[plugin.HostView](ctx, c, call{method: http.MethodDelete, path: "/v1/hosts/" + url.PathEscape(id)})
}

// Status tells how the daemon is.
func (c *Client) Status(ctx context.Context) (plugin.Status, error) {
	return fetch[plugin.Status](ctx, c, call{method: http.MethodGet, path: "/v1/status"})
}

// Ready returns nil once the daemon serves requests.
func (c *Client) Ready(ctx context.Context) error {
	_, err := fetch[struct{}](ctx, c, call{method: http.MethodGet, path: "/readyz"})
	return err
}

func volumesPath(backend backends.Name) string {
	return "/v1/backends/" + url.PathEscape(string(backend)) + "/volumes"
}

func entryPath(id string) string { return "/v1/entries/" + url.PathEscape(id) }

func forceQuery(force plugin.ForceDetach) url.Values {
	query := url.Values{}
	setFlag(query, "force", bool(force))
	return query
}

func setQuery(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}
