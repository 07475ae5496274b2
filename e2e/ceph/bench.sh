#!/usr/bin/env bash
# Measures the RBD backend against the bare calls of librbd, as ratios, on a cluster of one node that is
# made for it and removed afterwards: BlueStore on a sparse file, the mon with Ceph's own timing.
#   BENCH=regexp   which benchmarks; default: BenchmarkClones
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
export CEPH_DIR=${CEPH_DIR:-/tmp/clonecache-bench-ceph-$(id -u)} CEPH_PORT=${CEPH_PORT:-40889}
trap '"$top/e2e/ceph/cluster.sh" wipe' EXIT
"$top/e2e/ceph/cluster.sh" up
echo "mon: $(ceph -c "$CEPH_DIR/ceph.conf" tell mon.a config get paxos_propose_interval 2>/dev/null | tr -d '{}\n ') (Ceph's default: 1 s); OSD: BlueStore on a sparse file; $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
cd "$top"
CLONECACHE_CEPH_DIR=$CEPH_DIR go test -run '^$' -bench "${BENCH:-BenchmarkClones}" -benchtime 1x -timeout 30m ./backends/rbd
