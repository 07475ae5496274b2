package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// copiedTables are what a catalog consists of, those that others refer to first, with the columns that its database fills
// in by itself. What is not here is a database's own: locks, marks, duties, and the sums, which triggers keep.
var copiedTables = []struct {
	name string
	own  []string
}{
	{"identity", nil},
	{"stores", nil},
	{"store_names", nil},
	{"hosts", nil},
	{"host_stores", nil},
	{"estates", nil},
	{"entries", []string{"used_at", "in_use", "id_end", "superseded", "live_hash", "counted_bytes"}},
	{"entry_images", []string{"n", "row_hash"}},
	{"departed", []string{"n", "image_hash"}},
	{"applied", nil},
	{"claims", nil},
	{"loans", nil},
	{"request_stats", []string{"n", "image_hash"}},
	{"eviction_stats", nil},
	{"fill_stats", []string{"n", "image_hash"}},
	{"work_stats", nil},
	{"latency_stats", nil},
	{"events", nil},
	{"fill_queue", []string{"image_hash"}},
	{"paused_stores", nil},
}

// batchRows is how many rows one statement inserts.
const batchRows = 100

// Copied is how many rows of each table were copied.
type Copied map[string]int64

// Copy copies a catalog whole into another, empty one, whose schema it makes or brings up to date: in one transaction there, of one
// state here. No daemon may use either meanwhile: what it writes is not copied. A process that dies in it has copied
// nothing. ErrNotEmpty: the target holds something. fs.ErrNotExist: there is no such file to copy. ErrUnavailable, ErrSchema.
func Copy(ctx context.Context, from, to Config) (copied Copied, err error) {
	source, err := openExisting(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("copy catalog: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	made, err := makesFile(to)
	if err != nil {
		return nil, fmt.Errorf("copy catalog: %w", err)
	}
	copied, err = copyInto(ctx, source, to)
	if err != nil && made != "" {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if gone := os.Remove(made + suffix); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}
	return copied, err
}

// openExisting opens a catalog that is there; a SQLite file is not made.
func openExisting(ctx context.Context, cfg Config) (*Catalog, error) {
	place, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if !place.Server() {
		if _, err := os.Stat(place.path); err != nil {
			return nil, err
		}
	}
	return Open(ctx, cfg)
}

// makesFile is the SQLite file that opening the catalog would make; "": none.
func makesFile(cfg Config) (string, error) {
	place, err := ParseURL(cfg.URL)
	if err != nil || place.Server() {
		return "", err
	}
	if _, err := os.Stat(place.path); errors.Is(err, fs.ErrNotExist) {
		return place.path, nil
	}
	return "", nil
}

func copyInto(ctx context.Context, source *Catalog, to Config) (copied Copied, err error) {
	if _, err := Migrate(ctx, to); err != nil {
		return nil, err
	}
	target, err := Open(ctx, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	err = target.write(ctx, "copy catalog to "+target.place.String(), func(into tx) error {
		copied = make(Copied)
		if err := into.isEmpty(ctx); err != nil {
			return err
		}
		return source.wrap("read catalog "+source.place.String(), source.readOnce(ctx, func(from tx) error {
			return copyTables(ctx, from, into, copied)
		}))
	})
	if err != nil {
		return nil, err
	}
	return copied, nil
}

// isEmpty tells whether the catalog holds nothing. ErrNotEmpty.
func (t tx) isEmpty(ctx context.Context) error {
	for _, table := range copiedTables {
		var rows int64
		if err := t.row(ctx, "SELECT COUNT(*) FROM "+table.name).Scan(&rows); err != nil {
			return err
		}
		if rows > 0 {
			return fmt.Errorf("%w: table %s has %d rows", ErrNotEmpty, table.name, rows)
		}
	}
	return nil
}

func copyTables(ctx context.Context, from, into tx, copied Copied) error {
	for _, table := range copiedTables {
		columns, err := commonColumns(ctx, from, into, table.name, table.own)
		if err != nil {
			return err
		}
		if copied[table.name], err = copyTable(ctx, from, into, table.name, columns); err != nil {
			return fmt.Errorf("table %s: %w", table.name, err)
		}
	}
	if into.c.dialect.copied == "" {
		return nil
	}
	_, err := into.exec(ctx, into.c.dialect.copied)
	return err
}

// commonColumns are a table's columns but its database's own. Both catalogs must have the same.
func commonColumns(ctx context.Context, from, into tx, table string, own []string) ([]string, error) {
	here, err := from.columns(ctx, table, own)
	if err != nil {
		return nil, err
	}
	there, err := into.columns(ctx, table, own)
	if err == nil && !slices.Equal(here, there) {
		err = fmt.Errorf("%w: table %s has the columns %v here and %v there", ErrSchema, table, here, there)
	}
	return here, err
}

func (t tx) columns(ctx context.Context, table string, own []string) ([]string, error) {
	rows, err := t.sql.QueryContext(ctx, t.c.dialect.rewrite("SELECT * FROM "+table+" LIMIT 0"))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(c string) bool { return slices.Contains(own, c) })
	slices.Sort(all)
	return all, rows.Err()
}

// copyTable copies all rows, some at a time.
func copyTable(ctx context.Context, from, into tx, table string, columns []string) (copied int64, err error) {
	list := strings.Join(columns, ", ")
	insert := "INSERT INTO " + table + " (" + list + ") VALUES "
	row := "(?" + strings.Repeat(", ?", len(columns)-1) + ")"
	var batch []any
	flush := func() error {
		n := len(batch) / len(columns)
		if n == 0 {
			return nil
		}
		_, err := into.exec(ctx, insert+row+strings.Repeat(", "+row, n-1), batch...)
		batch, copied = batch[:0], copied+int64(n)
		return err
	}
	err = from.each(ctx, func(rows *sql.Rows) error {
		values, err := scanAny(rows, len(columns))
		if err != nil {
			return err
		}
		if batch = append(batch, values...); len(batch) < batchRows*len(columns) {
			return nil
		}
		return flush()
	}, "SELECT "+list+" FROM "+table)
	if err != nil {
		return copied, err
	}
	return copied, flush()
}

// scanAny reads a row of integers and texts.
func scanAny(rows *sql.Rows, n int) ([]any, error) {
	values, into := make([]any, n), make([]any, n)
	for i := range values {
		into[i] = &values[i]
	}
	err := rows.Scan(into...)
	for i, v := range values {
		if text, is := v.([]byte); is {
			values[i] = string(text)
		}
	}
	return values, err
}
