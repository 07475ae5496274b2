package catalog

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
)

// The child of TestSQLiteKilledInAMigrationKeepsTheOldSchema opens the catalog at this path, with the steps below.
const killedEnv = "CLONECACHE_TEST_MIGRATE"

func TestMain(m *testing.M) {
	// pause() reports that a migration has come to it, and waits to be killed.
	err := sqlite.RegisterScalarFunction("pause", 0, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
		fmt.Println("paused")
		select {}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if path := os.Getenv(killedEnv); path != "" {
		_, err := openSQLite(context.Background(), Place{scheme: schemeSQLite, path: path}, Config{}, withStep(pausingStep))
		fmt.Fprintln(os.Stderr, "not killed:", err)
		os.Exit(1)
	}
	os.Exit(runTests(m))
}

// openFile opens a SQLite catalog with other steps than the schema's.
func openFile(t *testing.T, path string, files fs.FS) (*Catalog, error) {
	t.Helper()
	return openSQLite(t.Context(), Place{scheme: schemeSQLite, path: path}, Config{}, files)
}

const (
	pausingStep = "CREATE TABLE second (x INTEGER);\nINSERT INTO locks (name) VALUES ('second');\nSELECT pause();\nINSERT INTO second VALUES (1);"
	failingStep = "CREATE TABLE second (x INTEGER);\nINSERT INTO second VALUES ('a', 'b');"
	workingStep = "CREATE TABLE second (x INTEGER);\nINSERT INTO second VALUES (1);"
)

// withStep is the schema's steps and one more.
func withStep(sql string) fs.FS {
	files := firstSteps(steps())
	files["migrations/sqlite/00099_second.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql + "\n")}
	return files
}

// steps is how many steps the schema has.
func steps() int {
	files, err := fs.Glob(migrationFiles, "migrations/sqlite/*.sql")
	if err != nil {
		panic(err)
	}
	return len(files)
}

// firstSteps is the schema as it was after so many steps.
func firstSteps(n int) fstest.MapFS {
	names, err := fs.Glob(migrationFiles, "migrations/sqlite/*.sql")
	if err != nil {
		panic(err)
	}
	files := make(fstest.MapFS)
	for _, name := range names[:n] {
		data, err := fs.ReadFile(migrationFiles, name)
		if err != nil {
			panic(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

// hasSecond tells whether the second step is there, and that it is all there if so.
func hasSecond(t *testing.T, c *Catalog) bool {
	t.Helper()
	var tables, rows, versions int
	query := func(into *int, stmt string) {
		if err := c.writer.QueryRowContext(t.Context(), stmt).Scan(into); err != nil {
			t.Fatal(err)
		}
	}
	query(&tables, `SELECT COUNT(*) FROM sqlite_schema WHERE name = 'second'`)
	query(&versions, `SELECT COUNT(*) FROM goose_db_version WHERE version_id = 99`)
	if tables == 1 {
		query(&rows, `SELECT COUNT(*) FROM second`)
	}
	if tables != versions || tables != rows {
		t.Errorf("half a step: %d tables, %d rows, %d versions", tables, rows, versions)
	}
	return tables == 1
}

// MariaDB commits at each statement that changes the schema, so a step that was killed half way is begun again from its first one.
func TestMariaDBStepsCanBeRepeated(t *testing.T) {
	names, err := fs.Glob(migrationFiles, "migrations/mariadb/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("steps: %v, %v", names, err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(migrationFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			changes := strings.HasPrefix(line, "CREATE ") || strings.Contains(line, "ADD COLUMN")
			if changes && !strings.Contains(line, "IF NOT EXISTS") && !strings.Contains(line, "OR REPLACE") {
				t.Errorf("%s: fails where it was done before: %s", name, line)
			}
		}
	}
}

func TestSQLiteKilledInAMigrationKeepsTheOldSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	old, err := Open(t.Context(), inFile(path))
	if err != nil {
		t.Fatal(err)
	}
	e := mustReady(t, old, spec("k"), 10)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), killedEnv+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "paused" {
		t.Errorf("the child said %q, %v", line, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}

	c := open(t, inFile(path), nil)
	if hasSecond(t, c) {
		t.Error("the second step is there")
	}
	same(t, "the entry", mustGet(t, c, e.ID), e)
	is(t, "check", c.Check(t.Context()), nil)
}

func TestSQLiteStepThatFailsLeavesTheOldSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	open(t, inFile(path), nil)
	if c, err := openFile(t, path, withStep(failingStep)); err == nil {
		c.Close()
		t.Error("opened")
	}
	if hasSecond(t, open(t, inFile(path), nil)) {
		t.Error("the second step is there")
	}
	c, err := openFile(t, path, withStep(workingStep))
	if err != nil {
		t.Fatal(err)
	}
	if !hasSecond(t, c) {
		t.Error("the second step is not there")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	older, err := Open(t.Context(), inFile(path))
	if !errors.Is(err, ErrSchema) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("an older program: %v", err)
	}
	if err == nil {
		older.Close()
	}
}

func TestSQLiteKeepsWhatWasCommittedBeforeAKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "catalog.db")
	c := open(t, inFile(path), nil)
	e := mustReady(t, c, spec("k"), 10)
	tx, err := c.writer.BeginTx(t.Context(), nil) // one that never comes to its end
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `UPDATE entries SET state = 'failed'`); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir() // what a kill would leave: the file and its log, as they are
	for _, name := range []string{"catalog.db", "catalog.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, inFile(filepath.Join(copied, "catalog.db")), nil)
	same(t, "after the kill", mustGet(t, again, e.ID), e)
}

func TestSQLiteDurabilityIsConfigured(t *testing.T) {
	c := open(t, inFile(filepath.Join(t.TempDir(), "catalog.db")), nil)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": busyMillis,
	} {
		var got string
		if err := c.writer.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", pragma, got, err, want)
		}
	}
	if err := c.read(t.Context(), "write", func(t tx) error {
		_, err := t.exec(context.Background(), `DELETE FROM entries`)
		return err
	}); err == nil {
		t.Error("a reader could write")
	}
}

func TestACancelledCallChangesNothing(t *testing.T) {
	c, _ := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, _, err := c.BeginFill(ctx, spec("k"))
	is(t, "begin", err, context.Canceled)

	ctx, cancel = context.WithCancel(t.Context())
	err = c.write(ctx, "work", func(t tx) error {
		if err := t.insert(ctx, Entry{ID: "x", State: Filling}); err != nil {
			return err
		}
		cancel()
		return nil
	})
	is(t, "cancelled before its end", err, context.Canceled)
	if entries, err := c.List(t.Context(), Filter{}); err != nil || len(entries) != 0 {
		t.Errorf("%+v, %v", entries, err)
	}
}

func TestSQLiteCheckFindsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	c, err := Open(t.Context(), inFile(path))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 200 {
		mustFill(t, c, spec(Key(fmt.Sprint("key", n))))
	}
	is(t, "check", c.Check(t.Context()), nil)
	var page int64
	const rootOf = `SELECT rootpage FROM sqlite_schema WHERE name = 'entries'`
	if err := c.writer.QueryRowContext(t.Context(), rootOf).Scan(&page); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("garbage", 500)), (page-1)*4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, inFile(path), nil)
	is(t, "check", c.Check(t.Context()), ErrDamaged)
	_, err = c.List(t.Context(), Filter{})
	is(t, "list", err, ErrDamaged)
	_, _, _, err = c.BeginFill(t.Context(), spec("new"))
	is(t, "begin", err, ErrDamaged)
}

func TestDialectText(t *testing.T) {
	got := onConflict(nil)("t", []string{"a", "b"}, []string{"n"}, []string{"m"})
	want := " ON CONFLICT (a, b) DO UPDATE SET n = t.n + excluded.n, " +
		"m = CASE WHEN excluded.m > t.m THEN excluded.m ELSE t.m END"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := onConflict(nil)("t", []string{"a"}, nil, nil); got != " ON CONFLICT DO NOTHING" {
		t.Errorf("got %s", got)
	}
}

// A MariaDB with a binary log refuses triggers to a user who has all rights on its own database.
func TestTriggersThatTheServerRefusesSayWhatHelps(t *testing.T) {
	err := notMigrated(fmt.Errorf("step 8: %w", &mysql.MySQLError{Number: 1419, Message: "You do not have the SUPER privilege"}))
	if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "log_bin_trust_function_creators = ON") {
		t.Errorf("got %v, want ErrSchema and the setting", err)
	}
	if err := notMigrated(errors.New("no space")); errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "no space") {
		t.Errorf("of another error: %v", err)
	}
}
