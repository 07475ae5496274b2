package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/cmd/clonecache/daemon"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/catalog"
)

func (a *app) catalog() *cobra.Command {
	return group("catalog", "Migrate or copy the catalog",
		"The catalog is what clonecache knows of its entries, requests and events: a SQLite file in state_dir, or a database of\nMariaDB or PostgreSQL. These commands work on the database itself, without the daemon.",
		a.catalogMigrate(), a.catalogCopy())
}

// migrated is what "catalog migrate -o json" answers.
type migrated struct {
	URL         string `json:"url"`
	FromVersion int64  `json:"from_version"`
	ToVersion   int64  `json:"to_version"`
}

func (a *app) catalogMigrate() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the catalog's schema up to date",
		Long: `Brings the schema of the configured catalog up to date, or makes it where the database is new. A daemon does not start
on a server's catalog whose schema is older than its own, or newer by more than one step; a SQLite catalog it migrates
by itself.

Daemons of the version before may go on where the schema changes by one step, and are upgraded one after another;
on a Galera cluster, and where it changes by more, stop those that use the catalog first. Where a migration is
interrupted, run it again: it goes on where it was. The database's user must be allowed to make tables, triggers and
functions.

The configuration is --config, else CLONECACHE_CONFIG, else ` + defaultConfig + `.

Exit code 1: the schema is that of a newer clonecache. 9: the daemon runs, or the database does not answer.`,
		Example: `  clonecache catalog migrate --config /etc/clonecache/clonecache.toml
  clonecache catalog migrate --config /etc/clonecache/clonecache.toml -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.migrateCatalog(cmd.Context(), a.configFile(file)) },
	}
	a.configFlag(cmd, &file)
	return cmd
}

func (a *app) migrateCatalog(ctx context.Context, file string) error {
	cfg, err := kinds.All().Load(file)
	if err != nil {
		return &usageError{err}
	}
	stop := a.waiting("migrating")
	url, done, err := daemon.MigrateCatalog(ctx, cfg)
	stop()
	if err != nil {
		return ofCatalog(err)
	}
	return a.print(migrated{URL: url, FromVersion: done.From, ToVersion: done.To}, func(t *table) {
		if done.From == done.To {
			t.line("%s is up to date: its schema is version %d", url, done.To)
			return
		}
		t.line("%s: its schema is version %d now, and was version %d", url, done.To, done.From)
	})
}

// ofCatalog is an error of a command that works on the database itself: whoever runs it may read all of it.
func ofCatalog(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e := *api.Explain(err)
	if !strings.Contains(e.Message, err.Error()) {
		e.Message = err.Error() + ": " + e.Message
	}
	return &e
}

// copied is what "catalog copy -o json" answers.
type copied struct {
	From string         `json:"from"`
	To   string         `json:"to"`
	Rows catalog.Copied `json:"rows"`
}

func (a *app) catalogCopy() *cobra.Command {
	var from, to catalog.Access
	cmd := &cobra.Command{
		Use:   "copy --from URL --to URL",
		Short: "Copy a catalog into another database",
		Long: `Copies a catalog whole: entries with their pins and counts, stores, claims, the report, events, and whose catalog it
is. The target must hold nothing; its schema is made. Either all is copied or nothing is: where it fails or is
interrupted, the target is empty as before.

Stop the daemon first: what it writes meanwhile is not copied. Then set url of [catalog] to the new one and start it;
the image-volumes stay where they are. The old catalog is left as it is.

A URL is sqlite:///PATH, mysql://USER@HOST:PORT/DATABASE or postgres://USER@HOST:PORT/DATABASE.

Exit code 6: there is no such file to copy. 7: the target holds something. 9: a database does not answer.`,
		Example: `  clonecache catalog copy --from sqlite:///var/lib/clonecache/catalog.db --to mysql://clonecache@db:3306/clonecache --to-password-file /etc/clonecache/catalog.password
  clonecache catalog copy --from postgres://clonecache@db/clonecache --from-password-file pw --to sqlite:///var/lib/clonecache/catalog.db`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.copyCatalog(cmd.Context(), from, to) },
	}
	flags := cmd.Flags()
	flags.StringVar(&from.URL, "from", "", "the catalog to copy")
	flags.StringVar(&from.PasswordFile, "from-password-file", "", "the file of its user's password")
	flags.StringVar(&from.CAFile, "from-ca-file", "", "CAs of its server as PEM; with it the connection is encrypted")
	flags.StringVar(&to.URL, "to", "", "the empty catalog to copy to")
	flags.StringVar(&to.PasswordFile, "to-password-file", "", "the file of its user's password")
	flags.StringVar(&to.CAFile, "to-ca-file", "", "CAs of its server as PEM; with it the connection is encrypted")
	return cmd
}

func (a *app) copyCatalog(ctx context.Context, from, to catalog.Access) error {
	result := copied{}
	for _, u := range []struct {
		flag, url string
		shown     *string
	}{{"--from", from.URL, &result.From}, {"--to", to.URL, &result.To}} {
		place, err := catalog.ParseURL(u.url)
		if err != nil {
			return &usageError{fmt.Errorf("%s: %w", u.flag, err)}
		}
		*u.shown = place.String()
	}
	stop := a.waiting("copying")
	rows, err := catalog.Copy(ctx, catalog.Config{Access: from}, catalog.Config{Access: to})
	stop()
	if err != nil {
		return ofCatalog(err)
	}
	result.Rows = rows
	return a.print(result, func(t *table) {
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			t.row(name, count(rows[name]))
		}
		t.line("%s is now what %s is", result.To, result.From)
	})
}
