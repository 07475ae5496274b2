package kinds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// Each path that cannot be a directory is one problem, with what helps; what can be made leaves nothing.
func TestDirectoriesAreTried(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "file", "dangling": "nothing", "good": "."} {
		if err := os.Symlink(to, in(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, path, what, remedy string }{
		{"there", dir, "", ""},
		{"to be made", in("a/b/c"), "", ""},
		{"by a link", in("good/a"), "", ""},
		{"a file", in("file"), in("file") + " is not a directory", "give another path"},
		{"below a file", in("file/a/b"), in("file") + " is not a directory", "give another path"},
		{"a link to a file", in("link"), in("link") + " is not a directory", "give another path"},
		{"a link to nothing", in("dangling"), "a link to nothing, which is not there", "give another path"},
		{"below a link to nothing", in("dangling/a"), "a link to nothing, which is not there", "give another path"},
		{"a name that is too long", in(strings.Repeat("a", 256)), "longer than filesystems take", "give a shorter path"},
		{"where nothing can be made", "/proc/clonecache", "nothing can be made in /proc", "give a path on a filesystem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trial := &Trial{}
			at := trial.Directory("key", c.path)
			if (at == "") != (c.what != "") {
				t.Errorf("got directory %q", at)
			}
			switch p := trial.Problems; {
			case c.what == "" && len(p) > 0:
				t.Errorf("got %v, want none", p)
			case c.what != "" && (len(p) != 1 || !strings.Contains(p[0].What, c.what) || !strings.Contains(p[0].Remedy, c.remedy)):
				t.Errorf("got %v, want %q: %q", p, c.what, c.remedy)
			}
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("got %v, %v: want nothing more than before", left, err)
	}
}

// What is wrong with state_dir is said once, and not of all that would lie in it.
func TestAStateDirectoryThatIsNoneIsOneProblem(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "file")
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	trial := &Trial{StateDir: state}
	trial.State(state + "/scratch")
	part := trial.Part("backend[0]", "local")
	(&fileBackend{Path: config.Path(filepath.Join(dir, "volumes"))}).Try(t.Context(), part)
	if len(trial.Problems) != 1 || trial.Problems[0].Key != "state_dir" {
		t.Errorf("got %v, want one of state_dir", trial.Problems)
	}
}
