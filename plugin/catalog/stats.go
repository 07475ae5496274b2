package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// FillRecord is one fill that ended, for the report.
type FillRecord struct {
	At           time.Time
	Store        backends.StoreID
	ImageID      string
	Took         time.Duration
	Phases       FillPhases
	SourceBytes  int64 // read from the image source, of a failed fill too
	WrittenBytes int64
	Error        string // "" where it became ready
	Host         InstanceID
	Project      string // whose image it is, as in Request
}

// RequestStat sums requests of one backend, image, outcome and reason.
type RequestStat struct {
	Backend         backends.Name
	ImageID         string
	Outcome         words.Outcome
	Reason          words.Reason
	Requests        int64
	Downloads       int64 // of Requests, those that downloaded: DownloadedBytes > 0
	DownloadedBytes int64
	SavedBytes      int64
	Took            time.Duration // sum, in microseconds
}

// EvictionStat sums evictions of one store and cause.
type EvictionStat struct {
	Store backends.Name
	Cause EvictCause
	Count int64
	Bytes int64
}

// FillPhases is where a fill's time went.
type FillPhases struct {
	Waiting time.Duration // for a place among the fills
	Quota   time.Duration // room and the internal tenant's claim
	Source  time.Duration // until the image's headers were there
	Decode  time.Duration // reading, hashing and decoding, but for Write
	Write   time.Duration // waiting for the backend to take what was decoded
	Commit  time.Duration // verifying, committing and naming
}

// each are the phases in the order of their columns.
func (p *FillPhases) each() []*time.Duration {
	return []*time.Duration{&p.Waiting, &p.Quota, &p.Source, &p.Decode, &p.Write, &p.Commit}
}

// FillStat sums fills of one store and image.
type FillStat struct {
	Store        backends.Name
	ImageID      string
	Fills        int64 // all that ended, the failed ones too
	Failed       int64
	Took         time.Duration // sum over those that became ready
	Longest      time.Duration // of those that became ready
	Phases       FillPhases    // sums over those that became ready
	SourceBytes  int64
	WrittenBytes int64
}

// What the rows of the sums are found by, what is added up in them, and of what the most is kept.
var (
	requestStatKeys  = []string{"minute", "backend", "image_id", "outcome", "reason"}
	requestStatSums  = []string{"requests", "downloads", "downloaded_bytes", "saved_bytes", "took"}
	evictionStatKeys = []string{"minute", "store", "cause"}
	evictionStatSums = []string{"evictions", "bytes"}
	fillStatKeys     = []string{"minute", "store", "image_id"}
	fillStatSums     = []string{"fills", "failed", "took", "source_bytes", "written_bytes",
		"phase_waiting", "phase_quota", "phase_source", "phase_decode", "phase_write", "phase_commit"}
	fillStatMost = []string{"longest"}
)

// minute is the bucket that statistics of a time are summed in.
func minute(at time.Time) int64 { return micros(at) / time.Minute.Microseconds() }

const insertFill = `INSERT INTO fill_stats
	(minute, store, image_id, fills, failed, took, longest, source_bytes, written_bytes,
		phase_waiting, phase_quota, phase_source, phase_decode, phase_write, phase_commit)
	VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// RecordFill notes a fill that ended.
func (c *Catalog) RecordFill(ctx context.Context, f FillRecord) error {
	failed := f.Error != ""
	took := f.Took.Microseconds()
	if failed {
		took, f.Phases = 0, FillPhases{}
	}
	args := []any{minute(f.At), f.Store, f.ImageID, number(failed), took, took, f.SourceBytes, f.WrittenBytes}
	for _, d := range f.Phases.each() {
		args = append(args, d.Microseconds())
	}
	op := fmt.Sprintf("record fill of %s on %s", f.ImageID, f.Store)
	return c.write(ctx, op, func(t tx) error {
		stmt := insertFill + t.c.dialect.upsert("fill_stats", fillStatKeys, fillStatSums, fillStatMost)
		if _, err := t.exec(ctx, stmt, args...); err != nil {
			return err
		}
		return t.addWork(ctx, f.Host, f.work())
	})
}

const insertEviction = `INSERT INTO eviction_stats (minute, store, cause, evictions, bytes) VALUES (?, ?, ?, 1, ?)`

func (t tx) countEviction(ctx context.Context, e Entry) error {
	now, err := t.now(ctx)
	if err != nil {
		return err
	}
	stmt := insertEviction + t.c.dialect.upsert("eviction_stats", evictionStatKeys, evictionStatSums, nil)
	_, err = t.exec(ctx, stmt, minute(now), e.Store, e.EvictCause, e.HeldBytes)
	return err
}

// Span is a time from Since up to Until. Zero times are the beginning, and no end.
type Span struct{ Since, Until time.Time }

// end is the minute that is not of the span any more.
func (s Span) end() int64 {
	if s.Until.IsZero() {
		return math.MaxInt64
	}
	return minute(s.Until)
}

// The sums are read under the name that a store has now.
const sumRequests = `SELECT COALESCE(s.name, r.backend) AS label, image_id, outcome, reason,
	SUM(requests), SUM(downloads), SUM(downloaded_bytes), SUM(saved_bytes), SUM(took) FROM request_stats r
	LEFT JOIN stores s ON s.id = r.backend
	WHERE minute >= ? AND minute < ? GROUP BY label, image_id, outcome, reason ORDER BY label, image_id, outcome, reason`

// Requests sums answered requests since then; the zero time is all. Sums are kept by the minute: the one
// that since lies in counts whole.
func (c *Catalog) Requests(ctx context.Context, since time.Time) ([]RequestStat, error) {
	return c.RequestsIn(ctx, Span{Since: since})
}

// RequestsIn sums answered requests of a span, as Requests does.
func (c *Catalog) RequestsIn(ctx context.Context, in Span) ([]RequestStat, error) {
	return stats(ctx, c, in, sumRequests, scanRequestStat)
}

func scanRequestStat(rows *sql.Rows) (s RequestStat, err error) {
	var took int64
	err = rows.Scan(&s.Backend, &s.ImageID, &s.Outcome, &s.Reason,
		&s.Requests, &s.Downloads, &s.DownloadedBytes, &s.SavedBytes, &took)
	s.Took = time.Duration(took) * time.Microsecond
	return s, err
}

const sumEvictions = `SELECT COALESCE(s.name, e.store) AS label, cause, SUM(evictions), SUM(bytes) FROM eviction_stats e
	LEFT JOIN stores s ON s.id = e.store
	WHERE minute >= ? AND minute < ? GROUP BY label, cause ORDER BY label, cause`

// Evictions sums evictions since then, as Requests does.
func (c *Catalog) Evictions(ctx context.Context, since time.Time) ([]EvictionStat, error) {
	return c.EvictionsIn(ctx, Span{Since: since})
}

// EvictionsIn sums evictions of a span, as Requests does.
func (c *Catalog) EvictionsIn(ctx context.Context, in Span) ([]EvictionStat, error) {
	return stats(ctx, c, in, sumEvictions, scanEvictionStat)
}

func scanEvictionStat(rows *sql.Rows) (s EvictionStat, err error) {
	return s, rows.Scan(&s.Store, &s.Cause, &s.Count, &s.Bytes)
}

const sumFills = `SELECT COALESCE(s.name, f.store) AS label, image_id, SUM(fills), SUM(failed), SUM(took), MAX(longest),
	SUM(source_bytes), SUM(written_bytes), SUM(phase_waiting), SUM(phase_quota), SUM(phase_source), SUM(phase_decode),
	SUM(phase_write), SUM(phase_commit) FROM fill_stats f
	LEFT JOIN stores s ON s.id = f.store
	WHERE minute >= ? AND minute < ? GROUP BY label, image_id ORDER BY label, image_id`

// Fills sums fills since then, as Requests does.
func (c *Catalog) Fills(ctx context.Context, since time.Time) ([]FillStat, error) {
	return c.FillsIn(ctx, Span{Since: since})
}

// FillsIn sums fills of a span, as Requests does.
func (c *Catalog) FillsIn(ctx context.Context, in Span) ([]FillStat, error) {
	return stats(ctx, c, in, sumFills, scanFillStat)
}

func scanFillStat(rows *sql.Rows) (s FillStat, err error) {
	var took, longest int64
	into := []any{&s.Store, &s.ImageID, &s.Fills, &s.Failed, &took, &longest, &s.SourceBytes, &s.WrittenBytes}
	phases := s.Phases.each()
	micros := make([]int64, len(phases))
	for i := range micros {
		into = append(into, &micros[i])
	}
	err = rows.Scan(into...)
	for i, d := range phases {
		*d = time.Duration(micros[i]) * time.Microsecond
	}
	s.Took = time.Duration(took) * time.Microsecond
	s.Longest = time.Duration(longest) * time.Microsecond
	return s, err
}

// stats reads the rows of one of the sums above.
func stats[S any](ctx context.Context, c *Catalog, in Span, stmt string, scan func(*sql.Rows) (S, error)) (all []S, err error) {
	err = c.read(ctx, "read statistics", func(t tx) (err error) {
		all, err = rowsOf(ctx, t, in, stmt, scan)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func rowsOf[S any](ctx context.Context, t tx, in Span, stmt string, scan func(*sql.Rows) (S, error)) ([]S, error) {
	var all []S
	err := t.each(ctx, func(rows *sql.Rows) error {
		s, err := scan(rows)
		all = append(all, s)
		return err
	}, stmt, minute(in.Since), in.end())
	return all, err
}

// sumTables are the tables of the report's figures.
var sumTables = []string{"request_stats", "eviction_stats", "fill_stats", "work_stats", "latency_stats"}

// Prune removes the report's sums of minutes before that of olderThan, and what it remembers of images that
// departed before. A process that dies in it leaves the younger ones of them.
func (c *Catalog) Prune(ctx context.Context, olderThan time.Time) error {
	err := c.write(ctx, "prune statistics", func(t tx) error {
		_, err := t.exec(ctx, pruneDeparted, micros(olderThan))
		if err == nil && c.marks != nil {
			_, err = t.exec(ctx, pruneMarks, time.Now().Add(-keepMarks).UnixMicro())
		}
		return err
	})
	for _, table := range sumTables {
		if err == nil {
			err = c.pruneSums(ctx, table, minute(olderThan))
		}
	}
	return err
}

// pruneSums removes a table's sums of minutes before one, of a day in each transaction: a catalog that was not pruned for long
// has millions, which one transaction would hold locks on, and send to the other nodes of a cluster as one piece.
func (c *Catalog) pruneSums(ctx context.Context, table string, before int64) error {
	const day = int64(24 * time.Hour / time.Minute)
	for {
		var first sql.NullInt64
		err := c.read(ctx, "look for old statistics", func(t tx) error {
			return t.row(ctx, "SELECT MIN(minute) FROM "+table).Scan(&first)
		})
		if err != nil || !first.Valid || first.Int64 >= before {
			return err
		}
		err = c.write(ctx, "prune statistics", func(t tx) error {
			_, err := t.exec(ctx, "DELETE FROM "+table+" WHERE minute < ?", min(before, first.Int64+day))
			return err
		})
		if err != nil {
			return err
		}
	}
}
