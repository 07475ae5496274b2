package openstack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// fakeCinder speaks the recorded answers of Cinder 21.3, with its quota, to a member of one project; and
// those of Keystone, as far as a token needs it.
type fakeCinder struct {
	*httptest.Server

	mu         sync.Mutex
	volumes    map[string]*fakeVolume
	maxVolumes int64 // -1: unlimited
	maxGiB     int64
	page       int // most volumes in one answer

	making  int           // looks at a volume until it is made; -1: it never is
	failing bool          // volumes end in error
	waited  chan struct{} // closed at the third look at a volume
	lose    bool          // the answer to the next create is lost
	down    bool          // 503 to everything
	raced   bool          // somebody else deletes a volume just before it is asked for
	calls   []string
	deny    map[string]fault // by "METHOD path-suffix"
	roles   string
}

type fault struct {
	status int
	body   string
}

type fakeVolume struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	Status      string            `json:"status"`
	Type        string            `json:"volume_type"`
	Metadata    map[string]string `json:"metadata"`
	Attachments []any             `json:"attachments"`
	looks       int
}

func newFake(t *testing.T) *fakeCinder {
	t.Helper()
	f := &fakeCinder{volumes: map[string]*fakeVolume{}, maxVolumes: -1, maxGiB: -1, page: 500, deny: map[string]fault{}, roles: `{"name":"member"}`}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", f.login)
	for pattern, handle := range map[string]http.HandlerFunc{
		"POST /v3/p/volumes":               f.create,
		"GET /v3/p/volumes/detail":         f.list,
		"GET /v3/p/volumes/{id}":           f.get,
		"DELETE /v3/p/volumes/{id}":        f.remove,
		"POST /v3/p/volumes/{id}/action":   f.action,
		"POST /v3/p/volumes/{id}/metadata": f.metadata,
		"GET /v3/p/os-quota-sets/p":        f.quota,
		"GET /v3/p/types":                  f.types,
	} {
		mux.HandleFunc(pattern, f.guarded(handle))
	}
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeCinder) login(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Subject-Token", "token")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"token":{"expires_at":%q,"user":{"id":"u","name":"owner"},"project":{"id":"p","name":"cache"},"roles":[%s],
		"catalog":[{"type":"volumev3","endpoints":[{"interface":"public","url":"%s/v3/p"}]}]}}`,
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339), f.roles, f.URL)
}

// guarded notes each call, serialises them, and answers with the faults that were asked for.
func (f *fakeCinder) guarded(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		call := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v3/p/")
		f.calls = append(f.calls, call)
		for suffix, answer := range f.deny {
			if strings.HasPrefix(call, strings.Fields(suffix)[0]) && strings.HasSuffix(call, strings.Fields(suffix)[1]) {
				w.WriteHeader(answer.status)
				fmt.Fprint(w, answer.body)
				return
			}
		}
		if f.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		handle(w, r)
	}
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{%q:{"code":%d,"message":%q}}`, kind, status, message)
}

func (f *fakeCinder) used() (volumes, gigabytes int64) {
	for _, v := range f.volumes {
		volumes, gigabytes = volumes+1, gigabytes+v.Size
	}
	return volumes, gigabytes
}

func (f *fakeCinder) create(w http.ResponseWriter, r *http.Request) {
	var body struct{ Volume fakeVolume }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Volume.Size < 1 {
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid input")
		return
	}
	v := &body.Volume
	volumes, gigabytes := f.used()
	switch {
	case !slices.Contains([]string{"rbd1", "rbd2"}, v.Type):
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume type with name "+v.Type+" could not be found.")
		return
	case f.maxGiB >= 0 && gigabytes+v.Size > f.maxGiB:
		refuse(w, http.StatusRequestEntityTooLarge, "overLimit", fmt.Sprintf("VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested %dG, quota is %dG and %dG has been consumed.", v.Size, f.maxGiB, gigabytes))
		return
	case f.maxVolumes >= 0 && volumes+1 > f.maxVolumes:
		refuse(w, http.StatusRequestEntityTooLarge, "overLimit", fmt.Sprintf("VolumeLimitExceeded: Maximum number of volumes allowed (%d) exceeded for quota 'volumes'.", f.maxVolumes))
		return
	}
	v.ID, v.Status, v.Attachments = uuid.NewString(), "creating", []any{}
	f.volumes[v.ID] = v
	if f.lose {
		f.lose = false
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]any{"volume": v})
}

// look lets time pass for a volume.
func (f *fakeCinder) look(v *fakeVolume) {
	v.looks++
	if f.waited != nil && v.looks == 3 {
		close(f.waited)
	}
	switch {
	case v.Status == "creating" && f.making >= 0 && v.looks > f.making && f.failing:
		v.Status = "error"
	case v.Status == "creating" && f.making >= 0 && v.looks > f.making:
		v.Status = "available"
	case v.Status == "deleting":
		delete(f.volumes, v.ID)
	}
}

func (f *fakeCinder) get(w http.ResponseWriter, r *http.Request) {
	v := f.volumes[r.PathValue("id")]
	if v == nil {
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume could not be found.")
		return
	}
	f.look(v)
	_ = json.NewEncoder(w).Encode(map[string]any{"volume": v})
}

// pairs reads what gophercloud makes of a map: {'a':'b', 'c':'d'}.
var pairs = regexp.MustCompile(`'([^']*)':'([^']*)'`)

func (f *fakeCinder) list(w http.ResponseWriter, r *http.Request) {
	found := []*fakeVolume{}
	for _, v := range f.volumes {
		same := true
		for _, m := range pairs.FindAllStringSubmatch(r.URL.Query().Get("metadata"), -1) {
			same = same && v.Metadata[m[1]] == m[2]
		}
		if same {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b *fakeVolume) int { return strings.Compare(a.ID, b.ID) })
	if marker := r.URL.Query().Get("marker"); marker != "" {
		found = slices.DeleteFunc(found, func(v *fakeVolume) bool { return v.ID <= marker })
	}
	body := map[string]any{"volumes": found}
	if len(found) > f.page {
		found = found[:f.page]
		q := r.URL.Query()
		q.Set("marker", found[len(found)-1].ID)
		next := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
		body = map[string]any{"volumes": found, "volumes_links": []any{map[string]string{"rel": "next", "href": f.URL + next.String()}}}
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (f *fakeCinder) remove(w http.ResponseWriter, r *http.Request) {
	v := f.volumes[r.PathValue("id")]
	if v != nil && f.raced {
		v.Status = "deleting"
	}
	switch {
	case v == nil:
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume could not be found.")
	case v.Status != "available" && v.Status != "error":
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid volume: Volume status must be available or error")
	default:
		v.Status = "deleting"
		w.WriteHeader(http.StatusAccepted)
	}
}

func (f *fakeCinder) action(w http.ResponseWriter, r *http.Request) {
	v := f.volumes[r.PathValue("id")]
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	if v == nil {
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume could not be found.")
		return
	}
	var from, to string
	for name := range body {
		f.calls[len(f.calls)-1] += " " + name
		switch name {
		case "os-update_readonly_flag":
			from, to = "available", "available"
			v.Metadata["readonly"] = "True"
		case "os-reserve":
			from, to = "available", "attaching"
		case "os-unreserve":
			from, to = "attaching", "available"
		}
	}
	if v.Status != from {
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid volume: status is "+v.Status)
		return
	}
	v.Status = to
	w.WriteHeader(http.StatusAccepted)
}

func (f *fakeCinder) metadata(w http.ResponseWriter, r *http.Request) {
	v := f.volumes[r.PathValue("id")]
	var body struct{ Metadata map[string]string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	if v == nil {
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume could not be found.")
		return
	}
	for k, value := range body.Metadata {
		v.Metadata[k] = value
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"metadata": v.Metadata})
}

func (f *fakeCinder) quota(w http.ResponseWriter, _ *http.Request) {
	volumes, gigabytes := f.used()
	fmt.Fprintf(w, `{"quota_set":{"id":"p","volumes":{"limit":%d,"in_use":%d,"reserved":0},"gigabytes":{"limit":%d,"in_use":%d,"reserved":0},
		"volumes_rbd1":{"limit":-1,"in_use":%[2]d,"reserved":0},"volumes_rbd2":{"limit":0,"in_use":0,"reserved":0},"backups":{"limit":10,"in_use":0,"reserved":0}}}`,
		f.maxVolumes, volumes, f.maxGiB, gigabytes)
}

func (f *fakeCinder) types(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, `{"volume_types":[{"id":"1","name":"rbd1","is_public":true,"extra_specs":{}},{"id":"2","name":"rbd2","is_public":true,"extra_specs":{}}]}`)
}

// seen are the calls that begin so.
func (f *fakeCinder) seen(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []string
	for _, c := range f.calls {
		if strings.HasPrefix(c, prefix) {
			found = append(found, c)
		}
	}
	return found
}

// with changes the fake while nobody asks it.
func (f *fakeCinder) with(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// config is that of a tenant with two backends that adopt.
func (f *fakeCinder) config(t testing.TB) Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	account, err := keystone.New(keystone.Config{AuthURL: f.URL, User: "owner", Project: "cache", PasswordFile: file, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	others, err := internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "local", UserID: "local", MaxVolumes: 1}, &internaltenant.MemoryLedger{})
	if err != nil {
		t.Fatal(err)
	}
	return Config{Account: account, Catalog: ownCatalog, Others: others, Patience: 10 * time.Second, Backends: []Backend{{Name: "local", VolumeType: "rbd1"}, {Name: "second", VolumeType: "rbd2"}}}
}

func (f *fakeCinder) owner(t testing.TB) *Owner {
	t.Helper()
	o, err := New(f.config(t))
	if err != nil {
		t.Fatal(err)
	}
	return o
}
