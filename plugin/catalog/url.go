package catalog

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// The schemes of a catalog's URL.
const (
	schemeSQLite   = "sqlite"
	schemeMariaDB  = "mysql"
	schemePostgres = "postgres"
)

// fileName is the SQLite catalog in a daemon's state directory; SQLite keeps more files beside it.
const fileName = "catalog.db"

// InDir is the URL of the SQLite catalog that lies in a directory.
func InDir(dir string) string { return FileURL(filepath.Join(dir, fileName)) }

// FileURL is the URL of the SQLite catalog in a file.
func FileURL(path string) string {
	if path == "" {
		return schemeSQLite + "://"
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return (&url.URL{Scheme: schemeSQLite, Path: path}).String()
}

// Place is where a catalog is, as its URL says it.
type Place struct {
	scheme   string
	path     string   // of SQLite
	user     string   // of a server
	hosts    []string // host:port; a connection goes to the first of them that serves
	database string
}

// Server tells whether several hosts can share the catalog.
func (p Place) Server() bool { return p.scheme != schemeSQLite }

// String is the URL, without a password.
func (p Place) String() string {
	if !p.Server() {
		return FileURL(p.path)
	}
	return fmt.Sprintf("%s://%s@%s/%s", p.scheme, url.User(p.user), strings.Join(p.hosts, ","), url.PathEscape(p.database))
}

// ParseURL reads a catalog's URL: sqlite:///PATH, mysql://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE (MariaDB, Galera) or
// postgres://USER@HOST[:PORT][,...]/DATABASE. A password in it is an error: it is read from a file.
func ParseURL(text string) (Place, error) {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case !found:
		return Place{}, errors.New("not a URL: write sqlite:///PATH, mysql://USER@HOST:PORT/DATABASE or postgres://USER@HOST:PORT/DATABASE")
	case scheme == schemeSQLite:
		path, err := url.PathUnescape(rest)
		if err != nil || !filepath.IsAbs(path) {
			return Place{}, errors.New("a SQLite catalog needs an absolute path: sqlite:///var/lib/clonecache/catalog.db")
		}
		return Place{scheme: scheme, path: path}, nil
	case scheme == schemeMariaDB, scheme == schemePostgres:
		return parseServer(scheme, rest)
	}
	return Place{}, fmt.Errorf("no database is called %q: write sqlite://, mysql:// or postgres://", scheme)
}

var defaultPorts = map[string]string{schemeMariaDB: "3306", schemePostgres: "5432"}

func parseServer(scheme, rest string) (Place, error) {
	authority, database, _ := strings.Cut(rest, "/")
	user, hosts, found := strings.Cut(authority, "@")
	p := Place{scheme: scheme}
	var err error
	if p.user, err = url.PathUnescape(user); err != nil || !found || user == "" {
		return Place{}, fmt.Errorf("no user: write %s://USER@HOST:PORT/DATABASE", scheme)
	}
	if strings.Contains(user, ":") {
		return Place{}, errors.New("a password does not belong into the URL: write it into a file, and name that as password_file")
	}
	if p.database, err = url.PathUnescape(database); err != nil || database == "" || strings.ContainsAny(database, "/?#") {
		return Place{}, fmt.Errorf("no database, or more than its name: write %s://USER@HOST:PORT/DATABASE", scheme)
	}
	for _, host := range strings.Split(hosts, ",") {
		address, err := withPort(host, defaultPorts[scheme])
		if err != nil {
			return Place{}, err
		}
		p.hosts = append(p.hosts, address)
	}
	return p, nil
}

// withPort is host:port of a host that may name its port.
func withPort(host, port string) (string, error) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "[]@ ") {
		return "", fmt.Errorf("%q is not HOST or HOST:PORT", net.JoinHostPort(host, port))
	}
	return net.JoinHostPort(host, port), nil
}
