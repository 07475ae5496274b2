package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// allCommands are the command lines that documents show, and those that errors name as their remedy.
func allCommands(t *testing.T) []shownCommand {
	t.Helper()
	var all []shownCommand
	for _, file := range append(documents(t), "../../../plugin/api/table.go", "../../../docs/systemd/clonecache.service") {
		for _, s := range snippets(t, file) {
			all = append(all, shownCommands(s)...)
		}
	}
	if len(all) < 100 {
		t.Fatalf("found only %d commands", len(all))
	}
	return all
}

// TestEveryCommandThatIsShownExists: its verb and its flags; in blocks, which are to be copied, its arguments too.
func TestEveryCommandThatIsShownExists(t *testing.T) {
	for _, c := range allCommands(t) {
		if err := understood(c); err != nil {
			t.Errorf("%s:%d: `%s`: %v", c.file, c.line, c.text, err)
		}
	}
}

// understood tells what of a command line the program does not know.
func understood(c shownCommand) error {
	a := &app{Env: testEnv(io.Discard, io.Discard)}
	root := a.root()
	root.InitDefaultHelpCmd()
	args := slices.DeleteFunc(slices.Clone(c.args), func(arg string) bool { return arg == "…" || arg == "..." })
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	positional := cmd.Flags().Args()
	if cmd.HasSubCommands() && len(positional) > 0 && !strings.Contains(positional[0], "|") && cmd != root {
		return errors.New("there is no " + cmd.CommandPath() + " " + positional[0])
	}
	if c.kind == "inline" || cmd.HasSubCommands() {
		return nil
	}
	return cmd.ValidateArgs(positional)
}

// TestEveryCommandThatIsShownRuns runs what the blocks show against a daemon that has what they speak of. What a
// document calls by a made-up name may not be there, but no command line may be wrong.
func TestEveryCommandThatIsShownRuns(t *testing.T) {
	commands, d := allCommands(t), startDaemon(t)
	write(t, filepath.Join(d.dir, "images/debian-12.qcow2"), diskimagetest.QCOW2{Content: d.image}.Bytes())
	t.Chdir(filepath.Join(d.dir, "images"))
	ran := 0
	for _, c := range commands {
		if c.kind == "inline" || len(c.args) == 0 || slices.Contains(c.args, "serve") || slices.Contains(c.args, "--follow") || strings.Contains(c.text, "://") ||
			strings.Contains(c.text, "…") { // abbreviated
			continue
		}
		args := slices.Clone(c.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "/etc/clonecache/clonecache.toml", filepath.Join(d.dir, "c.toml"))
		}
		exit, stdout, stderr := d.run(t, args...)
		if slices.Contains([]int{exitError, exitUsage, exitUnreachable}, exit) || exit != exitOK && c.file == "README.md" {
			t.Errorf("%s:%d: `%s`: exit code %d\n%s%s", c.file, c.line, c.text, exit, stdout, stderr)
		}
		ran++
	}
	if ran < 30 {
		t.Errorf("only %d commands ran", ran)
	}
}

// frame is what a configuration needs, for snippets that leave it out.
const (
	frameSource  = "\n[[image_source]]\nname = \"framed\"\nkind = \"directory\"\npath = \"/srv/framed-images\"\n"
	frameBackend = "\n[[backend]]\nname = \"framed\"\nkind = \"file\"\npath = \"/srv/framed-volumes\"\n"
)

// TestEveryConfigurationThatIsShownIsGood passes each to the strict decoder, in a frame of what it leaves out.
func TestEveryConfigurationThatIsShownIsGood(t *testing.T) {
	shown := 0
	for _, file := range documents(t) {
		for _, s := range snippets(t, file) {
			if s.kind != "toml" && (s.kind != "indented" || !strings.HasPrefix(strings.TrimSpace(s.text), "[")) {
				continue
			}
			shown++
			for _, p := range problemsOf(t, s.text) {
				t.Errorf("%s:%d: %s", s.file, s.line, p.Error())
			}
		}
	}
	if shown < 5 {
		t.Errorf("found only %d configurations", shown)
	}
}

var asAbove = regexp.MustCompile(`(?m)^\[\[image_source\]\] +# as above$`)

// problemsOf are those of a configuration, but that this build lacks a kind.
func problemsOf(t *testing.T, text string) config.Problems {
	t.Helper()
	text = asAbove.ReplaceAllString(text, "")
	if !strings.Contains(text, "[[image_source]]") {
		text += frameSource
	}
	if !strings.Contains(text, "[[backend]]") {
		text += frameBackend
	}
	_, err := kinds.All().Parse([]byte(text), filepath.Join(t.TempDir(), "c.toml"))
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	return slices.DeleteFunc(problems, func(p config.Problem) bool {
		return rbd.Missing != "" && strings.Contains(p.Error(), rbd.Missing)
	})
}

// TestEveryPathThatContributorsAreShownExists: in CONTRIBUTING.md, `folder/file` of the repository.
func TestEveryPathThatContributorsAreShownExists(t *testing.T) {
	text, err := os.ReadFile("../../../docs/CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile("`((?:\\.ci|backends|cmd|docs|e2e|internaltenant|lru|plugin)/[\\w./-]+)`").FindAllStringSubmatch(string(text), -1)
	for _, m := range paths {
		if _, err := os.Stat(filepath.Join("../../..", m[1])); err != nil {
			t.Errorf("docs/CONTRIBUTING.md shows %s: %v", m[1], err)
		}
	}
	if len(paths) < 20 {
		t.Errorf("found only %d paths", len(paths))
	}
}

// TestEveryNameOnAReadersPathExists: rows of CONTRIBUTING.md that show a Go file and names which it declares.
func TestEveryNameOnAReadersPathExists(t *testing.T) {
	text, err := os.ReadFile("../../../docs/CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	row, name := regexp.MustCompile("(?m)^\\| `([\\w/]+\\.go)` \\|([^|]*)\\|"), regexp.MustCompile("`(\\w+)`")
	shown := 0
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		source, err := os.ReadFile(filepath.Join("../../..", m[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, n := range name.FindAllStringSubmatch(m[2], -1) {
			shown++
			if !regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|type )` + n[1] + `\b`).Match(source) {
				t.Errorf("docs/CONTRIBUTING.md shows %s in %s, which does not declare it", n[1], m[1])
			}
		}
	}
	if shown < 25 {
		t.Errorf("found only %d names", shown)
	}
}

// TestEveryTargetThatIsShownExists: make TARGET.
func TestEveryTargetThatIsShownExists(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`(?:^|sudo |&& |\n)make ([a-z][a-z-]*)`)
	shown := 0
	for _, file := range documents(t) {
		for _, s := range snippets(t, file) {
			for _, m := range call.FindAllStringSubmatch(s.text, -1) {
				shown++
				if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
					t.Errorf("%s:%d: there is no make %s", s.file, s.line, m[1])
				}
			}
		}
	}
	if shown < 8 {
		t.Errorf("found only %d calls of make", shown)
	}
}

// TestEveryDriverThatIsShownExists: cinder.conf names a class and options of the hook.
func TestEveryDriverThatIsShownExists(t *testing.T) {
	shown := 0
	for _, file := range documents(t) {
		for _, s := range snippets(t, file) {
			for _, m := range regexp.MustCompile(`clonecache_cinder\.(\w+)\.(\w+)`).FindAllStringSubmatch(s.text, -1) {
				shown++
				text, err := os.ReadFile("../../../plugin/cinder/clonecache_cinder/" + m[1] + ".py")
				if err != nil || !strings.Contains(string(text), "class "+m[2]+"(") {
					t.Errorf("%s:%d: there is no %s: %v", s.file, s.line, m[0], err)
				}
			}
		}
	}
	if shown < 3 {
		t.Errorf("found only %d drivers", shown)
	}
}
