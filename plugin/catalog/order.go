package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Order is what a list of entries goes by. By all but ByAge the greatest comes first, and of equal ones the youngest.
type Order string

// The orders. The zero Order is ByAge: of IDs, the oldest entry first.
const (
	ByAge    Order = ""
	ByHeld   Order = "held"   // by Entry.CountedBytes
	ByHits   Order = "hits"   // by Entry.Hits
	ByUsed   Order = "used"   // by Entry.LastUsedAt
	ByClones Order = "clones" // by Entry.Clones, as the catalog knows them
)

// ListPlace is where a list is left and goes on: behind that entry, were it where it was. The entry may have moved, or have
// gone, meanwhile.
type ListPlace struct {
	ID    EntryID
	Value int64 // what the list goes by; by age 0
}

// PlaceOf is an entry's place in a list of that order.
func (o Order) PlaceOf(e Entry) ListPlace {
	p := ListPlace{ID: e.ID}
	switch o {
	case ByAge:
	case ByHeld:
		p.Value = e.CountedBytes()
	case ByHits:
		p.Value = e.Hits
	case ByUsed:
		p.Value = micros(e.LastUsedAt)
	case ByClones:
		p.Value = int64(e.Clones)
	}
	return p
}

// Text is a place in one text, for ParsePlace: by age that is an ID.
func (o Order) Text(p ListPlace) string {
	if o == ByAge {
		return string(p.ID)
	}
	return strconv.FormatInt(p.Value, 10) + ":" + string(p.ID)
}

// ParsePlace reads what Text has written, and tells whether it is a place of this order; "" is the list's beginning.
func (o Order) ParsePlace(text string) (p ListPlace, ok bool) {
	if o == ByAge || text == "" {
		return ListPlace{ID: EntryID(text)}, true
	}
	number, id, _ := strings.Cut(text, ":")
	value, err := strconv.ParseInt(number, 10, 64)
	return ListPlace{ID: EntryID(id), Value: value}, err == nil && id != ""
}

// column is what the order goes by, and index has it with all that a Filter asks of an entry itself.
func (o Order) column() (column, index string) {
	switch o {
	case ByHeld:
		return "e.counted_bytes", "entries_listed_by_held"
	case ByHits:
		return "e.hits", "entries_listed_by_hits"
	case ByUsed:
		return "e.last_used_at", "entries_listed_by_used"
	case ByClones:
		return "e.clones", "entries_listed_by_clones"
	case ByAge:
	}
	return "e.id", "entries_listed_by_age"
}

// by is the ORDER BY.
func (o Order) by() string {
	column, _ := o.column()
	if o == ByAge {
		return " ORDER BY " + column
	}
	return " ORDER BY " + column + " DESC, e.id DESC"
}

// behind is the condition that an entry comes after a place. Its first part bounds a range of the index in every database.
func (o Order) behind(p ListPlace) (string, []any) {
	column, _ := o.column()
	if o == ByAge {
		return column + " > ?", []any{p.ID}
	}
	return column + " <= ? AND (" + column + " < ? OR e.id < ?)", []any{p.Value, p.Value, p.ID}
}

// selectPage reads some entries that were found in an index alone. CROSS JOIN keeps SQLite from going through all entries.
const selectPage = `SELECT ` + entryColumns + ` FROM (SELECT e.id AS listed FROM entries e%s) page CROSS JOIN entries e WHERE e.id = page.listed`

// page is the statement of a Filter with a Limit. A database that does not know how many entries are of a store or in a state
// takes an index of these, and sorts what it finds: so it is told which one to go through. Those of an image are few, and whether one is in use no index of a list says.
func (f Filter) page(d dialect) (string, []any) {
	where, args := f.where(d)
	_, index := f.Order.column()
	through := d.through(index)
	if f.ImageID != "" || f.InUse {
		through = ""
	}
	return fmt.Sprintf(selectPage, through+where) + f.Order.by(), args
}

// imagesAtOnce is of how many entries one statement reads the images.
const imagesAtOnce = 500

const selectImagesOf = `SELECT entry_id, image_id FROM entry_images WHERE entry_id IN (?%s) ORDER BY entry_id, added_at, image_id`

// imagesOf fills in the images of entries, in any order.
func (t tx) imagesOf(ctx context.Context, all []Entry) error {
	for some := range slices.Chunk(all, imagesAtOnce) {
		at := make(map[EntryID]*Entry, len(some))
		ids := make([]any, len(some))
		for i := range some {
			at[some[i].ID], ids[i] = &some[i], some[i].ID
		}
		stmt := fmt.Sprintf(selectImagesOf, strings.Repeat(", ?", len(ids)-1))
		if err := t.each(ctx, func(rows *sql.Rows) error { return addImageTo(at, rows) }, stmt, ids...); err != nil {
			return err
		}
	}
	return nil
}

// addImageTo adds the image of a row to its entry.
func addImageTo(at map[EntryID]*Entry, rows *sql.Rows) error {
	var id EntryID
	var image string
	if err := rows.Scan(&id, &image); err != nil {
		return err
	}
	if e, ok := at[id]; ok {
		e.ImageIDs = addOnce(e.ImageIDs, image)
	}
	return nil
}
