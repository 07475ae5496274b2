// Package cli is clonecache's command line: the admin's verbs, each a call to a daemon through
// plugin/api's client, and a few that need none (serve, config check, image inspect, version).
//
// Results go to standard output, as a table for people or with -o json as one JSON document; progress
// and messages go to standard error. The package keeps nothing: an interrupted command leaves what the
// daemon makes of a caller that went away.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin/api"
)

// Env is the outside that commands see.
type Env struct {
	Out, Err io.Writer
	// In is where a person answers questions; nil: nobody is asked.
	In     io.Reader
	Getenv func(string) string
	// Columns is how wide the terminal is that standard error goes to, now; 0: it goes to none. OutColumns is
	// standard output's. nil: there is none.
	Columns, OutColumns func() int
	Now                 func() time.Time // for relative times
	Version             string           // "" takes the build's own
	AtOnce              <-chan struct{}  // closed when even a graceful stop takes too long; nil: never
	// Hangups catches SIGHUP from now on; nil: nobody does.
	Hangups func() <-chan os.Signal
}

// columnsOf is a width that may not be known.
func columnsOf(width func() int) int {
	if width == nil {
		return 0
	}
	return width()
}

// watched tells whether somebody watches standard error.
func (a *app) watched() bool { return columnsOf(a.Columns) > 0 }

// app is one run of the program.
type app struct {
	Env
	format    format
	look      look // but for the terminal's width
	progress  progressMode
	server    string
	tokenFile string
	// osTokenFile holds a token of Keystone's.
	osTokenFile string
	caFile      string
	certFile    string
	keyFile     string
	started     bool // the command line was understood
}

const defaultServer = "unix:///run/clonecache/clonecache.sock"

// Run runs one command line and returns the exit code; see exitCodes.
func Run(ctx context.Context, env Env, args []string) int {
	a := &app{Env: env}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		err = &usageError{err}
		a.format = wantedFormat(args, a.format)
	}
	return a.finish(ctx, err)
}

// wantedFormat is the format that a command line asks for which could not be read to its end.
func wantedFormat(args []string, read format) format {
	line := " " + strings.Join(args, " ") + " "
	for _, asked := range []string{" -o json ", " -ojson ", " -o=json ", " --output json ", " --output=json "} {
		if strings.Contains(line, asked) {
			return formatJSON
		}
	}
	return read
}

// Commands is the tree of all commands, for whoever describes them; Run runs one.
func Commands() *cobra.Command {
	return (&app{Env: Env{Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }, Now: time.Now}}).root()
}

func (a *app) root() *cobra.Command {
	versionOnly := false
	root := &cobra.Command{
		Use:   "clonecache",
		Short: "Volumes from images, by cloning a cached image-volume",
		Long: `clonecache makes volumes from images. The first request for an image makes a cached image-volume on the
backend; this and every later volume is a clone of it, or a copy where the backend cannot clone.

"clonecache serve" is the daemon; the other commands ask it. They find it by --server, else by
CLONECACHE_SERVER, else at ` + defaultServer + `.`,
		Example: `  clonecache serve --config /etc/clonecache/clonecache.toml
  clonecache volume create library:debian-12.qcow2 --name web-1 --size 10GiB
  clonecache report --since 24h`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: a.start,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if versionOnly {
				return a.printVersion()
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&versionOnly, "version", false, "show this program's version, as the command version does")
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	flags := root.PersistentFlags()
	flags.VarP(&a.format, "output", "o", "what to print: table or json; of report also csv or html")
	flags.BoolVar(&a.look.exact, "bytes", false, "in tables, sizes as exact numbers of bytes")
	flags.BoolVar(&a.look.bare, "no-headers", false, "lists without the line of column names")
	flags.Var(&a.progress, "progress", "show progress on standard error: auto (after a second), always or never")
	flags.StringVar(&a.server, "server", "", "the daemon: unix:///path, http://host:port or https://host:port (CLONECACHE_SERVER)")
	flags.StringVar(&a.tokenFile, "token-file", "", "file with the daemon's token, for TCP (CLONECACHE_TOKEN_FILE)")
	flags.StringVar(&a.osTokenFile, "os-token-file", "", "file with a token of Keystone's, for a daemon that knows you by it (CLONECACHE_OS_TOKEN_FILE)")
	flags.StringVar(&a.caFile, "ca-file", "", "certificates that the daemon's is checked against, for https (CLONECACHE_CA_FILE)")
	flags.StringVar(&a.certFile, "cert-file", "", "your own certificate, for a daemon that knows you by it (CLONECACHE_CERT_FILE)")
	flags.StringVar(&a.keyFile, "key-file", "", "the key of --cert-file (CLONECACHE_KEY_FILE)")
	completes(root, "output", completeFormats)
	completes(root, "progress", fixed(progressModes...))
	root.AddCommand(a.serve(), a.config(), a.status(), a.volume(), a.entry(), a.event(), a.report(), a.quota(),
		a.backend(), a.loan(), a.host(), a.prefetch(), a.queue(), a.follow(), a.sink(), a.reload(), a.prune(), a.clean(), a.check(), a.scrub(), a.catalog(), a.image(), a.version(), exitCodesTopic())
	root.SetHelpCommand(helpCommand(root))
	root.InitDefaultCompletionCmd("completion")
	onlyGroups(root)
	return root
}

// start notes that the command line was understood, and fills in what the environment says.
func (a *app) start(cmd *cobra.Command, _ []string) error {
	a.started = true
	if err := a.format.fits(cmd.Name()); err != nil {
		return err
	}
	for _, v := range []struct {
		flag *string
		name string
	}{{&a.server, "CLONECACHE_SERVER"}, {&a.tokenFile, "CLONECACHE_TOKEN_FILE"}, {&a.caFile, "CLONECACHE_CA_FILE"}, {&a.osTokenFile, "CLONECACHE_OS_TOKEN_FILE"},
		{&a.certFile, "CLONECACHE_CERT_FILE"}, {&a.keyFile, "CLONECACHE_KEY_FILE"}} {
		if *v.flag == "" {
			*v.flag = a.Getenv(v.name)
		}
	}
	if a.server == "" {
		a.server = defaultServer
	}
	return nil
}

// client calls the daemon that the flags and the environment name.
func (a *app) client() (*api.Client, error) {
	c, err := api.NewClient(a.server, api.ClientConfig{TokenFile: a.tokenFile, KeystoneTokenFile: a.osTokenFile, CAFile: a.caFile, CertFile: a.certFile, KeyFile: a.keyFile})
	var known *api.Error
	if err != nil && !errors.As(err, &known) { // a file that a flag or the environment names
		return nil, &usageError{err}
	}
	return c, err
}

// lookNow is how tables are written at this moment.
func (a *app) lookNow() look {
	l := a.look
	l.columns = columnsOf(a.OutColumns)
	return l
}

// print writes a command's result: as JSON, or as table makes it.
func (a *app) print(result any, table func(*table)) error {
	if a.format == formatJSON {
		return a.json(result)
	}
	t := newTable(a.Out, a.Now(), a.lookNow())
	table(t)
	return t.flush()
}

func (a *app) json(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// ask makes a command of one call to the daemon and one table.
func ask[T any](a *app, call func(context.Context, *api.Client) (T, error), show func(*table, T)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		stop := a.waiting(cmd.Name())
		result, err := call(cmd.Context(), c)
		stop()
		if err != nil {
			return err
		}
		return a.print(result, func(t *table) { show(t, result) })
	}
}

// group is a command that only has others below it.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args:  cobra.ArbitraryArgs,
		RunE:  needsCommand,
	}
	for _, c := range commands {
		if cmd.Example != "" {
			cmd.Example += "\n"
		}
		first, _, _ := cutLine(c.Example)
		cmd.Example += first
	}
	cmd.AddCommand(commands...)
	return cmd
}

// needsCommand is what a command does that only has others below it.
func needsCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return &usageError{fmt.Errorf("unknown command %q for %q: see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())}
}

// onlyGroups makes commands of the library's own that do nothing by themselves refuse what they do not know.
func onlyGroups(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() && !cmd.Runnable() {
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, needsCommand
		}
	}
}

// helpCommand is "help", which refuses a topic that there is not.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		Long:  "Shows the help of a command, or of a topic such as exit-codes.",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{fmt.Errorf("there is no command or topic %q: see %s --help", strings.Join(args, " "), root.Name())}
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return each(cmd.Commands(), func(c *cobra.Command) string { return c.Name() + "\t" + c.Short }), cobra.ShellCompDirectiveNoFileComp
		},
	}
}
