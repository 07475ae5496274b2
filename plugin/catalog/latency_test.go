package catalog

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// bucketError is how much a time that stands for a bucket may be off: the fourth root of two, and a nanosecond's rounding.
var bucketError = math.Pow(2, 0.25) + 1e-6

func near(got, want time.Duration) bool {
	off := float64(got) / float64(want)
	return off <= bucketError && off >= 1/bucketError
}

// The numbers are in catalogs, and stand for what they stood for.
func TestBucketsOfTimes(t *testing.T) {
	for took, want := range map[time.Duration]Bucket{
		-time.Hour: 0, 0: 0, 64 * time.Microsecond: 0, 65 * time.Microsecond: 1, 128 * time.Microsecond: 2, time.Millisecond: 8,
		time.Second: 28, time.Minute: 40, time.Hour: 52, 1000 * time.Hour: 56, math.MaxInt64: 56,
	} {
		if got := BucketOf(took); got != want {
			t.Errorf("%v: bucket %d, want %d", took, got, want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		took := time.Duration(float64(leastBucket) * math.Exp2(28*r.Float64()))
		if got := BucketOf(took).Time(); !near(got, took) {
			t.Fatalf("%v is told as %v", took, got)
		}
	}
}

func TestPercentilesOfAFew(t *testing.T) {
	const ms = time.Millisecond
	of := func(all ...time.Duration) (s Spread) {
		for _, d := range all {
			s.add(Request{Took: d})
		}
		return s
	}
	most := of(2 * time.Second)
	for range 99 {
		most.add(Request{Took: 10 * ms})
	}
	for name, test := range map[string]struct {
		spread   Spread
		p50, p99 time.Duration
	}{
		"one":                  {of(5 * ms), 5 * ms, 5 * ms},
		"two":                  {of(5*ms, 500*ms), 5 * ms, 500 * ms},
		"three":                {of(500*ms, ms, 20*ms), 20 * ms, 500 * ms},
		"one of 100 is slower": {most, 10 * ms, 10 * ms},
	} {
		p50, p99 := test.spread.Percentile(50), test.spread.Percentile(99)
		if !near(p50, test.p50) || !near(p99, test.p99) {
			t.Errorf("%s: got %v and %v, want %v and %v", name, p50, p99, test.p50, test.p99)
		}
	}
	if got := new(Spread).Percentile(99); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

// truly is the time that so many percent of the requests took no longer than.
func truly(took []time.Duration, percent int) time.Duration {
	slices.Sort(took)
	return took[(len(took)*percent+99)/100-1]
}

// spreadIn is what was counted of one outcome on a backend.
func spreadIn(t *testing.T, c *Catalog, in Span, backend backends.Name, outcome words.Outcome) *Spread {
	t.Helper()
	all, err := c.SumsIn(t.Context(), in)
	is(t, "sums", err, nil)
	s := new(Spread)
	for _, l := range all.Latencies {
		if l.Backend == backend && l.Outcome == outcome {
			s[l.Bucket] += l.Requests
		}
	}
	return s
}

func checkPercentiles(t *testing.T, name string, got *Spread, took []time.Duration) {
	t.Helper()
	if got.Requests() != int64(len(took)) {
		t.Errorf("%s: %d requests, want %d", name, got.Requests(), len(took))
		return
	}
	for _, percent := range []int{50, 99} {
		if told, want := got.Percentile(int64(percent)), truly(took, percent); !near(told, want) {
			t.Errorf("%s: %d %% within %v, want %v", name, percent, told, want)
		}
	}
}

// Each host is as fast as it is, at each hour: what is told is of all their requests together, each counted once.
func TestPercentilesOverHostsAndHours(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	begun := at.now()
	r := rand.New(rand.NewPCG(3, 4))
	took := map[words.Outcome][]time.Duration{}
	var late []time.Duration
	for h := range 3 {
		var requests []Request
		for n := range 300 {
			q := Request{Seq: int64(n + 1), At: begun.Add(time.Duration(n%3) * time.Hour), Backend: "local", ImageID: fmt.Sprint(n % 7), Outcome: "hit", Reason: "ready"}
			q.Took = time.Duration(float64(h*10+1) * math.Exp(r.NormFloat64()) * float64(time.Millisecond))
			if n%10 == 0 {
				q.Outcome, q.Reason, q.Took = "filled", "miss", q.Took*1000
			}
			took[q.Outcome] = append(took[q.Outcome], q.Took)
			if n%3 == 2 && q.Outcome == "hit" {
				late = append(late, q.Took)
			}
			requests = append(requests, q)
		}
		host := InstanceID(fmt.Sprint("host-", h))
		is(t, "record", c.Record(ctx, host, 200, requests[:200]), nil)
		is(t, "record, some again", c.Record(ctx, host, 300, requests[100:]), nil)
	}
	is(t, "elsewhere", c.Record(ctx, "host-1", 301, []Request{{Seq: 301, At: begun, Backend: "files", Outcome: "hit", Took: time.Hour}}), nil)

	checkPercentiles(t, "hits", spreadIn(t, c, Span{}, "local", "hit"), took["hit"])
	checkPercentiles(t, "fills", spreadIn(t, c, Span{}, "local", "filled"), took["filled"])
	checkPercentiles(t, "elsewhere", spreadIn(t, c, Span{}, "files", "hit"), []time.Duration{time.Hour})
	last := Span{Since: begun.Add(2 * time.Hour)}
	checkPercentiles(t, "the last hour", spreadIn(t, c, last, "local", "hit"), late)
	if s := spreadIn(t, c, Span{Since: begun.Add(3 * time.Hour)}, "local", "hit"); s.Requests() != 0 {
		t.Errorf("%d requests afterwards", s.Requests())
	}
	part := Span{Since: begun.Add(2*time.Hour + time.Minute), Until: begun.Add(2*time.Hour + 2*time.Minute)}
	checkPercentiles(t, "a minute, of which ten count", spreadIn(t, c, part, "local", "hit"), late)
	if s := spreadIn(t, c, Span{Until: begun.Add(-11 * time.Minute)}, "local", "hit"); s.Requests() != 0 {
		t.Errorf("%d requests before", s.Requests())
	}
	is(t, "prune", c.Prune(ctx, last.Since.Truncate(latencyStep)), nil)
	checkPercentiles(t, "what is kept", spreadIn(t, c, Span{}, "local", "hit"), late)
}

// Requests that were added up before count as each of them does.
func TestTimesOfRequestsThatWereAddedUp(t *testing.T) {
	c, at := fresh(t)
	one := Request{At: at.now(), Backend: "local", ImageID: "i", Outcome: "hit"}
	var each []Request
	var took []time.Duration
	for n := range 200 {
		r := one
		r.Took = time.Duration(n*n+1) * time.Millisecond
		each, took = append(each, r), append(took, r.Took)
	}
	added := one
	added.Times, added.Took, added.Spread = 200, time.Hour, SpreadOf(SpreadOf(each[:90]...).asRequest(), SpreadOf(each[90:]...).asRequest())
	added.Outcome = "joined"
	is(t, "record", c.Record(t.Context(), "a", 0, append(each, added)), nil)
	single, together := spreadIn(t, c, Span{}, "local", "hit"), spreadIn(t, c, Span{}, "local", "joined")
	if *single != *together {
		t.Errorf("one by one\n%v\nadded up\n%v", *single, *together)
	}
	checkPercentiles(t, "added up", together, took)

	unknown := one
	unknown.Times, unknown.Took, unknown.Outcome = 4, 20*time.Second, "copied"
	is(t, "record", c.Record(t.Context(), "a", 0, []Request{unknown}), nil)
	mean := 5 * time.Second
	checkPercentiles(t, "a sum alone", spreadIn(t, c, Span{}, "local", "copied"), []time.Duration{mean, mean, mean, mean})
}

func (s *Spread) asRequest() Request { return Request{Times: s.Requests(), Spread: s} }
