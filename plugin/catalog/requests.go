package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// Request is one answered request, for the report and for last-used.
type Request struct {
	Seq             int64 // of the journal's record; what was applied is not applied again
	At              time.Time
	Backend         backends.Name
	ImageID         string
	Project         string  // whose image it is; Everybody; "": not known. The journal does not keep it
	Entry           EntryID // "" where none was used
	Outcome         words.Outcome
	Reason          words.Reason
	Took            time.Duration
	DownloadedBytes int64
	SavedBytes      int64 // what a request without the cache would have downloaded
	Clones          int   // 1 where it added a clone that depends on the image-volume
	Volume          backends.VolumeName
	Detail          string // the reason in a sentence, where there is more to say
	// Times is how many requests this stands for, added up: their latest time, the sums of the rest. 0: one.
	Times int64
	// Spread is how long each of several took; nil: it is one, or that is not known. It is not written to.
	Spread *Spread
}

const selectApplied = `SELECT seq FROM applied WHERE host = ?`

// Applied is the highest journal sequence of instance that Record has applied; 0 for none.
func (c *Catalog) Applied(ctx context.Context, instance InstanceID) (int64, error) {
	var seq int64
	err := c.read(ctx, "read what is applied of "+string(instance), func(t tx) (err error) {
		seq, err = t.applied(ctx, instance)
		return err
	})
	return seq, err
}

func (t tx) applied(ctx context.Context, instance InstanceID) (seq int64, err error) {
	err = t.row(ctx, selectApplied, instance).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return seq, err
}

const insertApplied = `INSERT INTO applied (host, seq) VALUES (?, ?)`

// Record applies answered requests, in one transaction: hits, last-used, clones and the report's sums; and
// it adds events, in their order. What has a Seq at or below Applied(instance) is skipped; Seq 0 is always
// applied. Of events the oldest go beyond Config.MaxEvents. Afterwards
// Applied(instance) is upTo, or stays where it was higher; a Seq above upTo is an error that changes
// nothing. Entries that are gone by now are left out; their requests count in the report.
func (c *Catalog) Record(ctx context.Context, instance InstanceID, upTo int64, requests []Request, events ...Event) error {
	op := fmt.Sprintf("record %d requests and %d events of %s", len(requests), len(events), instance)
	for _, r := range requests {
		if r.Seq > upTo {
			return fmt.Errorf("%s: sequence %d is above %d", op, r.Seq, upTo)
		}
	}
	return c.write(ctx, op, func(t tx) error {
		if err := t.lock(ctx, "journal:"+string(instance)); err != nil {
			return err
		}
		applied, err := t.applied(ctx, instance)
		if err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		sums := summed(requests, applied, now)
		if err := t.liftUses(ctx, sums.uses, now); err != nil {
			return err
		}
		if err := t.addUses(ctx, sums.uses); err != nil {
			return err
		}
		if err := t.usedAgain(ctx, sums.uses, now); err != nil {
			return err
		}
		if err := t.addRequests(ctx, instance, sums); err != nil {
			return err
		}
		if err := t.addWork(ctx, instance, sums.work); err != nil {
			return err
		}
		if err := t.addEvents(ctx, events, applied, now); err != nil {
			return err
		}
		if upTo <= applied {
			return nil
		}
		stmt := insertApplied + t.c.dialect.upsert("applied", []string{"host"}, nil, []string{"seq"})
		_, err = t.exec(ctx, stmt, instance, upTo)
		return err
	})
}

// requestKey is the subject of one row of request_stats.
type requestKey struct {
	minute  int64
	backend backends.Name
	image   string
	outcome words.Outcome
	reason  words.Reason
}

func (k requestKey) compare(o requestKey) int {
	return cmp.Or(cmp.Compare(k.minute, o.minute), cmp.Compare(k.backend, o.backend),
		cmp.Compare(k.image, o.image), cmp.Compare(k.outcome, o.outcome), cmp.Compare(k.reason, o.reason))
}

// use is what requests add to one entry.
type use struct {
	hits   int64
	clones int
	last   time.Time
	images map[string]struct{} // as which it was used
}

// sums are what several requests add up to, so that each row is written once.
type sums struct {
	uses      map[EntryID]use
	requests  map[requestKey]RequestStat
	latencies map[latencyKey]*Spread
	work      map[workKey]WorkStat
}

// summed adds up the requests that are not applied yet. now stands in where a request has no time.
func summed(requests []Request, applied int64, now time.Time) sums {
	s := sums{
		uses: make(map[EntryID]use), requests: make(map[requestKey]RequestStat),
		latencies: make(map[latencyKey]*Spread), work: make(map[workKey]WorkStat),
	}
	for _, r := range requests {
		if r.Seq != 0 && r.Seq <= applied {
			continue
		}
		if r.At.IsZero() {
			r.At = now
		}
		s.add(r)
	}
	return s
}

func (s sums) add(r Request) {
	n := max(r.Times, 1)
	if r.Entry != "" {
		u := s.uses[r.Entry]
		if r.Outcome.UsesEntry() && r.DownloadedBytes == 0 { // a copy that downloaded made the entry
			u.hits += n
		}
		u.clones += r.Clones
		if r.At.After(u.last) {
			u.last = r.At
		}
		if u.images == nil {
			u.images = make(map[string]struct{}, 1)
		}
		u.images[r.ImageID] = struct{}{}
		s.uses[r.Entry] = u
	}
	downloads := int64(0)
	if r.DownloadedBytes > 0 {
		downloads = n
	}
	done := keyOf(r.At, r.Project, r.Outcome)
	s.work[done] = s.work[done].add(WorkStat{Requests: n, Downloads: downloads, SavedBytes: r.SavedBytes, Took: r.Took})
	key := requestKey{minute(r.At), r.Backend, r.ImageID, r.Outcome, r.Reason}
	stat := s.requests[key]
	stat.Requests += n
	stat.Downloads += downloads
	stat.DownloadedBytes += r.DownloadedBytes
	stat.SavedBytes += r.SavedBytes
	stat.Took += r.Took
	s.requests[key] = stat
	s.addLatency(r)
}

// What was counted when an entry was detached had all its clones already.
const addUse = `UPDATE entries SET hits = hits + ?, clones = clones + CASE WHEN state = 'detached' THEN 0 ELSE ? END,
	last_used_at = CASE WHEN last_used_at < ? THEN ? ELSE last_used_at END
	WHERE id = ? AND state IN ('ready', 'evicting', 'detached')`

// addUses goes in the order of IDs, so that two of them never wait for each other.
func (t tx) addUses(ctx context.Context, uses map[EntryID]use) error {
	return t.prepared(ctx, addUse, func(run func(args ...any) error) error {
		for _, id := range slices.Sorted(maps.Keys(uses)) {
			u := uses[id]
			last := micros(u.last)
			if err := run(u.hits, u.clones, last, last, id); err != nil {
				return err
			}
		}
		return nil
	})
}

const insertRequests = `INSERT INTO request_stats
	(minute, backend, image_id, outcome, reason, requests, downloads, downloaded_bytes, saved_bytes, took)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// storeOf is the ID that a name stands for; one that was not bound is known by its name.
func storeOf(ids map[backends.Name]backends.StoreID, name backends.Name) backends.StoreID {
	if id, bound := ids[name]; bound {
		return id
	}
	return backends.StoreID(name)
}

// addRequests adds to the sums of requests and of how long they took.
func (t tx) addRequests(ctx context.Context, host InstanceID, all sums) error {
	if len(all.requests) == 0 {
		return nil
	}
	ids, err := t.idsByName(ctx, host)
	if err != nil {
		return err
	}
	stmt := insertRequests + t.c.dialect.upsert("request_stats", requestStatKeys, requestStatSums, nil)
	for _, k := range slices.SortedFunc(maps.Keys(all.requests), requestKey.compare) {
		s := all.requests[k]
		_, err := t.exec(ctx, stmt, k.minute, storeOf(ids, k.backend), k.image, k.outcome, k.reason,
			s.Requests, s.Downloads, s.DownloadedBytes, s.SavedBytes, s.Took.Microseconds())
		if err != nil {
			return err
		}
	}
	return t.addLatencies(ctx, host, ids, all.latencies)
}
