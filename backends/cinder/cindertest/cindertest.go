// Package cindertest is a Cinder for tests: the answers of Cinder 21.3 to a member of one project, as they were recorded,
// with its quota, and those of Keystone as far as a token needs it. It fills volumes with images at once, and keeps no bytes.
package cindertest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// Type is a volume type that it has; DefaultType is the one that each Cinder has.
const (
	Type        = "lvm1"
	TypeID      = "1" // of Type
	DefaultType = "__DEFAULT__"
)

// showsTypeID is the first version of the API whose volumes tell the ID of their type.
const showsTypeID = "volume 3.63"

// Volume is one as Cinder's API shows it.
type Volume struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	Status      string            `json:"status"`
	Type        string            `json:"volume_type"`
	TypeID      string            `json:"volume_type_id,omitempty"`
	ImageRef    string            `json:"imageRef,omitempty"`
	Source      string            `json:"source_volid"`
	Metadata    map[string]string `json:"metadata"`
	Attachments []any             `json:"attachments"`
	Project     string            `json:"os-vol-tenant-attr:tenant_id,omitempty"`
	looks       int
}

// Cinder is the fake. Its fields may be changed by With alone.
type Cinder struct {
	*httptest.Server

	mu         sync.Mutex
	Volumes    map[string]*Volume
	MaxVolumes int64             // -1: unlimited
	Types      map[string]string // the names of the volume types, by ID
	Place      string            // where volumes are made, which the hook notes
	Making     int               // looks at a volume until it is made
	Failing    bool              // volumes end in error
	Hidden     map[string]bool   // images that the tenant may not read
	Busy       map[string]bool   // volumes, by ID, that the driver does not delete: they have clones
	Page       int               // most volumes in one answer
	Calls      []string

	NoTransfers bool                    // the member may make none
	AcceptFirst bool                    // whoever was offered a volume accepts just before the offer is withdrawn
	Admin       bool                    // the member administers the cloud too, and sees what he names in other projects
	Made        func(*http.Request)     // is told of each volume before its answer is given
	Coming      func(*http.Request) int // is told of each call before it is looked at, and may wait; else than 0: the call fails so
	Going       func(*http.Request)     // is told of each call once it was done, before its answer is given, and may wait
	transfers   map[string]transfer
	made        int // transfers

	MostTransfers int // in one answer: osapi_max_limit
}

// New starts one, until the test ends.
func New(t testing.TB) *Cinder {
	t.Helper()
	f := &Cinder{Volumes: map[string]*Volume{}, Hidden: map[string]bool{}, Types: map[string]string{TypeID: Type, "2": DefaultType}, MaxVolumes: -1, Page: 500, Making: 1, Place: "host@lvm#pool", transfers: map[string]transfer{}, MostTransfers: 1000}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", f.login)
	for pattern, handle := range map[string]http.HandlerFunc{
		"POST /v3/p/volumes":                       f.create,
		"GET /v3/p/volumes/detail":                 f.list,
		"GET /v3/p/volumes/{id}":                   f.get,
		"DELETE /v3/p/volumes/{id}":                f.remove,
		"POST /v3/p/volumes/{id}/action":           f.action,
		"POST /v3/p/volumes/{id}/metadata":         f.note,
		"DELETE /v3/p/volumes/{id}/metadata/{key}": f.unnote,
		"POST /v3/p/os-volume-transfer":            f.offer,
		"GET /v3/p/os-volume-transfer/detail":      f.listTransfers,
		"DELETE /v3/p/os-volume-transfer/{id}":     f.withdraw,
		"GET /v3/p/os-quota-sets/p":                f.quota,
		"GET /v3/p/types":                          f.types,
	} {
		mux.HandleFunc(pattern, f.alone(handle))
	}
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

// Account is the member's.
func (f *Cinder) Account(t testing.TB) *keystone.Account {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	account, err := keystone.New(keystone.Config{AuthURL: f.URL, User: "owner", Project: "cache", PasswordFile: file, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// With changes the fake, or looks at it, while nobody asks it.
func (f *Cinder) With(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// All are its volumes now, in the order of their IDs.
func (f *Cinder) All() []Volume {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Volume, 0, len(f.Volumes))
	for _, id := range slices.Sorted(maps.Keys(f.Volumes)) {
		v := *f.Volumes[id]
		v.Metadata = maps.Clone(v.Metadata)
		all = append(all, v)
	}
	return all
}

func (f *Cinder) login(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Subject-Token", "token")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"token":{"expires_at":%q,"user":{"id":"u","name":"owner"},"project":{"id":"p","name":"cache"},"roles":[{"name":"member"}],
		"catalog":[{"type":"volumev3","endpoints":[{"interface":"public","url":"%s/v3/p"}]}]}}`,
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339), f.URL)
}

// alone notes each call and serialises them.
func (f *Cinder) alone(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if status := f.coming(r); status != 0 {
			refuse(w, status, "computeFault", "The server is not answering now.")
			return
		}
		if going := f.do(handle, w, r); going != nil {
			going(r)
		}
	}
}

func (f *Cinder) do(handle http.HandlerFunc, w http.ResponseWriter, r *http.Request) (going func(*http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Calls = append(f.Calls, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v3/p/"))
	handle(w, r)
	return f.Going
}

func (f *Cinder) coming(r *http.Request) int {
	f.mu.Lock()
	coming := f.Coming
	f.mu.Unlock()
	if coming == nil {
		return 0
	}
	return coming(r)
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{%q:{"code":%d,"message":%q}}`, kind, status, message)
}

func (f *Cinder) create(w http.ResponseWriter, r *http.Request) {
	var body struct{ Volume Volume }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Volume.Size < 1 {
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid input")
		return
	}
	v := &body.Volume
	if utf8.RuneCountInString(v.Name) > longest || tooLong(v.Metadata) {
		refuse(w, http.StatusBadRequest, "badRequest", "name has more than 255 characters.")
		return
	}
	source := f.Volumes[v.Source]
	switch {
	case v.Source != "" && (source == nil || source.Status != "available"):
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid volume: source volume must be available or in-use.")
		return
	case v.Source != "":
		v.TypeID = source.TypeID
	case f.typeOf(v.Type) == "":
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume type with name "+v.Type+" could not be found.")
		return
	case f.Hidden[v.ImageRef]:
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid image identifier or unable to access requested image.")
		return
	}
	if f.MaxVolumes >= 0 && int64(len(f.Volumes)) >= f.MaxVolumes {
		refuse(w, http.StatusRequestEntityTooLarge, "overLimit", fmt.Sprintf("VolumeLimitExceeded: Maximum number of volumes allowed (%d) exceeded for quota 'volumes'.", f.MaxVolumes))
		return
	}
	if v.Source == "" {
		v.TypeID = f.typeOf(v.Type)
	}
	v.ID, v.Status, v.Attachments, v.Project = uuid.NewString(), "creating", []any{}, "p"
	if v.ImageRef != "" {
		v.Status = "downloading"
		v.Metadata["clonecache_place"] = f.Place
	}
	f.Volumes[v.ID] = v
	if f.Made != nil {
		f.Made(r)
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]any{"volume": f.shown(v, r)})
}

// typeOf is the ID of a volume type of that name, or ID; "": there is none.
func (f *Cinder) typeOf(name string) string {
	for id, is := range f.Types {
		if name == is || name == id {
			return id
		}
	}
	return ""
}

// shown is a volume as the version of the API that a request asks for shows it.
func (f *Cinder) shown(v *Volume, r *http.Request) Volume {
	out := *v
	out.Type = f.Types[v.TypeID]
	if r.Header.Get("OpenStack-API-Version") != showsTypeID {
		out.TypeID = ""
	}
	return out
}

// look lets time pass for a volume.
func (f *Cinder) look(v *Volume) {
	v.looks++
	switch {
	case v.Status == "deleting" && f.Busy[v.ID]: // VolumeIsBusy
		v.Status = "available"
	case v.Status == "deleting":
		delete(f.Volumes, v.ID)
	case (v.Status == "creating" || v.Status == "downloading") && v.looks > f.Making:
		v.Status = "available"
		if f.Failing {
			v.Status = "error"
		}
	}
}

// found is the volume that is asked for, or answers that there is none.
func (f *Cinder) found(w http.ResponseWriter, r *http.Request) *Volume {
	v := f.Volumes[r.PathValue("id")]
	if v == nil {
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume "+r.PathValue("id")+" could not be found.")
	}
	return v
}

func (f *Cinder) get(w http.ResponseWriter, r *http.Request) {
	if v := f.found(w, r); v != nil {
		_ = json.NewEncoder(w).Encode(map[string]any{"volume": f.shown(v, r)})
		f.look(v)
	}
}

func (f *Cinder) list(w http.ResponseWriter, r *http.Request) {
	found := []Volume{}
	wanted, ok := literal(cmp.Or(r.URL.Query().Get("metadata"), "{'':''}"))
	for _, id := range slices.Sorted(maps.Keys(f.Volumes)) {
		v := f.Volumes[id]
		same := ok && v.ID > r.URL.Query().Get("marker") && v.Project != othersProject
		for key, value := range wanted {
			same = same && v.Metadata[key] == value
		}
		if same {
			found = append(found, f.shown(v, r))
		}
	}
	body := map[string]any{"volumes": found}
	if len(found) > f.Page {
		found = found[:f.Page]
		q := r.URL.Query()
		q.Set("marker", found[len(found)-1].ID)
		next := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
		body = map[string]any{"volumes": found, "volumes_links": []any{map[string]string{"rel": "next", "href": f.URL + next.String()}}}
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (f *Cinder) remove(w http.ResponseWriter, r *http.Request) {
	v := f.found(w, r)
	switch {
	case v == nil:
	case v.Status != "available" && v.Status != "error":
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid volume: Volume status must be available or error")
	default:
		v.Status = "deleting"
		w.WriteHeader(http.StatusAccepted)
	}
}

func (f *Cinder) action(w http.ResponseWriter, r *http.Request) {
	v := f.found(w, r)
	if v == nil {
		return
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	for name := range body {
		f.Calls[len(f.Calls)-1] += " " + name
		if name == "os-update_readonly_flag" {
			v.Metadata["readonly"] = "True"
		} else {
			v.Status = "attaching"
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

func (f *Cinder) note(w http.ResponseWriter, r *http.Request) {
	v := f.found(w, r)
	if v == nil {
		return
	}
	var body struct{ Metadata map[string]string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	if tooLong(body.Metadata) {
		refuse(w, http.StatusBadRequest, "badRequest", "Metadata property value greater than 255 characters.")
		return
	}
	maps.Copy(v.Metadata, body.Metadata)
	_ = json.NewEncoder(w).Encode(map[string]any{"metadata": v.Metadata})
}

func (f *Cinder) unnote(w http.ResponseWriter, r *http.Request) {
	v := f.found(w, r)
	if v == nil {
		return
	}
	if _, there := v.Metadata[r.PathValue("key")]; !there {
		refuse(w, http.StatusNotFound, "itemNotFound", "Metadata could not be found.")
		return
	}
	delete(v.Metadata, r.PathValue("key"))
}

func (f *Cinder) quota(w http.ResponseWriter, _ *http.Request) {
	gigabytes := int64(0)
	for _, v := range f.Volumes {
		gigabytes += v.Size
	}
	fmt.Fprintf(w, `{"quota_set":{"id":"p","volumes":{"limit":%d,"in_use":%d,"reserved":0},"gigabytes":{"limit":-1,"in_use":%d,"reserved":0}}}`,
		f.MaxVolumes, len(f.Volumes), gigabytes)
}

func (f *Cinder) types(w http.ResponseWriter, _ *http.Request) {
	types := []any{}
	for _, id := range slices.Sorted(maps.Keys(f.Types)) {
		types = append(types, map[string]any{"id": id, "name": f.Types[id], "is_public": true, "extra_specs": map[string]string{}})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"volume_types": types})
}
