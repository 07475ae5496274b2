package backends

import (
	"encoding/json"
	"testing"
	"time"
)

// What lies on backends was written with the content's fields among the others, and is read as ever.
func TestADescriptionIsStoredAsEver(t *testing.T) {
	const stored = `{"entry_id":"e","attempt":2,"content_key":"sha256:aa/raw","domain":"d","image_ids":["s:i"],"revision_key":"rev:s:i@1/raw",` +
		`"digest":"sha256:aa","disk_format":"raw","source_bytes":1,"virtual_bytes":2,"inspector_version":3,"content_sum":"c",` +
		`"project_id":"p","user_id":"u","claim_id":"k","form":"decoded","created_at":"2026-01-02T03:04:05Z"}`
	want := Description{
		EntryID: "e", Attempt: 2, ContentKey: "sha256:aa/raw", Domain: "d", ImageIDs: []string{"s:i"}, RevisionKey: "rev:s:i@1/raw",
		Content:   Content{Digest: "sha256:aa", DiskFormat: "raw", SourceBytes: 1, VirtualBytes: 2, InspectorVersion: 3, ContentSum: "c"},
		ProjectID: "p", UserID: "u", ClaimID: "k", Form: Decoded, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	written, err := json.Marshal(want)
	if err != nil || string(written) != stored {
		t.Errorf("wrote %s, %v", written, err)
	}
	var got Description
	if err := json.Unmarshal([]byte(stored), &got); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(got)
	if err != nil || string(again) != stored {
		t.Errorf("read %s, %v", again, err)
	}
}
