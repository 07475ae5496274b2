package cli

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
)

// build is what "version -o json" answers.
type build struct {
	Version  string   `json:"version"`
	Commit   string   `json:"commit"`
	Tags     []string `json:"tags"` // that it was built with
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Backends []string `json:"backends"` // kinds that this build has
}

// newBuild describes this program; version is what the linker was told, or "".
func newBuild(version string) build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Backends: kinds.All().BackendsHere(), Tags: []string{}}
	info, ok := debug.ReadBuildInfo()
	if b.Version == "" {
		b.Version = "devel"
		if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
	}
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "-tags":
			b.Tags = strings.FieldsFunc(s.Value, func(r rune) bool { return r == ',' || r == ' ' })
		}
	}
	return b
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show this program's version",
		Long:    "Shows this program's version and the kinds of backend that it was built with. \"clonecache status\" shows the daemon's.",
		Example: "  clonecache version -o json",
		Args:    exactly(),
		RunE:    func(*cobra.Command, []string) error { return a.printVersion() },
	}
}

func (a *app) printVersion() error {
	b := newBuild(a.Version)
	return a.print(b, func(t *table) {
		t.row("Version", b.Version)
		t.row("Commit", b.Commit)
		t.row("Build tags", strings.Join(b.Tags, ", "))
		t.row("Go", b.Go+" "+b.Platform)
		t.row("Backends", strings.Join(b.Backends, ", "))
	})
}
