package catalog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
)

// mariaDBDialect is MariaDB, also as a Galera cluster. A transaction that writes is READ COMMITTED, so that after a lock
// it sees what those before it have done; there are no partial indexes.
var mariaDBDialect = dialect{
	goose:      goose.DialectMySQL,
	migrations: "migrations/mariadb",
	now:        `SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)`,
	check:      `SELECT 'ok'`,
	ending:     `RIGHT(e.id, CHAR_LENGTH(?)) = ?`,
	contains:   holds("INSTR"),
	through:    func(index string) string { return " FORCE INDEX (" + index + ")" },
	superseded: `superseded = 1`,
	current:    `superseded = 0`,
	shard:      `COALESCE(@clonecache_shard, '')`,
	reading:    sql.LevelRepeatableRead,
	writing:    sql.LevelDefault, // READ COMMITTED, as connections are made: another one would cost each transaction a statement
	rewrite:    remembering(func(stmt string) string { return strings.ReplaceAll(stmt, "AS BIGINT)", "AS SIGNED)") }),
	upsert:     onDuplicateKey,
	failed:     mariaDBFailed,
	noTable:    func(err error) bool { return numberOf(err) == noSuchTable },
	undecided:  mariaDBUndecided,
	text:       utf8Text,
}

// onDuplicateKey is upsert for MariaDB. A SELECT from the same table gives that another name.
func onDuplicateKey(table string, key, sums, maxima []string) string {
	sets := raised(sums, maxima, func(c string) (old, new string) { return table + "." + c, "VALUES(" + c + ")" })
	if len(sets) == 0 {
		sets = []string{key[0] + " = " + table + "." + key[0]}
	}
	return " ON DUPLICATE KEY UPDATE " + strings.Join(sets, ", ")
}

// The numbers of errors (mariadb.com/kb/en/mariadb-error-codes).
const (
	tooManyConnections  = 1040
	notReady            = 1047 // a Galera node that is not part of the cluster now
	shutdownInProgress  = 1053
	duplicateEntry      = 1062
	noSuchTable         = 1146
	errorDuringCommit   = 1180
	unknownVariable     = 1193
	tooManyOfUser       = 1203
	lockWaitTimeout     = 1205
	deadlock            = 1213 // at COMMIT: another node of a Galera cluster was first
	refusedByOption     = 1290 // read-only
	tableHasChanged     = 1412 // since the transaction began
	triggersNeedSuper   = 1419 // where there is a binary log
	queryInterrupted    = 1317
	rowIsReferenced     = 1451
	noReferencedRow     = 1452
	readOnlyTransaction = 1792
	readOnlyMode        = 1836
	connectionKilled    = 1927
	changedSinceRead    = 1020
)

// numberOf is the number of an error that the server said; 0: it is none.
func numberOf(err error) uint16 {
	if e := (*mysql.MySQLError)(nil); errors.As(err, &e) {
		return e.Number
	}
	return 0
}

func mariaDBFailed(err error) failure {
	number := numberOf(err)
	if number == duplicateEntry && strings.Contains(err.Error(), departedOnce) {
		return conflicting
	}
	switch number {
	case 0:
		return connectionFailed(err, mysql.ErrInvalidConn)
	case deadlock, lockWaitTimeout, changedSinceRead, tableHasChanged:
		return conflicting
	case duplicateEntry, rowIsReferenced, noReferencedRow:
		return clashing
	case tooManyConnections, notReady, shutdownInProgress, errorDuringCommit, tooManyOfUser, refusedByOption, queryInterrupted, readOnlyTransaction, readOnlyMode, connectionKilled:
		return unavailable
	}
	return other
}

// mariaDBUndecided: only what the server says of COMMIT decides, and not where it breaks off.
func mariaDBUndecided(err error) bool {
	return slices.Contains([]uint16{0, notReady, shutdownInProgress, errorDuringCommit, queryInterrupted, connectionKilled}, numberOf(err))
}

// connectionFailed tells whether an error that no server has said is one of the connection.
func connectionFailed(err error, more ...error) failure {
	var network net.Error
	if errors.As(err, &network) {
		return unavailable
	}
	for _, is := range append(more, brokenConnection...) {
		if errors.Is(err, is) {
			return unavailable
		}
	}
	return other
}

// mariaDBConnector connects to the first of the nodes that takes the connection and serves.
type mariaDBConnector struct {
	place Place
	login login
	nodes *nodes
}

func newMariaDBConnector(place Place, l login) mariaDBConnector {
	return mariaDBConnector{place: place, login: l, nodes: newNodes(place.hosts)}
}

// Driver implements driver.Connector.
func (mariaDBConnector) Driver() driver.Driver { return mysql.MySQLDriver{} }

// Connect implements driver.Connector.
func (m mariaDBConnector) Connect(ctx context.Context) (driver.Conn, error) {
	var problems []error
	order := m.nodes.order(time.Now())
	for i, address := range order {
		asked := time.Now()
		conn, err := m.tryNode(ctx, address, i == len(order)-1)
		if err == nil || !gaveUp(ctx, time.Since(asked)) {
			m.nodes.heard(address, err, time.Now())
		}
		if err == nil {
			return m.nodes.to(address, conn), nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(problems...)
}

// tryNode is connectTo, which gives up on a node that is not the last one.
func (m mariaDBConnector) tryNode(ctx context.Context, address string, last bool) (driver.Conn, error) {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, serveWithin)
		defer cancel()
	}
	return m.connectTo(ctx, address)
}

func (m mariaDBConnector) connectTo(ctx context.Context, address string) (driver.Conn, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = m.place.user, m.login.password, "tcp", address, m.place.database
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = connectWithin, answerWithin, answerWithin
	cfg.ClientFoundRows, cfg.InterpolateParams = true, true // one round trip a statement; a row counts though nothing in it changes
	cfg.Logger = silent{}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cfg.TLS = m.login.tls(host)
	cfg.Params = map[string]string{
		"collation_connection":     "'utf8mb4_nopad_bin'",
		"time_zone":                "'+00:00'",
		"sql_mode":                 "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,PIPES_AS_CONCAT'",
		"tx_isolation":             "'READ-COMMITTED'",
		"innodb_lock_wait_timeout": lockSeconds,
		"idle_transaction_timeout": idleSeconds,
		"@clonecache_shard":        "'" + strings.NewReplacer("'", "", `\`, "").Replace(m.login.shard()) + "'",
	}
	if m.login.migrates {
		cfg.Params["lock_wait_timeout"] = tableSeconds
	}
	if err := cfg.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := causal(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// tableSeconds is how long a statement that changes a table waits for those who use it. Meanwhile it stops all who come: one may
// have a row for which another waits that has used the table, and MariaDB does not see that these three wait in a circle.
const tableSeconds = "1"

// causal lets each transaction see whatever was committed on another node before it began. A node that is not part of
// its cluster says so here.
func causal(ctx context.Context, conn driver.Conn) error {
	run, can := conn.(driver.ExecerContext)
	if !can {
		return errors.New("the driver runs no statements")
	}
	_, err := run.ExecContext(ctx, "SET SESSION wsrep_sync_wait = 1", nil)
	if numberOf(err) == unknownVariable { // built without Galera
		err = nil
	}
	if err != nil {
		return err
	}
	_, err = run.ExecContext(ctx, "DO 1", nil)
	return err
}

// silent keeps the driver from writing to standard error: what it has to say comes back as an error.
type silent struct{}

func (silent) Print(...any) {}
