package catalog

import (
	"database/sql"
	"strings"

	"github.com/pressly/goose/v3"
)

// dialect is what differs between the databases. Statements are written once, with ? for arguments and
// in the SQL that all of them share; where they do not share it, a statement is put together from these
// parts.
type dialect struct {
	goose      goose.Dialect
	migrations string // the folder below migrationFiles

	// now selects the database's clock: one integer, microseconds since 1970 UTC, as of the statement
	// rather than of its transaction.
	now string
	// check selects one row of text a problem, or the one row "ok".
	check string
	// ending is the condition that an entry's ID ends in ?, which is given twice.
	ending string
	// contains is the condition that a text has ? in it, byte by byte.
	contains func(text string) string
	// through makes a SELECT go through that index of the table before it; "" leaves it to the database, which counts.
	through func(index string) string
	// superseded and current are the conditions that an entry is superseded, or is not, in the words of an index.
	superseded, current string
	// shard is the SQL of whose row a total is added to; "": there is one row for all.
	shard string
	// reading and writing are the isolations of transactions. One that writes sees what others have committed before
	// each of its statements, and none of them while it is alone (tx.lock).
	reading, writing sql.IsolationLevel
	// streams says that rows are read from the database one by one as they are asked for, and beside others.
	streams bool
	// copied is run after rows were copied with the IDs that they had; "": nothing needs to be.
	copied string

	// rewrite brings a statement into the database's form: its placeholders above all.
	rewrite func(statement string) string
	// upsert ends an INSERT into table: where a row has the same key, its sums grow by the new row's and
	// its maxima become the larger one.
	upsert func(table string, key, sums, maxima []string) string
	// failed says what an error of the database means.
	failed func(error) failure
	// noTable tells whether an error says that a table is not there.
	noTable func(error) bool
	// undecided tells whether an error of COMMIT leaves open if it has happened.
	undecided func(error) bool
	// text replaces what the database does not take in a text; nil: it takes all.
	text func(string) string
}

// failure is what an error of the database means for the transaction.
type failure int

const (
	other       failure = iota
	damaged             // the database cannot read its own data
	conflicting         // others were in the way: nothing has happened, and the whole transaction may be repeated
	clashing            // a row is there already, or is there no more: a repeated transaction sees it, if others made it so
	unavailable         // the database does not answer, or not now
)

// holds is contains by a function of the database, which tells where the text begins in another one, from 1.
func holds(function string) func(text string) string {
	return func(text string) string { return function + "(" + text + ", ?) > 0" }
}

// unchanged leaves a statement as it is written.
func unchanged(statement string) string { return statement }

// onConflict is upsert for SQLite and PostgreSQL; named are key columns that an index has by another expression.
func onConflict(named map[string]string) func(table string, key, sums, maxima []string) string {
	return func(table string, key, sums, maxima []string) string {
		sets := raised(sums, maxima, func(c string) (old, new string) { return table + "." + c, "excluded." + c })
		if len(sets) == 0 {
			return " ON CONFLICT DO NOTHING"
		}
		columns := make([]string, len(key))
		for i, c := range key {
			columns[i] = c
			if as := named[c]; as != "" {
				columns[i] = as
			}
		}
		return " ON CONFLICT (" + strings.Join(columns, ", ") + ") DO UPDATE SET " + strings.Join(sets, ", ")
	}
}

// raised are the assignments that add to sums and lift maxima.
func raised(sums, maxima []string, names func(column string) (old, new string)) []string {
	var sets []string
	for _, c := range sums {
		old, new := names(c)
		sets = append(sets, c+" = "+old+" + "+new)
	}
	for _, c := range maxima {
		old, new := names(c)
		sets = append(sets, c+" = CASE WHEN "+new+" > "+old+" THEN "+new+" ELSE "+old+" END")
	}
	return sets
}
