#!/usr/bin/env bash
# Runs a command while a lab of its own is up (lab.sh), and removes the lab afterwards: packages of tests
# that need Keystone, Glance and Cinder share one. What the lab prints goes to standard error.
#
#   with-lab.sh go test -tags ... ./e2e/openstack/...
#
#   LAB_DIR=DIR LAB_PORT=N   which lab; default: the tests' own, /tmp/cclab-test at 32100
#   CLONECACHE_LAB is set for the command: the lab's clouds.yaml
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export LAB_DIR=${LAB_DIR:-/tmp/cclab-test} LAB_PORT=${LAB_PORT:-32100} FAST=${FAST:-1}
export CLONECACHE_LAB=$LAB_DIR/clouds.yaml

trap '"$here/lab.sh" wipe >&2' EXIT
"$here/lab.sh" up >&2
"$@"
