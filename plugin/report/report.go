// Package report turns what the catalog counted into the clone-cache report. It computes; it does no
// I/O.
package report

import "time"

// Figures are one backend's, or all backends' together. Entries, bytes held and bounds are as they stand
// now; all else is counted since the report's beginning. Requests are counted at the backend they were
// made to, fills and evictions at the backend or file cache that holds the entry. hits + misses are all
// requests but direct and bypassed ones, in which the cache takes no part. No field is absent in JSON; lists and maps
// are never null.
type Figures struct {
	Hits            int64              `json:"hits" doc:"Requests that the cache served without a download: hit, joined, and copied from a file cache that had the image"`
	Misses          int64              `json:"misses" doc:"Requests that downloaded: filled, and copied from a file cache that had to fetch the image first"`
	HitRatio        *float64           `json:"hit_ratio" doc:"(hits + joined + copied without a download) / (all but direct and bypassed); null where there were none"`
	Outcomes        map[string]int64   `json:"outcomes" doc:"Requests by outcome"`
	Latencies       map[string]Latency `json:"latencies" doc:"How long requests took, by outcome, in whole steps of ten minutes: those that the span begins and ends in count whole"`
	Entries         int                `json:"entries"`
	HeldBytes       int64              `json:"held_bytes"`
	MaxSizeBytes    int64              `json:"max_size_bytes" doc:"0: unbounded"`
	MaxCount        int                `json:"max_count" doc:"0: unbounded"`
	Evictions       int64              `json:"evictions"`
	EvictionsBy     map[string]int64   `json:"evictions_by_cause"`
	DetachedBytes   int64              `json:"detached_bytes"`
	DownloadedBytes int64              `json:"downloaded_bytes" doc:"What all fills have read from image sources, those that failed and those in the background too"`
	SavedBytes      int64              `json:"saved_bytes" doc:"What would have been downloaded without the cache"`
	SavedMS         float64            `json:"saved_ms" doc:"What requests that were served without a download would have waited for one: hits times the mean fill of their image; images that were not filled in this time are left out"`
	Fallbacks       map[string]int64   `json:"fallbacks" doc:"Copied and bypassed requests by reason"`
	Fills           int64              `json:"fills" doc:"Fills that ended, failed ones too"`
	FailedFills     int64              `json:"failed_fills"`
	FillMeanMS      float64            `json:"fill_mean_ms" doc:"Of the fills that did not fail"`
	FillMaxMS       float64            `json:"fill_max_ms"`
	Phases          Phases             `json:"phases" doc:"Where the time of fills that did not fail went, on average"`
	Images          []Image            `json:"images"`
}

// Latency is how long requests of an outcome took, on all daemons together.
type Latency struct {
	Requests int64   `json:"requests" doc:"Those whose time was noted: daemons of an earlier version do not note it"`
	P50MS    float64 `json:"p50_ms" doc:"Half of them took no longer; within 19 %"`
	P99MS    float64 `json:"p99_ms" doc:"99 % of them took no longer, of fewer than 100 the slowest; within 19 %"`
}

// Image is one image's part.
type Image struct {
	ImageID         string  `json:"image_id"`
	Requests        int64   `json:"requests"`
	Hits            int64   `json:"hits"`
	Misses          int64   `json:"misses"`
	DownloadedBytes int64   `json:"downloaded_bytes"`
	SavedBytes      int64   `json:"saved_bytes"`
	FillMeanMS      float64 `json:"fill_mean_ms"`
	SavedMS         float64 `json:"saved_ms"`
}

// Backend is the figures of one backend or file cache.
type Backend struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Figures
}

// Report is the clone-cache report.
type Report struct {
	Since    *time.Time `json:"since" doc:"null: since the beginning"`
	Until    *time.Time `json:"until" doc:"null: until now"`
	Total    Figures    `json:"total"`
	Backends []Backend  `json:"backends"`
	Hosts    []Share    `json:"hosts" doc:"With by=host: what each daemon did, on all backends. Else empty"`
	Projects []Share    `json:"projects" doc:"With by=project: what was done for the images of each project, on all backends. Else empty"`
}

// Phases are milliseconds of a fill, on average.
type Phases struct {
	WaitingMS float64 `json:"waiting_ms" doc:"For a place among the fills"`
	QuotaMS   float64 `json:"quota_ms" doc:"Room, and the internal tenant's claim"`
	SourceMS  float64 `json:"source_ms" doc:"Until the image's headers were there"`
	DecodeMS  float64 `json:"decode_ms" doc:"Reading, hashing and decoding, but for write_ms"`
	WriteMS   float64 `json:"write_ms" doc:"Waiting for the backend to take what was decoded"`
	CommitMS  float64 `json:"commit_ms" doc:"Verifying, committing and naming"`
}
