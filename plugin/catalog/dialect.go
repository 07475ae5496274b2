package catalog

import (
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
	// lockRows ends a SELECT whose rows nobody else may lock until the transaction ends.
	lockRows string
	// check selects one row of text a problem, or the one row "ok".
	check string

	// placeholders rewrites the ? of a statement.
	placeholders func(statement string) string
	// upsert ends an INSERT into table: where a row has the same key, its sums grow by the new row's and
	// its maxima become the larger one.
	upsert func(table string, key, sums, maxima []string) string
	// damaged tells whether the database said that it cannot read its own data.
	damaged func(error) bool
}

// question leaves placeholders as they are written.
func question(statement string) string { return statement }

// onConflict is upsert for SQLite and PostgreSQL.
func onConflict(table string, key, sums, maxima []string) string {
	var sets []string
	for _, c := range sums {
		sets = append(sets, c+" = "+table+"."+c+" + excluded."+c)
	}
	for _, c := range maxima {
		sets = append(sets, c+" = CASE WHEN excluded."+c+" > "+table+"."+c+
			" THEN excluded."+c+" ELSE "+table+"."+c+" END")
	}
	tail := " ON CONFLICT (" + strings.Join(key, ", ") + ") DO "
	if len(sets) == 0 {
		return tail + "NOTHING"
	}
	return tail + "UPDATE SET " + strings.Join(sets, ", ")
}
