package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// Bucket is a range of times that requests took. The first one is up to leastBucket; each further one ends at √2 times the end of
// the one before, and the last one has no end. Their numbers are in catalogs: what they mean is never changed.
type Bucket int

const (
	buckets     = 57 // the last one begins at 3 h 22 min
	leastBucket = 64 * time.Microsecond
)

// BucketOf is the bucket of a time.
func BucketOf(took time.Duration) Bucket {
	if took <= leastBucket {
		return 0
	}
	steps := 2 * math.Log2(float64(took)/float64(leastBucket))
	return Bucket(min(int(math.Ceil(steps)), buckets-1))
}

// Time stands for all times of the bucket: none is further off than 19 %, but in the first and the last one.
func (b Bucket) Time() time.Duration {
	return time.Duration(float64(leastBucket) * math.Exp2((float64(b)-0.5)/2))
}

// Spread is how many requests took a time of each bucket.
type Spread [buckets]int64

// Requests is how many there are.
func (s *Spread) Requests() (n int64) {
	for _, in := range s {
		n += in
	}
	return n
}

// Percentile is the time within which so many percent of the requests were answered, as near as Bucket.Time is; 0 where there are none.
func (s *Spread) Percentile(percent int64) time.Duration {
	rank := max((s.Requests()*percent+99)/100, 1)
	for b, in := range s {
		if rank -= in; rank <= 0 {
			return Bucket(b).Time()
		}
	}
	return 0
}

// SpreadOf is how long requests took, some of which may stand for several.
func SpreadOf(requests ...Request) *Spread {
	all := new(Spread)
	for _, r := range requests {
		all.add(r)
	}
	return all
}

// add counts r. Of one that stands for several, and does not say how long each took, each counts as the mean.
func (s *Spread) add(r Request) {
	if r.Spread == nil {
		n := max(r.Times, 1)
		s[BucketOf(r.Took/time.Duration(n))] += n
		return
	}
	for b, n := range r.Spread {
		s[b] += n
	}
}

// LatencyStat is how many requests of one backend and outcome took a time of one bucket.
type LatencyStat struct {
	Backend  backends.Name
	Outcome  words.Outcome
	Bucket   Bucket
	Requests int64
}

var (
	latencyStatKeys = []string{"minute", "host", "store", "outcome", "bucket"}
	latencyStatSums = []string{"requests"}
)

// latencyStep is the time whose requests share rows: there are so many buckets that a row a minute would make long spans slow to add up.
const latencyStep = 10 * time.Minute

// inSteps is a span of whole steps: those that it begins and ends in count whole.
func (s Span) inSteps() Span {
	s.Since = s.Since.Truncate(latencyStep)
	if last := s.Until.Truncate(latencyStep); last.Before(s.Until) {
		s.Until = last.Add(latencyStep)
	}
	return s
}

// latencyKey is the subject of rows of latency_stats, but for the daemon: a transaction adds to the rows of its own alone.
type latencyKey struct {
	minute  int64 // the step's first
	backend backends.Name
	outcome words.Outcome
}

func (k latencyKey) compare(o latencyKey) int {
	return cmp.Or(cmp.Compare(k.minute, o.minute), cmp.Compare(k.backend, o.backend), cmp.Compare(k.outcome, o.outcome))
}

// addLatency counts how long a request took.
func (s sums) addLatency(r Request) {
	key := latencyKey{minute(r.At.Truncate(latencyStep)), r.Backend, r.Outcome}
	if s.latencies[key] == nil {
		s.latencies[key] = new(Spread)
	}
	s.latencies[key].add(r)
}

const insertLatency = `INSERT INTO latency_stats (minute, host, store, outcome, bucket, requests) VALUES (?, ?, ?, ?, ?, ?)`

// addLatencies adds to the rows of a daemon, in their order; ids are what it means by names.
func (t tx) addLatencies(ctx context.Context, host InstanceID, ids map[backends.Name]backends.StoreID, latencies map[latencyKey]*Spread) error {
	stmt := insertLatency + t.c.dialect.upsert("latency_stats", latencyStatKeys, latencyStatSums, nil)
	return t.prepared(ctx, stmt, func(run func(args ...any) error) error {
		for _, k := range slices.SortedFunc(maps.Keys(latencies), latencyKey.compare) {
			for bucket, n := range latencies[k] {
				if n == 0 {
					continue
				}
				if err := run(k.minute, host, storeOf(ids, k.backend), k.outcome, bucket, n); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

const sumLatencies = `SELECT COALESCE(s.name, l.store) AS label, outcome, bucket, SUM(requests) FROM latency_stats l
	LEFT JOIN stores s ON s.id = l.store
	WHERE minute >= ? AND minute < ? GROUP BY label, outcome, bucket ORDER BY label, outcome, bucket`

func scanLatencyStat(rows *sql.Rows) (s LatencyStat, err error) {
	err = rows.Scan(&s.Backend, &s.Outcome, &s.Bucket, &s.Requests)
	s.Bucket = min(max(s.Bucket, 0), buckets-1)
	return s, err
}
