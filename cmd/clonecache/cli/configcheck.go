package cli

import (
	"context"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/daemon"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
)

func (a *app) config() *cobra.Command {
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, and try what it names",
		Long: `Reads a configuration file as "clonecache serve" would, reports every problem at once, and then tries what can be
tried: whether directories are there or can be made, whether they have reflinks, whether image sources, Keystone
and the catalog's server answer. It starts nothing and leaves nothing; a daemon that runs is not disturbed. What
it finds holds for the user that runs it.

Exit code 8: there are problems.`,
		Example: `  clonecache config check /etc/clonecache/clonecache.toml
  sudo -u clonecache clonecache config check /etc/clonecache/clonecache.toml -o json`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.checkConfig(cmd.Context(), args[0])
		},
	}
	return group("config", "Check the configuration", "docs/configuration.md documents every key.", check)
}

// checked is what "config check -o json" answers.
type checked struct {
	OK       bool             `json:"ok"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Problem `json:"warnings"`
	Facts    []string         `json:"facts"`
}

func (a *app) checkConfig(ctx context.Context, file string) error {
	result := checked{Problems: []config.Problem{}, Warnings: []config.Problem{}, Facts: []string{}}
	cfg, err := kinds.All().Load(file)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		result.Problems = problems
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return &usageError{err}
	default:
		stop := a.waiting("trying")
		trial := daemon.Try(ctx, cfg)
		stop()
		for _, p := range trial.Problems {
			p.File = file
			result.Problems = append(result.Problems, p)
		}
		result.Warnings = append(result.Warnings, cfg.Warnings...)
		for _, w := range trial.Warnings {
			w.File = file
			result.Warnings = append(result.Warnings, w)
		}
		result.Facts = append(result.Facts, trial.Facts...)
	}
	result.OK = len(result.Problems) == 0
	if err := a.print(result, func(t *table) { showChecked(t, file, result) }); err != nil {
		return err
	}
	if !result.OK {
		return errProblems
	}
	return nil
}

func showChecked(t *table, file string, r checked) {
	for _, p := range r.Problems {
		t.line("problem: %s", p.Error())
	}
	for _, w := range r.Warnings {
		t.line("warning: %s", w.Error())
	}
	for _, f := range r.Facts {
		t.line("%s", f)
	}
	if r.OK {
		t.line("%s is good", file)
	} else {
		t.line("%s: %s", file, plural(int64(len(r.Problems)), "problem", "problems"))
	}
}
