#!/usr/bin/env bash
# Measures the RBD backend, as ratios, on a cluster of one node that is made for it and removed
# afterwards: BlueStore on a sparse file, mon and mgr with Ceph's own timing. `make bench BACKEND=rbd`
# builds what it needs and calls it.
#   BENCH=regexp   which benchmarks of e2e/cephbench; default: all
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
export CEPH_DIR=${CEPH_DIR:-/tmp/clonecache-bench-ceph-$(id -u)} CEPH_PORT=${CEPH_PORT:-7200}
unset FAST
trap '"$top/e2e/ceph/cluster.sh" wipe' EXIT
"$top/e2e/ceph/cluster.sh" up
# Tests want statistics at once; each report is a commit of the mon, which snapshots wait for.
ceph daemon "$CEPH_DIR/run/mgr.asok" config set mgr_stats_period 5 >/dev/null
cd "$top"
CLONECACHE_CEPH_DIR=$CEPH_DIR go test -run '^$' -bench "${BENCH:-.}" -benchtime 1x -timeout 60m ./e2e/cephbench
