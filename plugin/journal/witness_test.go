package journal

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// segmentsOf are the segments of a journal, oldest first.
func segmentsOf(t *testing.T, dir string) []segmentInfo {
	t.Helper()
	all, err := listSegments(dir)
	if err != nil || len(all) == 0 {
		t.Fatalf("segments of %s: %v, %v", dir, all, err)
	}
	return all
}

func copyJournal(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// Only of a journal that has lost nothing, in the boot that wrote it, does an unfinished intent prove that it
// was not answered.
func TestWhatAnUnfinishedIntentProves(t *testing.T) {
	for _, r := range []struct {
		name   string
		proved bool
		// happens is what becomes of the journal after "open" was begun, "told" answered, and the process killed;
		// older is a copy from before the answer.
		happens func(t *testing.T, cfg *Config, older string)
	}{
		{"a kill", true, func(*testing.T, *Config, string) {}},
		{"a kill while it opened the journal", true, func(t *testing.T, cfg *Config, _ string) { reopen(t, *cfg) }},
		{"a reboot", false, func(_ *testing.T, cfg *Config, _ string) { cfg.BootID = nextBoot }},
		{"an older copy is restored", false, func(t *testing.T, cfg *Config, older string) { copyJournal(t, older, cfg.Dir) }},
		{"an older copy is restored, and a process dies that has opened it", false, func(t *testing.T, cfg *Config, older string) {
			copyJournal(t, older, cfg.Dir)
			reopen(t, *cfg)
		}},
		{"the last record is torn off", false, func(t *testing.T, cfg *Config, _ string) {
			last := segmentsOf(t, cfg.Dir)
			path := last[len(last)-1].path
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()-1); err != nil {
				t.Fatal(err)
			}
		}},
		{"a byte of the last record is damaged", false, func(t *testing.T, cfg *Config, _ string) {
			last := segmentsOf(t, cfg.Dir)
			path := last[len(last)-1].path
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content[len(content)-10] ^= 0x20
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"the newest segment is gone", false, func(t *testing.T, cfg *Config, _ string) {
			j, _ := reopen(t, *cfg)
			begin(t, j, "later")
			all := segmentsOf(t, cfg.Dir)
			if err := os.Remove(all[len(all)-1].path); err != nil {
				t.Fatal(err)
			}
		}},
		{"there is no memory for a witness", false, func(t *testing.T, cfg *Config, _ string) { cfg.Memory = filepath.Join(t.TempDir(), "none") }},
		{"the directory was moved", false, func(t *testing.T, cfg *Config, _ string) {
			moved := filepath.Join(t.TempDir(), "moved")
			copyJournal(t, cfg.Dir, moved)
			cfg.Dir = moved
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			cfg, older := Config{Dir: t.TempDir(), BootID: thisBoot}, filepath.Join(t.TempDir(), "older")
			j, _ := reopen(t, cfg)
			begin(t, j, "open")
			told := begin(t, j, "told")
			copyJournal(t, cfg.Dir, older)
			answer(t, j, told.Seq, "a")
			r.happens(t, &cfg, older)
			_, rec := reopen(t, cfg)
			if !slices.ContainsFunc(rec.Unfinished, func(i Intent) bool { return i.Spec.Name == "open" }) {
				t.Fatalf("unfinished: %q", names(rec.Unfinished))
			}
			for _, i := range rec.Unfinished {
				if (i.Kept == "") != r.proved {
					t.Errorf("%s: kept: %q, want it proved: %v", i.Spec.Name, i.Kept, r.proved)
				}
			}
		})
	}
}

// What was once not proved is never proved again, however often the journal is opened whole.
func TestAKeptIntentStaysKept(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxBytes: 3000}
	j, _ := reopen(t, cfg)
	kept := begin(t, j, "kept")
	if err := j.Keep(kept.Seq, InUse); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var rec Recovered
		j, rec = reopen(t, cfg)
		if names(rec.Unfinished) != "kept" || rec.Unfinished[0].Kept != InUse {
			t.Fatalf("got %+v, want it kept", rec.Unfinished)
		}
		for range 20 { // over a rotation
			answer(t, j, begin(t, j, "v").Seq, "i")
		}
	}
	if err := j.Drop(kept.Seq); err != nil {
		t.Fatal(err)
	}
	if _, rec := reopen(t, cfg); len(rec.Unfinished) != 0 {
		t.Errorf("dropped, and unfinished: %q", names(rec.Unfinished))
	}
}

// A record that ends an intent and cannot be written leaves the intent on disk: then nothing is proved until a
// segment begins that says how it is.
func TestAnEndThatCannotBeWrittenProvesNothing(t *testing.T) {
	for name, end := range map[string]func(j *Journal, seq int64) error{
		"answer": func(j *Journal, seq int64) error { _, err := j.Answer(seq, request("i")); return err },
		"drop":   (*Journal).Drop,
		"keep":   func(j *Journal, seq int64) error { return j.Keep(seq, InUse) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir()}
			j, _ := reopen(t, cfg)
			i := begin(t, j, "v")
			good := j.current.file
			readOnly, err := os.Open(j.current.path)
			if err != nil {
				t.Fatal(err)
			}
			j.current.file = readOnly // every write fails
			if err := end(j, i.Seq); err == nil {
				t.Fatal("ended without a write")
			}
			j.current.file = good
			begin(t, j, "later") // which can be written again
			_, rec := reopen(t, cfg)
			for _, i := range rec.Unfinished {
				if i.Kept == "" {
					t.Errorf("%s passes for not answered", i.Spec.Name)
				}
			}
			if err := readOnly.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Somebody else's file in the witness's place is neither believed nor changed.
func TestAWitnessOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	path, err := WitnessPath("", dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	cfg := Config{Dir: dir}
	j, _ := reopen(t, cfg)
	begin(t, j, "open")
	if _, rec := reopen(t, cfg); len(rec.Unfinished) != 1 || rec.Unfinished[0].Kept != Unproved {
		t.Errorf("got %+v, want it kept", rec.Unfinished)
	}
	if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("the link was followed")
	}
}

// A journal that is closed with nothing open leaves nothing in memory.
func TestClosingRemovesTheWitness(t *testing.T) {
	dir := t.TempDir()
	j, _ := reopen(t, Config{Dir: dir})
	i := begin(t, j, "v")
	path, err := WitnessPath("", dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	answer(t, j, i.Seq, "i")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the witness is still there")
	}
}
