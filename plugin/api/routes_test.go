package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/report"
)

func request() api.CreateRequest {
	return api.CreateRequest{Backend: "local", Image: "lib:debian.qcow2", Volume: "v/1 ä", SizeBytes: 1 << 30}
}

func TestCreateVolumePassesTheWholeRequest(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	deadline := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	hexDigest := strings.Repeat("ab", 32)
	r := request()
	r.OnMiss, r.Digest, r.DiskFormat, r.Deadline = plugin.Background, "sha256:"+hexDigest, "qcow2", deadline
	answer, err := d.client.CreateVolume(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Outcome != plugin.Filled || answer.Volume != r.Volume {
		t.Errorf("answer = %+v", answer)
	}
	got := fake.lastAsked()
	if got.Backend != "local" || got.Image != r.Image || got.Volume != r.Volume || got.SizeBytes != r.SizeBytes ||
		got.OnMiss != plugin.Background || got.DiskFormat != "qcow2" || !got.Deadline.Equal(deadline) ||
		got.Digest != (imagesource.Digest{Algorithm: imagesource.SHA256, Hex: hexDigest}) {
		t.Errorf("the service was asked %+v", got)
	}
}

func TestCreateVolumeWithoutABackend(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	r := request()
	r.Backend = ""
	if _, err := d.client.CreateVolume(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	if got := fake.lastAsked(); got.Backend != "" || got.Image != r.Image {
		t.Errorf("the service was asked %+v", got)
	}
}

func TestBypassedIsNoError(t *testing.T) {
	fake := newFake()
	fake.create = func(context.Context, plugin.Request) (plugin.Answer, error) {
		return plugin.Answer{Outcome: plugin.Bypassed, Reason: plugin.ReasonNoRoom}, nil
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	answer, err := d.client.CreateVolume(t.Context(), request(), nil)
	if err != nil || answer.Outcome != plugin.Bypassed || answer.Reason != plugin.ReasonNoRoom {
		t.Errorf("answer = %+v, %v, want bypassed, no_room", answer, err)
	}
}

func TestVolumesAreListedAndDeleted(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	r := request()
	if _, err := d.client.CreateVolume(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	for _, backend := range []backends.Name{"", "local"} {
		list, err := d.client.Volumes(t.Context(), backend)
		if err != nil || len(list) != 1 || list[0].Volume != r.Volume {
			t.Errorf("volumes of %q = %+v, %v", backend, list, err)
		}
	}
	if list, err := d.client.Volumes(t.Context(), "other"); err != nil || list == nil || len(list) != 0 {
		t.Errorf("volumes of other = %#v, %v, want an empty list", list, err)
	}
	for _, backend := range []backends.Name{"", "local"} {
		if err := d.client.KeepVolume(t.Context(), backend, r.Volume); err != nil {
			t.Errorf("keep on %q: %v", backend, err)
		}
	}
	if e := apiError(t, d.client.KeepVolume(t.Context(), "", "absent")); e.Code != "volume_not_found" {
		t.Errorf("keep what is absent = %+v", e)
	}
	if err := d.client.DeleteVolume(t.Context(), "", r.Volume); err != nil {
		t.Errorf("delete: %v", err)
	}
	err := d.client.DeleteVolume(t.Context(), "local", r.Volume)
	if e := apiError(t, err); e.Code != "volume_not_found" || e.Status != http.StatusNotFound {
		t.Errorf("second delete = %+v", e)
	}
}

func TestEntries(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	filter := plugin.EntryFilter{Backend: "local", State: "ready", ImageID: "lib:a b", After: "e0", Limit: 7}
	if list, err := d.client.Entries(t.Context(), filter); err != nil || len(list) != 2 || fake.filter != filter {
		t.Errorf("entries = %d, %v, filter %+v", len(list), err, fake.filter)
	}
	if e, err := d.client.Entry(t.Context(), "e1"); err != nil || e.ID != "e1" {
		t.Errorf("entry = %+v, %v", e, err)
	}
	if v, err := d.client.Revalidate(t.Context(), "e1"); err != nil || !v.Valid || v.Entry.ID == "" {
		t.Errorf("revalidate = %+v, %v", v, err)
	}
	for _, pin := range []plugin.Pinning{true, false} {
		if e, err := d.client.SetPinned(t.Context(), "e1", pin); err != nil || e.Pinned != bool(pin) {
			t.Errorf("pin %v = %+v, %v", pin, e, err)
		}
	}
	_, err := d.client.DeleteEntry(t.Context(), "e2", false)
	if e := apiError(t, err); e.Code != "has_clones" || !strings.Contains(e.Message, "repeat with force") {
		t.Errorf("delete = %+v", e)
	}
	if r, err := d.client.DeleteEntry(t.Context(), "e2", true); err != nil || len(r.Removed) != 1 {
		t.Errorf("forced delete = %+v, %v", r, err)
	}
	if r, err := d.client.DeleteAllEntries(t.Context(), "local", false); err != nil || len(r.Removed) != 1 || fake.backend != "local" {
		t.Errorf("delete all = %+v, %v of %q", r, err, fake.backend)
	}
}

func TestOverviewAndUpkeep(t *testing.T) {
	fake := newFake()
	now := time.Date(2030, 1, 10, 12, 0, 0, 0, time.UTC)
	d := startDaemon(t, fake, api.ServerConfig{Now: func() time.Time { return now }})
	if fills, err := d.client.Fills(t.Context()); err != nil || fills == nil {
		t.Errorf("fills = %#v, %v", fills, err)
	}
	if _, err := d.client.Report(t.Context(), "local", "7d"); err != nil || !fake.since.Equal(now.AddDate(0, 0, -7)) || fake.backend != "local" {
		t.Errorf("report since %v of %q, %v", fake.since, fake.backend, err)
	}
	if status, body := d.raw(t, "GET", "/v1/quota?use_only=true", ""); status != 200 || !strings.Contains(body, `"project_id":"used"`) {
		t.Errorf("quota?use_only: %d %s", status, body)
	}
	if _, err := d.client.ReportOf(t.Context(), api.ReportRequest{Since: "7d", Until: "1d"}); err != nil || !fake.until.Equal(now.AddDate(0, 0, -1)) || fake.backend != "" {
		t.Errorf("report until %v of %q, %v", fake.until, fake.backend, err)
	}
	if _, err := d.client.ReportOf(t.Context(), api.ReportRequest{By: report.ByProject}); err != nil || fake.by != report.ByProject {
		t.Errorf("a report by project: by %q, %v", fake.by, err)
	}
	if _, err := d.client.ReportOf(t.Context(), api.ReportRequest{By: "colour"}); apiError(t, err).Code != "bad_request" {
		t.Errorf("a report by colour: %v", err)
	}
	if _, err := d.client.ReportOf(t.Context(), api.ReportRequest{Since: "1d", Until: "7d"}); apiError(t, err).Code != "bad_request" {
		t.Errorf("a report that ends before it begins: %v", err)
	}
	if q, err := d.client.Quota(t.Context()); err != nil || q.Volumes.InUse != 2 {
		t.Errorf("quota = %+v, %v", q, err)
	}
	if b, err := d.client.Backends(t.Context()); err != nil || len(b) != 2 {
		t.Errorf("backends = %+v, %v", b, err)
	}
	if s, err := d.client.Status(t.Context()); err != nil || !s.Ready || s.Fills == nil {
		t.Errorf("status = %+v, %v", s, err)
	}
	if r, err := d.client.Prune(t.Context()); err != nil || r.FreedBytes != 7 || r.Removed == nil {
		t.Errorf("prune = %+v, %v", r, err)
	}
	if r, err := d.client.Clean(t.Context()); err != nil || r.Reaped != 3 {
		t.Errorf("clean = %+v, %v", r, err)
	}
	if r, err := d.client.Scrub(t.Context(), plugin.ScrubRequest{Backend: "local", Share: 9}, nil); err != nil || r.Entries != 2 || r.Unread != 9 {
		t.Errorf("scrub = %+v, %v", r, err)
	}
	if v, err := d.client.ExplainVolume(t.Context(), "local", "v"); err != nil || v.Backend != "local" || v.Volume != "v" {
		t.Errorf("volume explain = %+v, %v", v, err)
	}
	if e, err := d.client.EntryEvents(t.Context(), "e-1"); err != nil || len(e) != 1 || e[0].EntryID != "e-1" {
		t.Errorf("events of an entry = %+v, %v", e, err)
	}
	if r, err := d.client.Check(t.Context(), api.CheckRequest{Repair: true}, nil); err != nil || !r.OK || r.Problems == nil {
		t.Errorf("check = %+v, %v", r, err)
	}
}

func TestARefusedImageNamesTheRule(t *testing.T) {
	fake := newFake()
	fake.create = func(context.Context, plugin.Request) (plugin.Answer, error) {
		return plugin.Answer{}, fmt.Errorf("fill: %w", &diskimage.Refusal{Rule: "backing-file", Field: "backing_file_offset", Value: "72", Remedy: "Flatten it."})
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	_, err := d.client.CreateVolume(t.Context(), request(), nil)
	e := apiError(t, err)
	if e.Code != "image_refused" || e.Status != 422 || e.Rule != "backing-file" || e.Field != "backing_file_offset" || e.Value != "72" || !strings.Contains(e.Message, "Flatten it.") {
		t.Errorf("error = %+v", e)
	}
}

func TestUsersSeeASentenceAndOperatorsTheChain(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	e := apiError(t, d.client.DeleteVolume(t.Context(), "local", "none"))
	if strings.Contains(e.Message, "/secret/path") || !strings.Contains(e.Message, "volume list") {
		t.Errorf("message = %q, want the remedy and not the chain", e.Message)
	}
	if log := d.log.String(); !strings.Contains(log, "/secret/path") || !strings.Contains(log, e.RequestID) || e.RequestID == "" {
		t.Errorf("log = %q, want the chain and the request's ID %q", log, e.RequestID)
	}
}

func TestOnlyChangesAreLogged(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	if _, err := d.client.Backends(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := d.log.String(); log != "" {
		t.Errorf("a GET logged %q", log)
	}
	if _, err := d.client.CreateVolume(t.Context(), request(), nil); err != nil {
		t.Fatal(err)
	}
	if log := d.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "outcome=filled") {
		t.Errorf("a creation logged %q, want one line with its outcome", log)
	}
}

func TestAPanicIsAnInternalError(t *testing.T) {
	fake := newFake()
	fake.create = func(context.Context, plugin.Request) (plugin.Answer, error) { panic("boom") }
	fake.check = func(context.Context, plugin.CheckOptions) (plugin.CheckResult, error) { panic("boom") }
	d := startDaemon(t, fake, api.ServerConfig{})
	_, plain := d.client.CreateVolume(t.Context(), request(), nil)
	_, streamed := d.client.Check(t.Context(), api.CheckRequest{}, func(api.CheckProgress) {})
	for name, err := range map[string]error{"plain": plain, "streamed": streamed} {
		if e := apiError(t, err); e.Code != "internal" || e.RequestID == "" || strings.Contains(e.Message, "boom") {
			t.Errorf("%s: error = %+v", name, e)
		}
	}
	if !strings.Contains(d.log.String(), "boom") {
		t.Error("the panic was not logged")
	}
}
