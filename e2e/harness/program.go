package harness

import (
	"bytes"
	"fmt"
	"os/exec"
)

// Output runs another program and returns what it prints on its standard output alone. What a program says besides,
// on its standard error, is in the error: Ceph's tools write of each connection that had to be made again there, and
// Python's of what will be removed.
func Output(cmd *exec.Cmd) (string, error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%q: %w\n%s%s", cmd.Args, err, out, said.Bytes())
	}
	return string(out), nil
}
