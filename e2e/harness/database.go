package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Database is MariaDB on the loopback, as e2e/databases/servers.sh makes it, which says what its directory and port mean.
type Database struct {
	Dir    string // at most 70 bytes, for its unix sockets
	Port   int
	Galera bool // a cluster of three nodes instead of one server

	databases int
}

// nodes are the ports of its servers.
func (d *Database) nodes() []int {
	if d.Galera {
		return []int{d.Port + 1, d.Port + 2, d.Port + 3}
	}
	return []int{d.Port}
}

// Up starts the server; it is removed at the end of the test.
func (d *Database) Up(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() { d.script(tb, "wipe") })
	d.script(tb, "up")
}

// Kill kills the server, which is no cluster; Again starts it on what it held, and returns once it answers.
func (d *Database) Kill(tb testing.TB) {
	tb.Helper()
	d.script(tb, "kill", "mariadb")
}

// Again: see Kill.
func (d *Database) Again(tb testing.TB) {
	tb.Helper()
	d.script(tb, "start", "mariadb")
}

// KillNode kills one of a cluster's nodes, from 1 on.
func (d *Database) KillNode(tb testing.TB, n int) {
	tb.Helper()
	d.script(tb, "kill", fmt.Sprint("galera", n))
}

// StartNode starts a node that was killed, and returns once it is part of the cluster again.
func (d *Database) StartNode(tb testing.TB, n int) {
	tb.Helper()
	d.script(tb, "start", fmt.Sprint("galera", n))
}

// New makes an empty database, and returns what a daemon is configured with for it. Its schema is Daemon.Migrate's.
func (d *Database) New(tb testing.TB) Catalog {
	tb.Helper()
	d.databases++
	name := fmt.Sprintf("clonecache_%d", d.databases)
	d.Do(tb, "CREATE DATABASE "+name)
	var addresses []string
	for _, port := range d.nodes() {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return Catalog{Address: strings.Join(addresses, ","), Database: name, PasswordFile: filepath.Join(d.Dir, "password")}
}

// Do has the server do a statement of SQL.
func (d *Database) Do(tb testing.TB, statement string) {
	tb.Helper()
	Must(tb, "mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", strconv.Itoa(d.nodes()[0]), "-u", "clonecache", "-p"+d.password(tb), "-e", statement)
}

// Migrate gives the daemon's catalog, which is on a server, its schema.
func (d *Daemon) Migrate(tb testing.TB) {
	tb.Helper()
	if r := Run(tb, "catalog", "migrate", "--config", d.file); r.Exit != 0 {
		tb.Fatalf("migrate: exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
	}
}

func (d *Database) password(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(d.Dir, "password"))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (d *Database) script(tb testing.TB, words ...string) {
	tb.Helper()
	script, err := scriptOf("databases", "servers.sh")
	if err != nil {
		tb.Fatal(err)
	}
	which := "mariadb"
	if d.Galera {
		which = "galera"
	}
	cmd := exec.Command(script, words...)
	cmd.Env = append(os.Environ(), "DATABASES="+which, "DATABASES_DIR="+d.Dir, "DATABASES_PORT="+strconv.Itoa(d.Port))
	if text, err := toFile(cmd); err != nil {
		tb.Fatalf("servers.sh %q: %v\n%s", words, err, text)
	}
}

// Catalog is a catalog on a server; its zero value is the one in state_dir.
type Catalog struct {
	Address      string // of the server, or of a Way to it; of a cluster's nodes, with commas between
	Database     string
	PasswordFile string
}

func (c Catalog) url() string { return "mysql://clonecache@" + c.Address + "/" + c.Database }

// Text is the table of the catalog in a configuration.
func (c Catalog) Text() string {
	if c == (Catalog{}) {
		return ""
	}
	return fmt.Sprintf("[catalog]\nurl = %q\npassword_file = %q\n", c.url(), c.PasswordFile)
}
