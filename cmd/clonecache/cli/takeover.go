package cli

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/daemon"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) takeOver() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "take-over NAME",
		Short: "Make a backend this installation's, whose holder is gone for good",
		Long: `Makes a backend, or a file cache, this installation's. Each notes whose it is: the installation whose catalog names
what it holds. A daemon does not start on one that is another's, since the two would remove each other's image-volumes.

Use it only where the former holder will never run again: its state_dir was lost, or its host is gone. What it had
cached is adopted at the next start; what it had in the making is removed. It works on the configuration, without the
daemon, which must not run.

The configuration is --config, else CLONECACHE_CONFIG, else ` + defaultConfig + `.

Exit code 6: no backend or file cache is called that. 7: another process has the store open. 9: the daemon runs, or the
backend does not answer.`,
		Example: `  clonecache backend take-over ceph --config /etc/clonecache/clonecache.toml
  clonecache backend take-over local --config /etc/clonecache/clonecache.toml -o json`,
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.takeOverNamed(cmd.Context(), a.configFile(file), backends.Name(args[0]))
		},
	}
	a.configFlag(cmd, &file)
	return cmd
}

func (a *app) takeOverNamed(ctx context.Context, file string, name backends.Name) error {
	cfg, err := loadConfig(file)
	if err != nil {
		return err
	}
	log := a.logger(cfg)
	log.SetLevel(logrus.WarnLevel)
	taken, err := daemon.TakeOver(ctx, cfg, name, log)
	if err != nil {
		return api.Explain(err)
	}
	return a.print(taken, func(t *table) {
		if taken.Was == nil {
			t.line("%s (store %s) is this installation's; nobody else held it", taken.Backend, taken.StoreID)
			return
		}
		t.line("%s (store %s) is this installation's now; it was held by catalog %s of host %s (state_dir %s), since %s",
			taken.Backend, taken.StoreID, taken.Was.Catalog, taken.Was.Host, taken.Was.StateDir, taken.Was.Since.UTC().Format(time.RFC3339))
	})
}
