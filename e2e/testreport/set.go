package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// runSet runs one set to its end and takes in what its tests print. A command that fails where no test
// did (a lab that does not start, a flag that go does not know) breaks the set itself.
func (r *report) runSet(ctx context.Context, name, command string) {
	r.set, r.said = name, nil
	if ctx.Err() != nil {
		r.sets = append(r.sets, note{set: name, text: "not run: interrupted"})
		return
	}
	failures := len(r.failed)
	// Not CommandContext: whoever interrupts this program interrupts the command too, and it cleans up.
	cmd := exec.Command("/bin/bash", "-euo", "pipefail", "-c", command)
	cmd.Stdin, cmd.Stderr = nil, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = r.read(out)
		if waited := cmd.Wait(); waited != nil {
			err = waited
		}
	}
	r.closeOpen()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil && len(r.failed) == failures {
		r.sets = append(r.sets, note{name, err.Error(), r.said})
	}
}

// event is one line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// read takes in all events. Lines that are no events (the compiler's, a lab's) are passed on as they are.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) == nil && e.Action != "":
			r.take(e)
		default:
			fmt.Fprintf(r.w, "%s", line)
			r.said = append(r.said, string(line))
			r.said = r.said[max(0, len(r.said)-longest):]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
