// Command clonecache makes volumes from images by cloning a cached image-volume. "clonecache serve" is
// the daemon, the other commands are the admin's; cli has them.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/clonecache/clonecache/cmd/clonecache/cli"
)

// version is set by the linker (-X main.version=…); "" takes what the build knows of itself.
var version string

func main() {
	ctx, atOnce := onSignals()
	env := cli.Env{
		Out:        os.Stdout,
		Err:        os.Stderr,
		In:         person(),
		Getenv:     os.Getenv,
		Columns:    cli.ColumnsOf(os.Stderr),
		OutColumns: cli.ColumnsOf(os.Stdout),
		Now:        time.Now,
		Version:    version,
		AtOnce:     atOnce,
		Hangups:    onHangups,
	}
	os.Exit(cli.Run(ctx, env, os.Args[1:]))
}

// person is who can be asked: somebody at a terminal who sees the question, which goes to standard error.
func person() io.Reader {
	if cli.ColumnsOf(os.Stdin)() == 0 || cli.ColumnsOf(os.Stderr)() == 0 {
		return nil
	}
	return os.Stdin
}

// onHangups keeps SIGHUP from ending the process, and tells of each; of those that come while one is waiting,
// none. It is for the daemon: a command ends with its terminal.
func onHangups() <-chan os.Signal {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}

// onSignals ends the context at the first SIGINT or SIGTERM, and closes atOnce at the second. A third
// one kills, as if nobody listened.
func onSignals() (ctx context.Context, atOnce <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	now := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		close(now)
		signal.Reset(syscall.SIGINT, syscall.SIGTERM)
	}()
	return ctx, now
}
