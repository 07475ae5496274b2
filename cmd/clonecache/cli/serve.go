package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/daemon"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
)

const defaultConfig = "/etc/clonecache/clonecache.toml"

func (a *app) serve() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Runs the daemon in the foreground, logging to standard error, until it is sent SIGTERM or SIGINT. It then lets
requests and fills end within stop_timeout, and undoes the others. A second signal undoes them at once, a third one
kills. SIGHUP reads the configuration again, as "clonecache reload" does.

The configuration is --config, else CLONECACHE_CONFIG, else ` + defaultConfig + `. Under systemd it
tells when it is ready, and that it lives.

Exit code 0: it stopped as asked. 1: it could not start, or failed. 2: the configuration is wrong.`,
		Example: `  clonecache serve --config /etc/clonecache/clonecache.toml
  CLONECACHE_CONFIG=./clonecache.toml clonecache serve`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runDaemon(cmd.Context(), a.configFile(file))
		},
	}
	a.configFlag(cmd, &file)
	return cmd
}

// configFlag gives a command the flag --config.
func (a *app) configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", "", "the configuration file (CLONECACHE_CONFIG)")
	completes(cmd, "config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
	})
}

// configFile is the configuration that a command works on.
func (a *app) configFile(given string) string {
	return orDefault(orDefault(given, a.Getenv("CLONECACHE_CONFIG")), defaultConfig)
}

// loadConfig reads the configuration that a command works on.
func loadConfig(file string) (config.Config, error) {
	cfg, err := kinds.All().Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: write it, or name another one with --config or CLONECACHE_CONFIG", err)
	}
	if err != nil {
		return cfg, &usageError{err}
	}
	return cfg, nil
}

func (a *app) runDaemon(ctx context.Context, file string) error {
	var hangups <-chan os.Signal
	if a.Hangups != nil { // before anything takes time: a SIGHUP that nobody catches ends the process
		hangups = a.Hangups()
	}
	cfg, err := loadConfig(file)
	if err != nil {
		return err
	}
	log := a.logger(cfg)
	for _, w := range cfg.Warnings {
		log.Warn(w.Error())
	}
	alive, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		log.WithError(err).Warn("the service manager's watchdog is not understood, and not answered")
	}
	err = daemon.Run(ctx, cfg, daemon.Options{
		Version:  newBuild(a.Version).Version,
		Log:      log,
		AtOnce:   a.AtOnce,
		Hangups:  hangups,
		Reload:   func() (config.Config, error) { return loadConfig(file) },
		SetLevel: log.SetLevel,
		Watchdog: alive / 3,
		Notify: func(state string) {
			if _, err := sd.SdNotify(false, state); err != nil {
				log.WithError(err).Warn("the service manager could not be told " + state)
			}
		},
	})
	if err != nil {
		log.WithError(err).Error("ended")
		for _, p := range daemon.TryStart(context.WithoutCancel(ctx), cfg) {
			p.File = file
			log.Error(p.Error())
		}
		return errLogged
	}
	return nil
}

// logger writes to standard error as the configuration says.
func (a *app) logger(cfg config.Config) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(a.Err)
	if level, err := logrus.ParseLevel(cfg.LogLevel); err == nil {
		log.SetLevel(level)
	}
	if cfg.LogFormat == config.LogJSON {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
	} else {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	}
	return log
}
