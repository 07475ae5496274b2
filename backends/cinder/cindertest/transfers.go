package cindertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// transfer is one that nobody has accepted.
type transfer struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	VolumeID string `json:"volume_id"`
	key      string
	number   int // in the order in which they were made
}

// othersProject is the project that takes volumes over.
const othersProject = "p-other"

// Accept takes a volume over into another project, as whoever was told of the transfer and its key.
func (f *Cinder) Accept(id, key string) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accept(id, key)
}

func (f *Cinder) accept(id, key string) (Volume, error) {
	t, there := f.transfers[id]
	if !there || t.key != key {
		return Volume{}, fmt.Errorf("transfer %s is none, or has another key", id)
	}
	v := f.Volumes[t.VolumeID]
	v.Status, v.Project = "available", othersProject
	delete(f.transfers, id)
	if !f.Admin {
		delete(f.Volumes, t.VolumeID)
	}
	return *v, nil
}

// Offered is how many transfers wait to be accepted.
func (f *Cinder) Offered() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.transfers)
}

func (f *Cinder) offer(w http.ResponseWriter, r *http.Request) {
	var body struct{ Transfer transfer }
	_ = json.NewDecoder(r.Body).Decode(&body)
	t := body.Transfer
	v := f.Volumes[t.VolumeID]
	switch {
	case f.NoTransfers:
		refuse(w, http.StatusForbidden, "forbidden", "Policy doesn't allow volume:create_transfer to be performed.")
	case v == nil:
		refuse(w, http.StatusNotFound, "itemNotFound", "Volume "+t.VolumeID+" could not be found.")
	case v.Status != "available":
		refuse(w, http.StatusBadRequest, "badRequest", "Invalid volume: status must be available")
	default:
		t.ID, t.key = uuid.NewString(), strings.ReplaceAll(uuid.NewString(), "-", "")[:16]
		f.made++
		t.number = f.made
		f.transfers[t.ID], v.Status = t, "awaiting-transfer"
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"transfer":{"id":%q,"name":%q,"volume_id":%q,"auth_key":%q,"created_at":"2026-11-20T13:15:24.566449","links":[]}}`, t.ID, t.Name, t.VolumeID, t.key)
	}
}

// listTransfers does as Cinder's API before 3.59: what is asked for is a filter, the oldest go first, and no more than osapi_max_limit
// are told of. A filter that is no column finds none.
func (f *Cinder) listTransfers(w http.ResponseWriter, r *http.Request) {
	all := []transfer{}
	for _, t := range f.transfers {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b transfer) int { return a.number - b.number })
	for key, values := range r.URL.Query() {
		all = slices.DeleteFunc(all, func(t transfer) bool { return key != "volume_id" || t.VolumeID != values[0] })
	}
	all = all[:min(len(all), f.MostTransfers)]
	_ = json.NewEncoder(w).Encode(map[string]any{"transfers": all})
}

func (f *Cinder) withdraw(w http.ResponseWriter, r *http.Request) {
	t, there := f.transfers[r.PathValue("id")]
	if there && f.AcceptFirst {
		_, _ = f.accept(t.ID, t.key)
		there = false
	}
	if !there {
		refuse(w, http.StatusNotFound, "itemNotFound", "Transfer "+r.PathValue("id")+" could not be found.")
		return
	}
	delete(f.transfers, t.ID)
	f.Volumes[t.VolumeID].Status = "available"
	w.WriteHeader(http.StatusAccepted)
}
