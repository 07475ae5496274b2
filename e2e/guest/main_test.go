//go:build ceph

// Package guest boots a virtual machine on a volume that the daemon made in a Ceph cluster. A guest's
// kernel reads it through QEMU's own driver for RBD, and so shares no code with what wrote it.
//
// It needs QEMU with its RBD driver (e2e/install.sh ceph), and once per checkout Debian's archive for a
// kernel, which is kept in .cache/guest; `make clean` removes it.
package guest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// cluster keeps its objects in memory, and its mon commits quickly.
var cluster = &harness.Cluster{
	Dir: fmt.Sprintf("/tmp/cc-guest-%d", os.Getpid()), Port: 32500, Settings: []string{"FAST=1"},
}

func TestMain(m *testing.M) { os.Exit(harness.WithCluster(m, cluster)) }

// pools are the volumes' and the image-volumes'.
var pools = []string{"volumes", "images"}

// namespace makes an RBD namespace in both pools, until the test ends.
func namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("guest-%d", os.Getpid())
	for _, pool := range pools {
		rbd(t, "namespace", "create", pool+"/"+name)
	}
	return name
}

// images lists what lies in the namespace, the trash included; "" is nothing.
func images(t *testing.T, namespace string) string {
	t.Helper()
	var all strings.Builder
	for _, pool := range pools {
		all.WriteString(rbd(t, "ls", pool+"/"+namespace) + rbd(t, "trash", "ls", "--all", pool+"/"+namespace))
	}
	return all.String()
}

// rbd runs the tool as the cluster's admin.
func rbd(t *testing.T, args ...string) string {
	t.Helper()
	out, err := harness.Output(exec.CommandContext(t.Context(), "rbd", append([]string{"--conf", cluster.Conf()}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
