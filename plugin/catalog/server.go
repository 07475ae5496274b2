package catalog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	// serverConns bounds the connections of one daemon; idleConns of them stay for a while when nobody needs them.
	serverConns = 16
	idleConns   = 8
	idleFor     = time.Minute
	// connFor lets connections go to where a proxy leads them now.
	connFor = 10 * time.Minute
	// connectWithin and answerWithin bound what a server that does not answer costs.
	connectWithin = 5 * time.Second
	answerWithin  = time.Minute
	// lockSeconds is how long a statement waits for another transaction.
	lockSeconds = "10"
	// idleSeconds is how long a transaction may stand still: what it has locked, others wait for. Its host was stopped, or has lost its
	// power or its network, and the server would not notice for hours. It is less than they wait.
	idleSeconds = "5"
)

// login is what a connection to a server needs beside its Place.
type login struct {
	password string
	roots    *x509.CertPool // nil: not encrypted
	daemon   string
	made     *atomic.Int64 // connections
	migrates bool
}

// shard is whose rows of the sums the next connection adds to: few of one daemon's do so to the same ones.
func (l login) shard() string { return fmt.Sprintf("%s/%d", l.daemon, l.made.Add(1)%serverConns) }

// openServer opens the catalog on a server whose schema this program can use.
func openServer(ctx context.Context, place Place, cfg Config) (*Catalog, error) {
	c, err := connect(place, cfg)
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", place, err)
	}
	if err := c.fitting(ctx); err != nil {
		return nil, errors.Join(c.wrap("open catalog "+place.String(), err), c.Close())
	}
	return c, nil
}

// connectTo prepares a catalog of any kind, whatever its schema is.
func connectTo(place Place, cfg Config) (*Catalog, error) {
	if !place.Server() {
		return connectFile(place, cfg)
	}
	return connect(place, cfg)
}

// connect prepares a server's catalog; nothing is asked of the server yet.
func connect(place Place, cfg Config) (*Catalog, error) {
	l, err := cfg.login()
	if err != nil {
		return nil, err
	}
	var connector driver.Connector
	c := &Catalog{now: cfg.Now, place: place, maxEvents: cfg.MaxEvents, evictor: cfg.evictor(), evictFor: cfg.LeaseFor, marks: newMarks(serverConns)}
	switch place.scheme {
	case schemeMariaDB:
		c.dialect, connector = mariaDBDialect, newMariaDBConnector(place, l)
	case schemePostgres:
		c.dialect = postgresDialect
		connector, err = newPostgresConnector(place, cfg.CAFile, l)
	}
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(ownPatience{connector})
	db.SetMaxOpenConns(serverConns)
	db.SetMaxIdleConns(idleConns)
	db.SetConnMaxIdleTime(idleFor)
	db.SetConnMaxLifetime(connFor)
	c.writer, c.readers = db, db
	return c, nil
}

// evictor is the holder of what this catalog's user evicts; zero where it holds nothing.
func (c Config) evictor() Holder {
	if c.LeaseFor == 0 {
		return Holder{}
	}
	return Holder{Instance: c.Daemon, Incarnation: c.Incarnation}
}

func (c Config) login() (login, error) {
	l := login{daemon: string(c.Daemon), made: new(atomic.Int64), migrates: c.migrates}
	if l.daemon == "" {
		l.daemon = uuid.NewString()
	}
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return login{}, fmt.Errorf("read the password: %w", err)
		}
		l.password = strings.TrimRight(string(text), "\r\n")
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return login{}, fmt.Errorf("read the CAs: %w", err)
		}
		l.roots = x509.NewCertPool()
		if !l.roots.AppendCertsFromPEM(text) {
			return login{}, fmt.Errorf("%s holds no certificate", c.CAFile)
		}
	}
	return l, nil
}

// tls is how connections to a host are encrypted; nil: they are not.
func (l login) tls(host string) *tls.Config {
	if l.roots == nil {
		return nil
	}
	return &tls.Config{RootCAs: l.roots, ServerName: host, MinVersion: tls.VersionTLS12}
}

// mostRemembered bounds how many statements are kept. Lists have their limits in them, which whoever asks for a list chooses.
const mostRemembered = 2000

// remembering keeps what f has made of a statement: there are few, and they come again and again.
func remembering(f func(string) string) func(string) string {
	var known sync.Map
	var kept atomic.Int64
	return func(statement string) string {
		if out, ok := known.Load(statement); ok {
			return out.(string)
		}
		out := f(statement)
		if kept.Load() < mostRemembered {
			if _, there := known.LoadOrStore(statement, out); !there {
				kept.Add(1)
			}
		}
		return out
	}
}

// utf8Text leaves out what servers refuse in a text: bytes that are no UTF-8, and zeroes.
func utf8Text(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
