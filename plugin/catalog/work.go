package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

// Everybody is the project of images that are nobody's alone. "" is that of what was not noted: by an earlier version,
// or in the moments before a crash.
const Everybody = "*"

// mostProject bounds a project's name, in bytes: the narrowest of the dialects' columns has as many characters.
const mostProject = 255

// WorkStat sums what one daemon did for the images of one project. Fills are summed apart from requests, with no outcome.
type WorkStat struct {
	Host        InstanceID
	Project     string
	Outcome     words.Outcome
	Requests    int64
	Downloads   int64 // of Requests, those that downloaded
	SavedBytes  int64
	Took        time.Duration // sum, in microseconds
	Fills       int64         // all that ended, the failed ones too
	Failed      int64
	SourceBytes int64 // read from image sources by fills
}

// add adds up two stats of one key.
func (s WorkStat) add(more WorkStat) WorkStat {
	s.Requests += more.Requests
	s.Downloads += more.Downloads
	s.SavedBytes += more.SavedBytes
	s.Took += more.Took
	s.Fills += more.Fills
	s.Failed += more.Failed
	s.SourceBytes += more.SourceBytes
	return s
}

var (
	workStatKeys = []string{"minute", "host", "project", "outcome"}
	workStatSums = []string{"requests", "downloads", "saved_bytes", "took", "fills", "failed", "source_bytes"}
)

// workKey is the subject of one row of work_stats, but for the daemon: a transaction adds to the rows of its own alone.
type workKey struct {
	minute  int64
	project string
	outcome words.Outcome
}

func (k workKey) compare(o workKey) int {
	return cmp.Or(cmp.Compare(k.minute, o.minute), cmp.Compare(k.project, o.project), cmp.Compare(k.outcome, o.outcome))
}

// keyOf is where something is summed that was done then for a project.
func keyOf(at time.Time, project string, outcome words.Outcome) workKey {
	if len(project) > mostProject {
		project = strings.ToValidUTF8(project[:mostProject], "")
	}
	return workKey{minute(at), project, outcome}
}

const insertWork = `INSERT INTO work_stats
	(minute, host, project, outcome, requests, downloads, saved_bytes, took, fills, failed, source_bytes)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// addWork adds to the rows of a daemon, in their order.
func (t tx) addWork(ctx context.Context, host InstanceID, work map[workKey]WorkStat) error {
	stmt := insertWork + t.c.dialect.upsert("work_stats", workStatKeys, workStatSums, nil)
	for _, k := range slices.SortedFunc(maps.Keys(work), workKey.compare) {
		s := work[k]
		_, err := t.exec(ctx, stmt, k.minute, host, k.project, k.outcome,
			s.Requests, s.Downloads, s.SavedBytes, s.Took.Microseconds(), s.Fills, s.Failed, s.SourceBytes)
		if err != nil {
			return err
		}
	}
	return nil
}

// work is what a fill adds to the sums of its daemon.
func (f FillRecord) work() map[workKey]WorkStat {
	s := WorkStat{Fills: 1, SourceBytes: f.SourceBytes}
	if f.Error != "" {
		s.Failed = 1
	}
	return map[workKey]WorkStat{keyOf(f.At, f.Project, ""): s}
}

const sumWork = `SELECT host, project, outcome, SUM(requests), SUM(downloads), SUM(saved_bytes), SUM(took), SUM(fills), SUM(failed), SUM(source_bytes)
	FROM work_stats WHERE minute >= ? AND minute < ? GROUP BY host, project, outcome ORDER BY host, project, outcome`

func scanWorkStat(rows *sql.Rows) (s WorkStat, err error) {
	var took int64
	err = rows.Scan(&s.Host, &s.Project, &s.Outcome, &s.Requests, &s.Downloads, &s.SavedBytes, &took, &s.Fills, &s.Failed, &s.SourceBytes)
	s.Took = time.Duration(took) * time.Microsecond
	return s, err
}

// Sums are all that the report counts.
type Sums struct {
	Requests  []RequestStat
	Evictions []EvictionStat
	Fills     []FillStat
	Work      []WorkStat    // of daemons of this version and later ones
	Latencies []LatencyStat // likewise, in whole steps of ten minutes
}

// SumsIn sums all of a span, of one state of the catalog, as Requests does.
func (c *Catalog) SumsIn(ctx context.Context, in Span) (all Sums, err error) {
	err = c.read(ctx, "read statistics", func(t tx) (err error) {
		if all.Requests, err = rowsOf(ctx, t, in, sumRequests, scanRequestStat); err != nil {
			return err
		}
		if all.Evictions, err = rowsOf(ctx, t, in, sumEvictions, scanEvictionStat); err != nil {
			return err
		}
		if all.Fills, err = rowsOf(ctx, t, in, sumFills, scanFillStat); err != nil {
			return err
		}
		if all.Work, err = rowsOf(ctx, t, in, sumWork, scanWorkStat); err != nil {
			return err
		}
		all.Latencies, err = rowsOf(ctx, t, in.inSteps(), sumLatencies, scanLatencyStat)
		return err
	})
	if err != nil {
		return Sums{}, err
	}
	return all, nil
}
