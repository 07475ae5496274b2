package backends

// Content is what is known of the bytes of a cached image. The catalog's row, the image-volume's own description
// and what admins see of an entry have the same ones.
type Content struct {
	Digest           string `json:"digest" doc:"Digest of the image's bytes, algorithm:hex"` // as they were read
	DiskFormat       string `json:"disk_format" doc:"The image's format"`
	SourceBytes      int64  `json:"source_bytes" doc:"Size of the image"`
	VirtualBytes     int64  `json:"virtual_bytes" doc:"Size of the disk in it"`
	InspectorVersion int    `json:"inspector_version" doc:"Version of the inspector's rules that passed it"`
	// ContentSum is of what stands in the image-volume, as check --deep compares it; "" unknown.
	ContentSum string `json:"content_sum,omitempty" doc:"Sum of what stands in the image-volume, which check --deep compares; absent where it is unknown"`
}
