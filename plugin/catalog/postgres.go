package catalog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// postgresDialect is PostgreSQL. A transaction that writes is READ COMMITTED, so that after a lock it sees what those
// before it have done.
var postgresDialect = dialect{
	goose:      goose.DialectPostgres,
	migrations: "migrations/postgres",
	now:        `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)`,
	check:      `SELECT 'ok'`,
	ending:     `RIGHT(e.id, CHAR_LENGTH(?)) = ?`,
	contains:   holds("strpos"),
	through:    func(string) string { return "" },
	superseded: `superseded_at > 0`,
	current:    `superseded_at = 0`,
	shard:      `COALESCE(current_setting('clonecache.shard', true), '')`,
	reading:    sql.LevelRepeatableRead,
	writing:    sql.LevelReadCommitted,
	copied:     `SELECT setval(pg_get_serial_sequence('events', 'id'), GREATEST((SELECT MAX(id) FROM events), 1), EXISTS (SELECT 1 FROM events))`,
	rewrite:    remembering(numbered),
	upsert:     onConflict(map[string]string{"image_id": "md5(image_id)"}),
	failed:     postgresFailed,
	noTable:    func(err error) bool { return codeOf(err) == undefinedTable },
	undecided:  postgresUndecided,
	text:       utf8Text,
}

// numbered is a statement with $1, $2, … for each ?; none of ours has one in a text.
func numbered(statement string) string {
	parts := strings.Split(statement, "?")
	var out strings.Builder
	out.WriteString(parts[0])
	for i, part := range parts[1:] {
		out.WriteString("$" + strconv.Itoa(i+1) + part)
	}
	return out.String()
}

// The SQLSTATEs of errors (postgresql.org/docs/15/errcodes-appendix.html).
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	uniqueViolation      = "23505"
	foreignKeyViolation  = "23503"
	exclusionViolation   = "23P01"
	readOnlySQL          = "25006"
	undefinedTable       = "42P01"
	connectionClass      = "08"
	resourcesClass       = "53"
	interventionClass    = "57P" // shutdown, crash, cannot connect now
)

// codeOf is the SQLSTATE of an error that the server said; "": it is none.
func codeOf(err error) string {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func postgresFailed(err error) failure {
	code := codeOf(err)
	if code == uniqueViolation && strings.Contains(err.Error(), departedOnce) {
		return conflicting
	}
	switch code {
	case "":
		return connectionFailed(err)
	case serializationFailure, deadlockDetected, lockNotAvailable:
		return conflicting
	case uniqueViolation, foreignKeyViolation, exclusionViolation:
		return clashing
	case readOnlySQL:
		return unavailable
	}
	for _, class := range []string{connectionClass, resourcesClass, interventionClass} {
		if strings.HasPrefix(code, class) {
			return unavailable
		}
	}
	return other
}

// postgresUndecided: only what the server says of COMMIT decides, and not where it breaks off.
func postgresUndecided(err error) bool {
	if errors.Is(err, pgx.ErrTxCommitRollback) {
		return false
	}
	code := codeOf(err)
	return code == "" || strings.HasPrefix(code, connectionClass) || strings.HasPrefix(code, interventionClass)
}

// brokenConnection are what the drivers say where a connection ends, beside net.Error.
var brokenConnection = []error{driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, sql.ErrConnDone}

// newPostgresConnector connects to the first of the hosts that takes the connection.
func newPostgresConnector(place Place, caFile string, l login) (driver.Connector, error) {
	var hosts, ports []string
	for _, address := range place.hosts {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	dsn := map[string]string{
		"host": strings.Join(hosts, ","), "port": strings.Join(ports, ","), "user": place.user, "dbname": place.database,
		"password": l.password, "sslmode": "disable", "connect_timeout": strconv.Itoa(int(connectWithin.Seconds())),
		"target_session_attrs": "any", "application_name": "clonecache", "timezone": "UTC", "lock_timeout": lockSeconds + "s",
		"idle_in_transaction_session_timeout": idleSeconds + "s",
	}
	if caFile != "" {
		dsn["sslmode"], dsn["sslrootcert"] = "verify-full", caFile
	}
	var words []string
	for key, value := range dsn {
		words = append(words, fmt.Sprintf("%s='%s'", key, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)))
	}
	cfg, err := pgx.ParseConfig(strings.Join(words, " "))
	if err != nil {
		return nil, err
	}
	return stdlib.GetConnector(*cfg, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
		c.RuntimeParams = maps.Clone(c.RuntimeParams)
		c.RuntimeParams["clonecache.shard"] = l.shard()
		return nil
	})), nil
}
