package report

import (
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/words"
)

// tally is figures being summed. Means and ratios are computed at the end.
type tally struct {
	Figures
	fillTook time.Duration
	phases   catalog.FillPhases
	spreads  map[string]*catalog.Spread // by outcome
	images   map[string]*imageTally
}

// imageTally is one image's part of a tally.
type imageTally struct {
	Image
	fills    int64
	fillTook time.Duration
}

func newTally() *tally {
	return &tally{
		Figures: Figures{Outcomes: map[string]int64{}, EvictionsBy: map[string]int64{}, Fallbacks: map[string]int64{}},
		spreads: map[string]*catalog.Spread{},
		images:  map[string]*imageTally{},
	}
}

// stand adds what a store holds now.
func (t *tally) stand(s Store) {
	t.Entries += s.Entries
	t.HeldBytes += s.HeldBytes
	t.DetachedBytes += s.DetachedBytes
}

func (t *tally) request(r catalog.RequestStat) {
	hits, misses := served(r)
	t.Hits += hits
	t.Misses += misses
	t.Outcomes[string(r.Outcome)] += r.Requests
	t.SavedBytes += r.SavedBytes
	if r.Outcome == words.Copied || r.Outcome == words.Bypassed {
		t.Fallbacks[string(r.Reason)] += r.Requests
	}
	image := t.image(r.ImageID)
	image.Requests += r.Requests
	image.Hits += hits
	image.Misses += misses
	image.SavedBytes += r.SavedBytes
}

// served splits requests into those that the cache served without a download and those that it had to
// download for. Direct clones and bypassed requests are neither: the cache took no part.
func served(r catalog.RequestStat) (hits, misses int64) {
	switch r.Outcome {
	case words.Hit, words.Joined:
		return r.Requests, 0
	case words.Filled:
		return 0, r.Requests
	case words.Copied:
		downloads := min(max(r.Downloads, 0), r.Requests)
		return r.Requests - downloads, downloads
	case words.Direct, words.Bypassed:
		return 0, 0
	default: // of another version; it is counted under Outcomes
		return 0, 0
	}
}

func (t *tally) latency(l catalog.LatencyStat) {
	outcome := string(l.Outcome)
	if t.spreads[outcome] == nil {
		t.spreads[outcome] = new(catalog.Spread)
	}
	t.spreads[outcome][l.Bucket] += l.Requests
}

// latencies are what the percentiles of each outcome come to.
func (t *tally) latencies() map[string]Latency {
	all := make(map[string]Latency, len(t.spreads))
	for outcome, s := range t.spreads {
		all[outcome] = Latency{Requests: s.Requests(), P50MS: milliseconds(s.Percentile(50)), P99MS: milliseconds(s.Percentile(99))}
	}
	return all
}

func (t *tally) eviction(e catalog.EvictionStat) {
	t.Evictions += e.Count
	t.EvictionsBy[string(e.Cause)] += e.Count
}

// fill counts fills. They alone download: what an answer says of its download is a fill's, which counts
// here once, whether a request waited for it to the end, or it failed, or nobody waited.
func (t *tally) fill(f catalog.FillStat) {
	t.DownloadedBytes += f.SourceBytes
	t.Fills += f.Fills
	t.FailedFills += f.Failed
	t.fillTook += f.Took
	t.phases.Waiting += f.Phases.Waiting
	t.phases.Quota += f.Phases.Quota
	t.phases.Source += f.Phases.Source
	t.phases.Decode += f.Phases.Decode
	t.phases.Write += f.Phases.Write
	t.phases.Commit += f.Phases.Commit
	t.FillMaxMS = max(t.FillMaxMS, milliseconds(f.Longest))
	image := t.image(f.ImageID)
	image.DownloadedBytes += f.SourceBytes
	image.fills += f.Fills - f.Failed
	image.fillTook += f.Took
}

func (t *tally) image(id string) *imageTally {
	image, ok := t.images[id]
	if !ok {
		image = &imageTally{Image: Image{ImageID: id}}
		t.images[id] = image
	}
	return image
}

func (t *tally) figures() Figures {
	f := t.Figures
	if counted := f.Hits + f.Misses; counted > 0 {
		ratio := float64(f.Hits) / float64(counted)
		f.HitRatio = &ratio
	}
	ready := f.Fills - f.FailedFills
	f.FillMeanMS = meanMS(t.fillTook, ready)
	f.Phases = Phases{
		WaitingMS: meanMS(t.phases.Waiting, ready), QuotaMS: meanMS(t.phases.Quota, ready), SourceMS: meanMS(t.phases.Source, ready),
		DecodeMS: meanMS(t.phases.Decode, ready), WriteMS: meanMS(t.phases.Write, ready), CommitMS: meanMS(t.phases.Commit, ready),
	}
	f.Latencies = t.latencies()
	f.Images = make([]Image, 0, len(t.images))
	for _, image := range t.images {
		image.FillMeanMS = meanMS(image.fillTook, image.fills)
		image.SavedMS = float64(image.Hits) * image.FillMeanMS
		f.SavedMS += image.SavedMS
		f.Images = append(f.Images, image.Image)
	}
	sortImages(f.Images)
	return f
}

func meanMS(sum time.Duration, count int64) float64 {
	if count <= 0 {
		return 0
	}
	return milliseconds(sum) / float64(count)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
