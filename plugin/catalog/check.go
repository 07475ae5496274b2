package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Check runs SQLite's integrity check, which reads all of it. The files of a server are for its own keeper. ErrDamaged.
func (c *Catalog) Check(ctx context.Context) error {
	return c.read(ctx, "check catalog", func(t tx) error {
		var problems []string
		err := t.each(ctx, func(rows *sql.Rows) error {
			var line string
			err := rows.Scan(&line)
			problems = append(problems, line)
			return err
		}, c.dialect.check)
		if err != nil {
			return err
		}
		if len(problems) == 1 && problems[0] == "ok" {
			return nil
		}
		return fmt.Errorf("%w: %s", ErrDamaged, strings.Join(problems, "; "))
	})
}
