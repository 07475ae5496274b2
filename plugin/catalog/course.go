package catalog

import (
	"context"
	"database/sql"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

// SlotStat sums requests of a while and an outcome.
type SlotStat struct {
	At         time.Time // when the while began
	Outcome    words.Outcome
	Requests   int64
	Downloads  int64 // of Requests, those that downloaded
	SavedBytes int64
}

const sumCourse = `SELECT minute - minute % ? AS slot, outcome, SUM(requests), SUM(downloads), SUM(saved_bytes) FROM request_stats
	WHERE minute >= ? AND minute < ? GROUP BY slot, outcome ORDER BY slot, outcome`

// Course sums the answered requests of a span by whiles of step, whole minutes, which begin where the step divides the time
// since 1970. The one that the span begins in counts whole.
func (c *Catalog) Course(ctx context.Context, in Span, step time.Duration) (all []SlotStat, err error) {
	minutes := max(int64(step/time.Minute), 1)
	since := minute(in.Since)
	err = c.read(ctx, "read statistics", func(t tx) error {
		all = nil
		return t.each(ctx, func(rows *sql.Rows) error {
			var s SlotStat
			var slot int64
			err := rows.Scan(&slot, &s.Outcome, &s.Requests, &s.Downloads, &s.SavedBytes)
			s.At = time.Unix(slot*int64(time.Minute/time.Second), 0).UTC()
			all = append(all, s)
			return err
		}, sumCourse, minutes, since-since%minutes, in.end())
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
