//go:build openstack

package openstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// cloud is OpenStack as one user sees it. Its methods may be used from several goroutines.
type cloud struct {
	token, project string
}

// login asks Keystone for a token of a user in the project of the same name.
func login(tb testing.TB, user string) *cloud {
	tb.Helper()
	domain := object{"id": "default"}
	body := object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{
			"user": object{"name": user, "domain": domain, "password": "secret"}}},
		"scope": object{"project": object{"name": user, "domain": domain}},
	}}
	var answer struct {
		Token struct {
			Project struct{ ID string }
		}
	}
	c := &cloud{}
	header := c.must(tb, call{"POST", lab.url(0, "/v3/auth/tokens"), body}, &answer)
	c.token, c.project = header.Get("X-Subject-Token"), answer.Token.Project.ID
	return c
}

type object map[string]any

type call struct {
	method, url string
	body        any // an io.Reader is sent as it is
}

func (l theLab) url(service int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", l.port+service, path)
}

func glanceURL(path string) string { return lab.url(1, "/v2/images"+path) }

func (c *cloud) cinderURL(path string) string { return lab.url(2, "/v3/"+c.project+path) }

// try makes a call and reads the answer into into, unless it is nil or the answer is a refusal.
func (c *cloud) try(tb testing.TB, r call, into any) (status int, refusal string, header http.Header) {
	tb.Helper()
	body, kind := io.Reader(nil), "application/json"
	switch b := r.body.(type) {
	case nil:
	case io.Reader:
		body, kind = b, "application/octet-stream"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			tb.Fatal(err)
		}
		body = bytes.NewReader(text)
		if r.method == "PATCH" {
			kind = "application/openstack-images-v2.1-json-patch"
		}
	}
	req, err := http.NewRequestWithContext(tb.Context(), r.method, r.url, body)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Auth-Token", c.token)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		tb.Fatalf("%s %s: %v", r.method, r.url, err)
	}
	if answer.StatusCode >= 300 {
		return answer.StatusCode, string(text), answer.Header
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			tb.Fatalf("%s %s: %v\n%s", r.method, r.url, err, text)
		}
	}
	return answer.StatusCode, "", answer.Header
}

// must is try for a call that is not refused.
func (c *cloud) must(tb testing.TB, r call, into any) http.Header {
	tb.Helper()
	status, refusal, header := c.try(tb, r, into)
	if refusal != "" || status >= 300 {
		tb.Fatalf("%s %s: %d %s", r.method, r.url, status, refusal)
	}
	return header
}

// upload makes an image of a file.
func (c *cloud) upload(tb testing.TB, path, format string, more object) string {
	tb.Helper()
	body := object{"name": tb.Name(), "disk_format": format, "container_format": "bare"}
	for k, v := range more {
		body[k] = v
	}
	var image struct{ ID string }
	c.must(tb, call{"POST", glanceURL(""), body}, &image)
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	c.must(tb, call{"PUT", glanceURL("/" + image.ID + "/file"), io.Reader(file)}, nil)
	return image.ID
}

// volume is Cinder's view of one.
type volume struct {
	ID, Name, Status, Bootable string
	Size                       int64 // GiB
	Encrypted                  bool
	VolumeType                 string `json:"volume_type"`
	Metadata                   map[string]string
	Image                      map[string]string `json:"volume_image_metadata"`
}

// wanted is a volume to make.
type wanted struct {
	Image string // "": an empty volume
	Type  string // "": Cinder's default_volume_type
	Size  int64  // GiB; 0: 1
	From  string // the volume that Cinder's driver clones; "": none
}

func (w wanted) body(tb testing.TB) object {
	volume := object{"name": tb.Name(), "size": max(w.Size, 1)}
	if w.Image != "" {
		volume["imageRef"] = w.Image
	}
	if w.From != "" {
		volume["source_volid"] = w.From
	}
	if w.Type != "" {
		volume["volume_type"] = w.Type
	}
	return object{"volume": volume}
}

// create asks for a volume and returns at once.
func (c *cloud) create(tb testing.TB, w wanted) string {
	tb.Helper()
	var answer struct{ Volume volume }
	c.must(tb, call{"POST", c.cinderURL("/volumes"), w.body(tb)}, &answer)
	return answer.Volume.ID
}

// volume looks at one.
func (c *cloud) volume(tb testing.TB, id string) (volume, bool) {
	tb.Helper()
	var answer struct{ Volume volume }
	status, refusal, _ := c.try(tb, call{"GET", c.cinderURL("/volumes/" + id), nil}, &answer)
	if status != http.StatusNotFound && status >= 300 {
		tb.Fatalf("volume %s: %d %s", id, status, refusal)
	}
	return answer.Volume, status < 300
}

// patience bounds the wait for a volume; only what hangs reaches it.
const patience = 3 * time.Minute

// settled waits until a volume is no longer on its way to another status.
func (c *cloud) settled(tb testing.TB, id string) volume {
	tb.Helper()
	var v volume
	within(tb, "volume "+id+" settles", func() bool {
		v, _ = c.volume(tb, id)
		return !strings.HasSuffix(v.Status, "ing")
	})
	return v
}

// available waits for a volume that must come to be.
func (c *cloud) available(tb testing.TB, id string) volume {
	tb.Helper()
	v := c.settled(tb, id)
	if v.Status != "available" {
		tb.Fatalf("volume %s: got status %q, want available", id, v.Status)
	}
	return v
}

// make asks for a volume and waits for it.
func (c *cloud) make(tb testing.TB, w wanted) volume {
	tb.Helper()
	return c.available(tb, c.create(tb, w))
}

// action asks for one of the many things that are posted to a volume.
func (c *cloud) action(tb testing.TB, id, name string, body object) {
	tb.Helper()
	c.must(tb, call{"POST", c.cinderURL("/volumes/" + id + "/action"), object{name: body}}, nil)
}

// delete removes volumes and waits until they are gone.
func (c *cloud) delete(tb testing.TB, ids ...string) {
	tb.Helper()
	for _, id := range ids {
		c.must(tb, call{"DELETE", c.cinderURL("/volumes/" + id), nil}, nil)
	}
	for _, id := range ids {
		within(tb, "volume "+id+" is gone", func() bool {
			v, exists := c.volume(tb, id)
			if v.Status == "error_deleting" {
				tb.Fatalf("volume %s: status error_deleting", id)
			}
			return !exists
		})
	}
}

// volumes lists the project's.
func (c *cloud) volumes(tb testing.TB) []volume {
	tb.Helper()
	var answer struct{ Volumes []volume }
	c.must(tb, call{"GET", c.cinderURL("/volumes/detail"), nil}, &answer)
	return answer.Volumes
}

// createAll asks for n volumes at once and waits for all of them.
func (c *cloud) createAll(tb testing.TB, n int, of wanted) []volume {
	tb.Helper()
	ids := make([]string, n)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			var answer struct{ Volume volume }
			if status, refusal, _ := c.try(tb, call{"POST", c.cinderURL("/volumes"), of.body(tb)}, &answer); status >= 300 {
				tb.Errorf("volume %d of %d: %d %s", i, n, status, refusal)
			}
			ids[i] = answer.Volume.ID
		})
	}
	all.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
	return c.allAvailable(tb, ids)
}

// allAvailable is available for many, with one question for all.
func (c *cloud) allAvailable(tb testing.TB, ids []string) []volume {
	tb.Helper()
	made := make([]volume, 0, len(ids))
	within(tb, "all volumes settle", func() bool {
		made = made[:0]
		for _, v := range c.volumes(tb) {
			if slices.Contains(ids, v.ID) && v.Status == "error" {
				tb.Fatalf("volume %s: got status error, want available", v.ID)
			}
			if slices.Contains(ids, v.ID) && v.Status == "available" {
				made = append(made, v)
			}
		}
		return len(made) == len(ids)
	})
	slices.SortFunc(made, func(a, b volume) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	return made
}

// within waits for a state of OpenStack, which no signal tells of.
func within(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("waited in vain: %s", what)
		}
	}
}
