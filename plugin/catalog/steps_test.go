package catalog

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"
)

// firstBeside is the first step that programs of the step before had to go on beside.
const firstBeside = 19

// adds are the statements that a program which knows nothing of them can leave alone: its own INSERTs name their columns.
var adds = regexp.MustCompile(`^(CREATE TABLE |CREATE INDEX |ALTER TABLE \S+ ADD COLUMN (IF NOT EXISTS )?\S+ .*(DEFAULT|AS \()|UPDATE |INSERT )`)

// otherThanAdding are the statements of a step that do more than add.
func otherThanAdding(step string) []string {
	var code []string
	for line := range strings.Lines(step) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			code = append(code, line)
		}
	}
	var others []string
	for _, stmt := range strings.Split(strings.Join(code, ""), ";") {
		stmt = strings.Join(strings.Fields(stmt), " ")
		if stmt != "" && !adds.MatchString(stmt) {
			others = append(others, stmt)
		}
	}
	return others
}

func TestWhatAStepMayDoBesideOlderPrograms(t *testing.T) {
	for _, test := range []struct {
		step   string
		others int
	}{
		{"-- +goose Up\nALTER TABLE entries ADD COLUMN a BIGINT NOT NULL DEFAULT 0;\nCREATE TABLE b (c TEXT);\nCREATE INDEX d ON entries (a);\n", 0},
		{"ALTER TABLE entries ADD COLUMN IF NOT EXISTS a BIGINT NOT NULL DEFAULT 0; UPDATE entries SET a = 1;", 0},
		{"ALTER TABLE entries ADD COLUMN a BIGINT NOT NULL;", 1},
		{"ALTER TABLE entries DROP COLUMN a; DROP TABLE b; DELETE FROM c;", 3},
		{"CREATE UNIQUE INDEX a ON entries (b);\nCREATE OR REPLACE TRIGGER t AFTER INSERT ON entries FOR EACH ROW SELECT 1;", 2},
		{"ALTER TABLE entries RENAME TO others", 1},
	} {
		if got := otherThanAdding(test.step); len(got) != test.others {
			t.Errorf("%q: %q do more than add, want %d", test.step, got, test.others)
		}
	}
}

// A step that does more than add skips a number: programs of the step before refuse it then.
func TestStepsLetOlderProgramsGoOn(t *testing.T) {
	for _, folder := range []string{"sqlite", "mariadb", "postgres"} {
		names, err := fs.Glob(migrationFiles, "migrations/"+folder+"/*.sql")
		if err != nil || len(names) == 0 {
			t.Fatalf("steps: %v, %v", names, err)
		}
		slices.Sort(names)
		var before int64
		for _, name := range names {
			version, err := goose.NumericComponent(path.Base(name))
			if err != nil {
				t.Fatal(err)
			}
			step, err := fs.ReadFile(migrationFiles, name)
			if err != nil {
				t.Fatal(err)
			}
			next := version == before+1
			before = version
			if version < firstBeside || !next {
				continue
			}
			for _, stmt := range otherThanAdding(string(step)) {
				t.Errorf("%s: daemons of the step before cannot go on beside this; give the step a number that skips one: %s", name, stmt)
			}
		}
	}
}
