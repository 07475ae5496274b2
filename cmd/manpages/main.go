// Command manpages writes a man page for clonecache and each of its commands, from their own help.
//
//	manpages DIRECTORY VERSION
//
// The pages bear the day of SOURCE_DATE_EPOCH, so that the same source gives the same bytes.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/clonecache/clonecache/cmd/clonecache/cli"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: manpages DIRECTORY VERSION")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "manpages:", err)
		os.Exit(1)
	}
}

// write makes the pages in dir, which is created.
func write(dir, version string) error {
	day, err := sourceDay()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := cli.Commands()
	root.DisableAutoGenTag = true
	return doc.GenManTree(root, &doc.GenManHeader{
		Title: "CLONECACHE", Section: "1", Date: &day, Source: "clonecache " + version, Manual: "clonecache",
	}, dir)
}

// sourceDay is the time of SOURCE_DATE_EPOCH, or now where it is not set.
func sourceDay() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
