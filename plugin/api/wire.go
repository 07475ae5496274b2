package api

import (
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// CreateRequest asks the daemon for a volume.
type CreateRequest struct {
	Backend    backends.Name       // "": the only one
	Image      string              // SOURCE:ID, an ID that one source holds, or a URL
	Volume     backends.VolumeName // its name on the backend
	SizeBytes  int64               // 0: the image's virtual size
	OnMiss     plugin.OnMiss       // "": wait
	Digest     string              // expected, "sha256:<hex>" or "sha512:<hex>"; "": the source's
	DiskFormat string              // "": the source's claim
	Deadline   time.Time           // when the caller stops listening; zero: none
	// ImageVirtualBytes is the disk's size as the caller knows it; 0: unknown.
	ImageVirtualBytes int64
	ImageLocations    []string         // where the caller knows the image to lie: "rbd://FSID/POOL/IMAGE/SNAPSHOT"
	VolumeType        string           // that the control plane was asked for; "": it has none
	Encrypted         bool             // the volume is to be encrypted
	Transfer          bool             // another project is to take the volume over
	ProjectID         plugin.ProjectID // whose volume it is to be; "": not told
	// Token is the requester's own, for image sources that authorise by it; "": none. It is sent in the
	// header X-Auth-Token, and prints as [secret].
	Token imagesource.Token
}

// CheckRequest says how far a check goes.
type CheckRequest struct {
	Repair bool // mend what can be mended
	Deep   bool // also read every image-volume and compare its content
}

// CheckProgress is how far a deep check has come.
type CheckProgress struct {
	ReadBytes  int64 `json:"read_bytes" doc:"Bytes read so far"`
	TotalBytes int64 `json:"total_bytes" doc:"Bytes to read"`
}

// CreateBody is the body of the hook; the backend is in the path. Client makes it from a CreateRequest.
type CreateBody struct {
	Image             string              `json:"image" minLength:"1" maxLength:"4096" doc:"SOURCE:ID, an ID that one source holds, or a URL below an http source" example:"library:debian-12.qcow2"`
	Volume            backends.VolumeName `json:"volume" minLength:"1" maxLength:"255" doc:"The volume's name on the backend" example:"volume-0b2d"`
	SizeBytes         int64               `json:"size_bytes,omitempty" minimum:"0" doc:"Size of the volume in bytes, at least the image's virtual size; 0: just that"`
	OnMiss            plugin.OnMiss       `json:"on_miss,omitempty" enum:"wait,background" doc:"What to do while the image is not cached yet. Default: wait"`
	Digest            string              `json:"digest,omitempty" maxLength:"135" doc:"Expected digest of the image's bytes, sha256:HEX or sha512:HEX. Default: the source's"`
	DiskFormat        string              `json:"disk_format,omitempty" maxLength:"32" doc:"Declared format. Default: the source's claim, else what detection finds"`
	ImageVirtualBytes int64               `json:"image_virtual_bytes,omitempty" minimum:"0" doc:"Size of the image's disk in bytes, where the caller knows it: the internal tenant is asked sooner then. The image's own header decides"`
	ImageLocations    []string            `json:"image_locations,omitempty" maxItems:"16" nullable:"false" doc:"URLs where the caller knows the image to lie (rbd://FSID/POOL/IMAGE/SNAPSHOT), for an image service that does not tell the daemon. Only one that is named by the image's own ID is used"`
	VolumeType        string              `json:"volume_type,omitempty" maxLength:"255" doc:"Volume type that the control plane was asked for. Where the backend's image-volumes are of another one, the answer is bypassed, reason unsuitable"`
	Encrypted         bool                `json:"encrypted,omitempty" doc:"The volume is to be encrypted: the answer is bypassed, reason encrypted"`
	Transfer          bool                `json:"transfer,omitempty" doc:"On a backend of kind cinder: offer the volume to another project, which takes it over with what the answer's transfer says"`
	ProjectID         plugin.ProjectID    `json:"project_id,omitempty" maxLength:"255" doc:"Whose volume it is to be. Bounds on the fills of one project (max_fills_per_project) go by it; none bounds a request without it"`
	Deadline          *time.Time          `json:"deadline,omitempty" doc:"When the caller stops listening (RFC 3339). A volume made too late is removed again"`
}

// createAnyBody is CreateBody with the backend in it.
type createAnyBody struct {
	Backend backends.Name `json:"backend,omitempty" maxLength:"255" doc:"Where to make the volume. Default: the only backend"`
	CreateBody
}

func (r CreateRequest) body() CreateBody {
	b := CreateBody{Image: r.Image, Volume: r.Volume, SizeBytes: r.SizeBytes, OnMiss: r.OnMiss,
		Digest: r.Digest, DiskFormat: r.DiskFormat,
		ImageVirtualBytes: r.ImageVirtualBytes, ImageLocations: r.ImageLocations, VolumeType: r.VolumeType, Encrypted: r.Encrypted, ProjectID: r.ProjectID, Transfer: r.Transfer}
	if !r.Deadline.IsZero() {
		deadline := r.Deadline.UTC()
		b.Deadline = &deadline
	}
	return b
}

// createLine is one line of a creation's stream: any number with progress, then one with an answer or
// an error.
type createLine struct {
	Progress *plugin.Progress `json:"progress,omitempty"`
	Answer   *plugin.Answer   `json:"answer,omitempty"`
	Error    *Error           `json:"error,omitempty"`
}

// FlattenProgress is how far a flatten has come.
type FlattenProgress struct {
	DoneBytes  int64 `json:"done_bytes" doc:"Bytes copied, or found to need no copy"`
	TotalBytes int64 `json:"total_bytes" doc:"Bytes to go through"`
}

// flattenLine is one line of a flatten's stream.
type flattenLine struct {
	Progress *FlattenProgress  `json:"progress,omitempty"`
	Result   *plugin.Flattened `json:"result,omitempty"`
	Error    *Error            `json:"error,omitempty"`
}

// checkLine is one line of a check's stream.
type checkLine struct {
	Progress *CheckProgress      `json:"progress,omitempty"`
	Result   *plugin.CheckResult `json:"result,omitempty"`
	Error    *Error              `json:"error,omitempty"`
}

// errorBody is what every error answers.
type errorBody struct {
	Error *Error `json:"error"`
}
